"""What measuring over SSH costs beside the timing itself, for many small models.

    python benchmarks/ssh_overhead.py --device FILE [--models 50]

Each model is measured as a search does it (screening). Overhead is the wall time of a measurement
less the seconds in which the board warmed up and timed. Beside it the way of a plain script: for
each model a new connection, everything copied again, a new Python there, and the same number of
runs. Both are taken in turn, in one go.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from common import REFERENCE, command, commit_of, facts, table, write_csv
from repeatability import made

from autoseg.core.records import Constraints, MeasurePlan
from autoseg.device import resolve
from autoseg.device.board import Board
from autoseg.device.rpc import RpcChannel
from autoseg.device.ssh import SshLauncher

PLAIN = """
import sys, time, numpy, onnxruntime
data = sys.stdin.buffer.read()
session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
node = session.get_inputs()[0]
frame = numpy.random.randint(0, 256, node.shape).astype(numpy.uint8)
begin = time.perf_counter()
for _ in range(int(sys.argv[1])):
    session.run(None, {node.name: frame})
print(time.perf_counter() - begin)
"""
WORK = ("warm", "time")


class Spent:
    """Seconds inside the requests that warm up and time."""

    s = 0.0


def main() -> None:
    arguments = parse()
    rows: list[dict[str, Any]] = []
    device = resolve(arguments.device)
    if not isinstance(device, Board) or not isinstance(device.launcher, SshLauncher):
        raise SystemExit("--device names one board over SSH")
    with tempfile.TemporaryDirectory() as folder, counted() as spent:
        models = list(small_models(Path(folder), arguments.models))
        begin = time.perf_counter()
        device.compare_with_itself()
        first_s = time.perf_counter() - begin
        ours, plain = [], []
        for onnx in models:
            begin, spent.s = time.perf_counter(), 0.0
            runs = device.measure(onnx, MeasurePlan.screen(Constraints(1000.0, 0.9))).runs
            ours.append((time.perf_counter() - begin, spent.s))
            plain.append(by_a_plain_script(device, onnx, runs))
    rows = [row("autoseg", ours), row("a new connection, everything copied", plain)]
    device.close()
    lines = ["# What measuring over SSH costs beside the timing", "", f"- command: `{command()}`"]
    lines += [*facts(), f"- code: {commit_of(REFERENCE.parents[1])}"]
    lines += [f"- {len(models)} models; connecting and the A/A test, once: {first_s:.1f} s", ""]
    lines += [*table(rows), "", str(__doc__).split("\n\n")[2]]
    (REFERENCE / f"{arguments.out}.md").write_text("\n".join(lines))
    write_csv(REFERENCE / f"{arguments.out}.csv", rows)
    print("\n".join(lines))


@contextmanager
def counted() -> Iterator[Spent]:
    """Counts the seconds in which the board warms up and times."""
    spent, stream = Spent(), RpcChannel.stream

    def counting(channel: RpcChannel, do: str, **facts: Any) -> Iterator[dict[str, Any]]:
        begin = time.perf_counter()
        yield from stream(channel, do, **facts)
        spent.s += (time.perf_counter() - begin) * (do in WORK)

    RpcChannel.stream = counting  # type: ignore[method-assign, assignment]
    try:
        yield spent
    finally:
        RpcChannel.stream = stream  # type: ignore[method-assign]


def small_models(folder: Path, count: int) -> Iterator[Path]:
    """Different small networks: none is on the board yet."""
    for number in range(count):
        yield made(
            folder,
            {
                "resolution": (96, 128, 160, 192, 224)[number % 5],
                "a": (0.125, 0.25, 0.5)[number // 5 % 3],
                "t": (2, 4, 6)[number // 15 % 3],
                "r": 1 + number // 45,
            },
        )


def by_a_plain_script(device: Board, onnx: Path, runs: int) -> tuple[float, float]:
    """Wall seconds and timed seconds of one model over a connection of its own."""
    begin = time.perf_counter()
    launcher = SshLauncher(device.profile)
    python = device.profile.python or "python3"
    code, said, complaints = launcher.run_command(
        [python, "-c", PLAIN, str(runs)], onnx.read_bytes()
    )
    launcher.close()
    if code:
        raise SystemExit(complaints.decode(errors="replace"))
    return time.perf_counter() - begin, float(said)


def row(name: str, spent: list[tuple[float, float]]) -> dict[str, Any]:
    beside = [wall_s - timed_s for wall_s, timed_s in spent]
    return {
        "way": name,
        "wall s a model": f"{statistics.mean(wall_s for wall_s, _ in spent):.3f}",
        "timed s": f"{statistics.mean(timed_s for _, timed_s in spent):.3f}",
        "overhead s, median": f"{statistics.median(beside):.3f}",
        "p90": f"{sorted(beside)[int(0.9 * len(beside))]:.3f}",
        "largest": f"{max(beside):.3f}",
    }


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--device", required=True, help="a board's profile, or user@host")
    parser.add_argument("--models", type=int, default=50)
    parser.add_argument("--out", default="ssh-overhead")
    return parser.parse_args()


if __name__ == "__main__":
    main()
