"""How well a latency repeats: autoseg's figures beside a naive one of the same model.

    python benchmarks/repeatability.py [--device local] [--device benchmarks/emulated-board.yaml]

On each device every model is measured ten times with the others between. Naive is what a first
script does: a new process loads the model, runs it ten times on one thread and takes the mean,
with no warm-up.
Both are taken in turn, in one go. A spread is (largest - smallest) / median of the ten figures.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from common import REFERENCE, command, commit_of, facts, table, write_csv

from autoseg.core.records import MeasurePlan
from autoseg.device import resolve
from autoseg.device.board import Board
from autoseg.device.ssh import SshLauncher
from autoseg.export.to_onnx import export
from autoseg.networks.space_file import load_space
from autoseg.train.task import build_candidate

NAIVE = """
import sys, time, numpy, onnxruntime
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1
session = onnxruntime.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"])
node = session.get_inputs()[0]
frame = numpy.random.randint(0, 256, node.shape).astype(numpy.uint8)
begin = time.perf_counter()
for _ in range(10):
    session.run(None, {node.name: frame})
print((time.perf_counter() - begin) / 10 * 1e3)
"""
NETS: dict[str, dict[str, Any]] = {
    "96 px, a=0.25 t=2 r=1": {"resolution": 96, "a": 0.25, "t": 2, "r": 1},
    "128 px, a=0.5 t=2 r=3": {"resolution": 128, "a": 0.5, "t": 2, "r": 3},
    "192 px, a=0.25 t=6 r=2": {"resolution": 192, "a": 0.25, "t": 6, "r": 2},
}
# A confirming measurement, cut at 5 s.
PLAN = replace(MeasurePlan.confirm("p90"), max_s=5.0)


def main() -> None:
    arguments = parse()
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        models = {name: made(Path(folder), knobs) for name, knobs in NETS.items()}
        for name in arguments.device or ["local"]:
            device = resolve(name)
            if not isinstance(device, Board):
                raise SystemExit(f"{name} is several boards; name one")
            rows += spreads(device, models, arguments.repeats)
            device.close()
    lines = ["# How well a latency repeats", "", f"- command: `{command()}`", *facts()]
    lines += [
        f"- code: {commit_of(REFERENCE.parents[1])}",
        "",
        *table(rows),
        "",
        str(__doc__).split("\n\n")[2],
    ]
    (REFERENCE / "repeatability.md").write_text("\n".join(lines))
    write_csv(REFERENCE / "repeatability.csv", rows)
    print("\n".join(table(rows)))


def made(folder: Path, knobs: Mapping[str, Any]) -> Path:
    """A network of the shipped space with random weights, as it would be shipped."""
    space = load_space("fast_scnn")
    candidate = space.candidate(**knobs)
    net = build_candidate(space, candidate, 1)
    path = folder / f"{candidate.key}.onnx"
    export(net, path, input_hw=candidate.input_hw, channels=3, classes=1, metadata={})
    return path


def spreads(device: Board, models: Mapping[str, Path], repeats: int) -> list[dict[str, Any]]:
    """One row for each model."""
    ours: dict[str, list[Any]] = {name: [] for name in models}
    naive: dict[str, list[float]] = {name: [] for name in models}
    for number in range(repeats):
        for name, onnx in models.items():
            ours[name].append(device.measure(onnx, PLAN))
            naive[name].append(naive_ms(device, onnx))
        print(f"{device.profile.name}: {number + 1} of {repeats}", file=sys.stderr)
    return [row(device.profile.name, name, ours[name], naive[name]) for name in models]


def row(device: str, name: str, ours: Sequence[Any], naive: Sequence[float]) -> dict[str, Any]:
    p50 = [each.p50_ms for each in ours]
    p90 = [each.p90_ms or each.p50_ms for each in ours]
    return {
        "device": device,
        "model": name,
        "p50 ms": f"{statistics.median(p50):.3g}",
        "p50 spread": spread(p50),
        "p90 spread": spread(p90),
        "naive / p50": f"{statistics.median(naive) / statistics.median(p50):.2f}",
        "naive spread": spread(naive),
        "flagged": f"{sum(bool(each.flags) for each in ours)} of {len(ours)}",
    }


def spread(values: Sequence[float]) -> str:
    return f"{100 * (max(values) - min(values)) / statistics.median(values):.1f} %"


def naive_ms(device: Board, onnx: Path) -> float:
    """The mean of ten runs in a new process there, the first one included."""
    path = device.connection.twice(lambda: device.connection.upload(onnx.resolve()))
    if isinstance(device.launcher, SshLauncher):
        python = device.profile.python or "python3"
        said = device.launcher.run_command([python, "-c", NAIVE, path], limit_s=300)[1]
    else:
        said = subprocess.check_output([sys.executable, "-c", NAIVE, path])
    return float(said)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument(
        "--device", action="append", help="a profile's name or file; again for more"
    )
    parser.add_argument("--repeats", type=int, default=10)
    return parser.parse_args()


if __name__ == "__main__":
    main()
