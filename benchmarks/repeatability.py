"""How well a latency repeats: autoseg's interval of it, and a naive one, beside later figures.

    python benchmarks/repeatability.py [--device local] [--repeats 2] [--note "after a restart"]
    python benchmarks/repeatability.py --load 1 --note "one busy program"

Each call is a sitting: every model is measured in turn, each time in processes started anew, and
each row is written at once. Call it again later, after a restart of the board, or under other load
(`--load N` keeps N programs busy): the table is made of all sittings.

Coverage ("in it") is the share of pairs of two measurements of a model in which the figure of one
lies in the 95 % interval that the other states. A figure that autoseg itself calls unusable is
counted apart: it would be taken again, and be printed as unusable. "Corrected" divides by the
reference model's time beside each, as `autoseg verify` does: what is left is the model's, not the
machine's. Naive is what a first script does: a new process loads the model, runs it ten times on
one thread and takes the mean, with the interval of these ten (Student's t), with no warm-up.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from common import REFERENCE, Row, command, commit_of, facts, read_csv, table, write_csv

from autoseg.core.feasibility import MAX_USABLE_HALF
from autoseg.core.records import Measurement, MeasurePlan
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
times = []
for _ in range(10):
    begin = time.perf_counter()
    session.run(None, {node.name: frame})
    times.append((time.perf_counter() - begin) * 1e3)
print(*times)
"""
STUDENT_T_9 = 2.262  # 97.5 % of Student's t with 9 degrees of freedom
BUSY = "while True: pass"
NETS: dict[str, dict[str, Any]] = {
    "96 px, a=0.25 t=2 r=1": {"resolution": 96, "a": 0.25, "t": 2, "r": 1},
    "128 px, a=0.5 t=2 r=3": {"resolution": 128, "a": 0.5, "t": 2, "r": 3},
    "192 px, a=0.25 t=6 r=2": {"resolution": 192, "a": 0.25, "t": 6, "r": 2},
}
ROWS = REFERENCE / "repeatability.csv"
# Two measurements further apart are of two sittings.
SITTING_GAP_S = 900.0


def main() -> None:
    arguments = parse()
    rows = list(read_csv(ROWS))
    if arguments.table:
        return write_table(rows)
    with tempfile.TemporaryDirectory() as folder, busy(arguments.load):
        models = {name: made(Path(folder), knobs) for name, knobs in NETS.items()}
        for name in arguments.device or ["local"]:
            device = resolve(name)
            if not isinstance(device, Board):
                raise SystemExit(f"{name} is several boards; name one")
            plan = replace(MeasurePlan.confirm("p90"), max_s=arguments.max_s)
            for net, onnx in list(models.items()) * arguments.repeats:
                note = arguments.note or (f"{arguments.load} busy" if arguments.load else "")
                rows.append(row(device, net, device.measure(onnx, plan), onnx, note))
                write_csv(ROWS, rows)
                print(f"{device.profile.name}: {net}", file=sys.stderr)
            device.close()
    write_table(rows)


def row(device: Board, net: str, found: Measurement, onnx: Path, note: str) -> dict[str, Any]:
    """One measurement, and the naive one right after it."""
    naive = naive_ms(device, onnx)
    half = STUDENT_T_9 * statistics.stdev(naive) / len(naive) ** 0.5
    mean, p90_ci = statistics.mean(naive), found.p90_ci_ms or ("", "")
    return {
        "device": device.profile.name,
        "model": net,
        "taken_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "note": note,
        "p50_ms": found.p50_ms,
        "p50_low_ms": found.p50_ci_ms[0],
        "p50_high_ms": found.p50_ci_ms[1],
        "p90_ms": found.p90_ms or "",
        "p90_low_ms": p90_ci[0],
        "p90_high_ms": p90_ci[1],
        "reference_ms": found.reference_ms,
        "runs": found.runs,
        "naive_ms": mean,
        "naive_low_ms": mean - half,
        "naive_high_ms": mean + half,
        "flags": "; ".join(found.flags),
    }


def write_table(rows: Sequence[Row]) -> None:
    groups: dict[tuple[str, str], list[Row]] = {}
    for each in rows:
        groups.setdefault((str(each["device"]), str(each["model"])), []).append(each)
    devices = list(dict.fromkeys(name for name, _ in groups))
    parts = [(name, net, own) for (name, net), own in groups.items()]
    parts += [(name, "all", [r for r in rows if r["device"] == name]) for name in devices]
    parts += [("both", "all", list(rows))] * (len(devices) > 1)
    lines = ["# How well a latency repeats", "", f"- last command: `{command()}`", *facts()]
    lines += [
        f"- code: {commit_of(REFERENCE.parents[1])}",
        *(f"- {name}: {sittings([r for r in rows if r['device'] == name])}" for name in devices),
        "",
        *table([summary(*part) for part in parts]),
        "",
        among_all(rows),
        "",
        *str(__doc__).split("\n\n")[3:],
    ]
    (REFERENCE / "repeatability.md").write_text("\n".join(lines))
    print("\n".join(lines))


def summary(device: str, net: str, rows: Sequence[Row]) -> dict[str, Any]:
    """How often the stated intervals hold the other figures of the same model."""
    cells: dict[str, Any] = {"device": device, "model": net, "measured": len(rows)}
    for name in ("p50", "p90"):
        known = [r for r in rows if r[f"{name}_ms"] != ""]
        sound = [r for r in known if usable(r, name)]
        cells[f"{name} unusable"] = len(known) - len(sound)
        halves = [half_width(r, name) for r in sound]
        cells[f"{name} ±"] = f"{100 * statistics.median(halves):.1f} %" if sound else "-"
        cells[f"{name} in it"] = percent(covered(sound, name, corrected=False))
        cells[f"{name} corrected"] = percent(covered(sound, name, corrected=True))
    cells["naive ±"] = f"{100 * statistics.median(half_width(r, 'naive') for r in rows):.0f} %"
    cells["naive in it"] = percent(covered(rows, "naive", corrected=False))
    return cells


def usable(row: Row, name: str) -> bool:
    """Whether autoseg prints the figure: neither end of its interval is a quarter of it away."""
    low, high, at = (float(row[f"{name}{end}_ms"]) for end in ("_low", "_high", ""))
    return max(high - at, at - low) <= MAX_USABLE_HALF * at


def among_all(rows: Sequence[Row]) -> str:
    """The same of all measurements, those with unusable figures included."""
    each = [
        f"{name} {percent(covered(known, name, corrected=False))} "
        f"({percent(covered(known, name, corrected=True))} corrected)"
        for name in ("p50", "p90")
        if (known := [r for r in rows if r[f"{name}_ms"] != ""])
    ]
    return f"With the unusable ones, in it: {', '.join(each)}."


def half_width(row: Row, name: str) -> float:
    low, high, at = (float(row[f"{name}{end}_ms"]) for end in ("_low", "_high", ""))
    return (high - low) / 2 / at


def covered(rows: Sequence[Row], name: str, *, corrected: bool) -> list[bool]:
    """For each ordered pair of one model: does the interval of the first hold the second?"""
    held = []
    for one, other in itertools.permutations(rows, 2):
        if (one["device"], one["model"]) == (other["device"], other["model"]):
            machine = float(other["reference_ms"]) / float(one["reference_ms"])
            at = float(other[f"{name}_ms"]) / (machine if corrected else 1.0)
            held.append(float(one[f"{name}_low_ms"]) <= at <= float(one[f"{name}_high_ms"]))
    return held


def percent(held: Sequence[bool]) -> str:
    return f"{100 * statistics.mean(held):.0f} %" if held else "-"


def sittings(rows: Sequence[Row]) -> str:
    """How many sittings, over how long, and under which conditions."""
    times = sorted(datetime.fromisoformat(str(r["taken_at"])) for r in rows)
    gaps = [(b - a).total_seconds() for a, b in itertools.pairwise(times)]
    count = 1 + sum(gap > SITTING_GAP_S for gap in gaps)
    hours = (times[-1] - times[0]).total_seconds() / 3600
    notes = [str(r["note"]) or "nothing else running" for r in rows]
    each = ", ".join(f"{notes.count(note)} {note}" for note in dict.fromkeys(notes))
    reference = [float(r["reference_ms"]) for r in rows]
    slid = 100 * (max(reference) / min(reference) - 1)
    return (
        f"{len(rows)} measurements in {count} sittings over {hours:.1f} h ({each}); the reference "
        f"model's own time varied by {slid:.0f} %"
    )


@contextmanager
def busy(count: int) -> Iterator[None]:
    """Keeps some other programs busy meanwhile."""
    programs = [subprocess.Popen([sys.executable, "-c", BUSY]) for _ in range(count)]
    try:
        time.sleep(0.5 * bool(programs))
        yield
    finally:
        for program in programs:
            program.kill()
            program.wait()


def made(folder: Path, knobs: Mapping[str, Any]) -> Path:
    """A network of the shipped space with random weights, as it would be shipped."""
    space = load_space("fast_scnn")
    candidate = space.candidate(**knobs)
    net = build_candidate(space, candidate, 1)
    path = folder / f"{candidate.key}.onnx"
    export(net, path, input_hw=candidate.input_hw, channels=3, classes=1, metadata={})
    return path


def naive_ms(device: Board, onnx: Path) -> list[float]:
    """Ten runs in a new process there, the first one included."""
    path = device.connection.twice(lambda: device.connection.upload(onnx.resolve()))
    if isinstance(device.launcher, SshLauncher):
        python = device.profile.python or "python3"
        said = device.launcher.run_command([python, "-c", NAIVE, path], limit_s=300)[1]
    else:
        said = subprocess.check_output([sys.executable, "-c", NAIVE, path])
    return [float(word) for word in said.split()]


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument(
        "--device", action="append", help="a profile's name or file; again for more"
    )
    parser.add_argument("--repeats", type=int, default=2, help="measurements of each model")
    parser.add_argument("--load", type=int, default=0, help="programs to keep busy meanwhile")
    parser.add_argument("--note", default="", help="what is special about this sitting")
    parser.add_argument("--table", action="store_true", help="only write the table anew")
    parser.add_argument("--max-s", type=float, default=60.0, help="longest timing of a model")
    return parser.parse_args()


if __name__ == "__main__":
    main()
