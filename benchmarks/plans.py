"""Plans against what came: short and long runs, what each plan said, and how the run ended.

    python benchmarks/plans.py [--data DIR]... [--device NAME] [--only TEXT] [--truth-s 150]

Each run is a process of its own with empty caches, in a folder of results/plans; its seconds are
from its start to its end. A row is written as soon as its run has ended, and runs that have a row
are left out: the table can be continued. After a run, the candidates that it has not measured are
measured, for `--truth-s` seconds at most, to know how many really fit.

Said is what the plan before any training stated: how many candidates fit, are uncertain, too slow
or unknown; how many are expected to reach their first rung; when the run is expected to end. Came
is what the run reached. A budget is kept where the seconds that came are not over it.
"""

from __future__ import annotations

import argparse
import random
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common import REFERENCE, append_csv, command, commit_of, facts, read_csv, table

from autoseg.api.assemble import scheduler_of, task_of_run
from autoseg.core.errors import CandidateError
from autoseg.core.records import Candidate, Measurement, MeasurePlan
from autoseg.core.units import clock
from autoseg.device import Device, resolve
from autoseg.run.context import export_candidate
from autoseg.run.ledger import read_events
from autoseg.run.result import Result
from autoseg.train.task import Task, network

OUT = REFERENCE / "plans.csv"
# Budget, ceiling, floor: of the parcels, of each data set that is given, and on a board.
PARCELS = (
    ("40s", "33ms", 0.95), ("1m", "0.3ms", 0.9), ("2m", "33ms", 0.93), ("2m", "0.3ms", 0.9),
    ("4m", "1ms", 0.95), ("8m", "33ms", 0.95),
)  # fmt: skip
GIVEN = (("90s", "2ms", 0.7), ("3m", "1ms", 0.8), ("8m", "2ms", 0.8))
ON_BOARD = (("3m", "100ms", 0.9), ("8m", "40ms", 0.9))
LOOSE_FLOOR = 0.3  # of data with many classes


@dataclass(frozen=True)
class Case:
    """One run: its data (None: the parcels), its device, and its limits."""

    data: Path | None
    device: str
    budget: str
    max_latency: str
    min_iou: float

    @property
    def name(self) -> str:
        data = self.data.name if self.data else "parcels"
        return f"{data} on {Path(self.device).stem}, {self.budget}, {self.max_latency}"

    def words(self, results: Path) -> list[str]:
        words = ["optimize", "--name", "run", "--results", str(results), "--device", self.device]
        words += ["--budget", self.budget, "--max-latency", self.max_latency]
        words += ["--min-iou", str(self.min_iou)]
        return [*words, *(["--data", str(self.data)] if self.data else [])]


def main() -> None:
    arguments = parse()
    done = {row["run"] for row in read_csv(arguments.out)}
    for case in cases(arguments):
        if case.name in done or arguments.only not in case.name:
            continue
        folder = Path("results") / "plans" / re.sub(r"[^\w.]+", "-", case.name)
        shutil.rmtree(folder, ignore_errors=True)  # one that was cut short
        append_csv(arguments.out, [row_of(case, folder, arguments.truth_s)])
        write_page(arguments.out)
    write_page(arguments.out)


def cases(arguments: argparse.Namespace) -> Iterator[Case]:
    """The short ones first."""
    found = [Case(None, "local", *limits) for limits in PARCELS]
    for data in arguments.data or ():
        classes = len((data / "classes.txt").read_text().split("\n"))
        for budget, ceiling, floor in GIVEN:
            low = floor if classes < 5 else LOOSE_FLOOR
            found.append(Case(data.resolve(), "local", budget, ceiling, low))
    if arguments.device:
        found += [Case(None, arguments.device, *limits) for limits in ON_BOARD]
    yield from sorted(found, key=lambda case: (case.budget[-1] != "s", float(case.budget[:-1])))


def row_of(case: Case, folder: Path, truth_s: float) -> dict[str, Any]:
    """Run it, and say what its plan said and what came."""
    print(case.name, file=sys.stderr)
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "autoseg.cli", *case.words(folder)],
        capture_output=True, text=True,
    )  # fmt: skip
    seconds = time.monotonic() - began
    if done.returncode not in (0, 3):
        raise SystemExit(f"{case.name} ended with {done.returncode}:\n{done.stderr}")
    run = folder / "run"
    said, result = planned(run), Result.from_run(run)
    trained = sum(bool(e.scores) for e in result.evaluations)
    finished = sum(e.state in ("confirmed", "rejected") for e in result.evaluations)
    fit, of = truth(case, run, result, truth_s)
    return {
        "run": case.name,
        "said fit": said["fits"],
        "uncertain": said["uncertain"],
        "too slow": said["too_slow"],
        "unknown": said["unknown"],
        "came fit": f"{fit} of {of}",
        "said first rungs": said["first_rungs"],
        "came first rungs": trained,
        "said finished": said["finalists"],
        "came finished": finished,
        "said end": ended(said["ends_s"]),
        "came end": clock(seconds),
        "deserved": clock(said["deserves_s"]) if said["deserves_s"] else "",
        "plan": " / ".join(said["lines"]),
        "verdict": " / ".join(said["verdict"]),
        "code": commit_of(REFERENCE.parents[1]),
    }


def planned(run: Path) -> Mapping[str, Any]:
    """The first plan, and the verdict before it."""
    events = read_events(run)
    verdict = next(e["lines"] for e in events if e["event"] == "verdict")
    return {**next(e for e in events if e["event"] == "plan"), "verdict": verdict}


def truth(case: Case, run: Path, result: Result, truth_s: float) -> tuple[int, int]:
    """How many of the candidates fit, and of how many that is known after measuring them."""
    task = task_of_run(run)
    scheduler = scheduler_of(task, result.declaration, result.constraints)
    every = scheduler.states.proposed.candidates
    screened = {e.candidate: e.measurements[0] for e in result.evaluations if e.measurements}
    rest = [c for c in every if c not in screened]
    random.Random(0).shuffle(rest)  # where the time ends first, those measured are a sample
    device, end = resolve(case.device), time.monotonic() + truth_s
    plan = MeasurePlan.screen(result.constraints)
    try:
        for candidate in rest:
            if time.monotonic() > end:
                break
            if timed := measured(task, device, candidate, run / "untrained.onnx", plan):
                screened[candidate] = timed
    finally:
        device.close()
    limits = result.constraints
    fit = [m.latency_ms(limits.statistic) <= limits.max_latency_ms for m in screened.values()]
    return sum(fit), len(fit)


def measured(
    task: Task, device: Device, candidate: Candidate, file: Path, plan: MeasurePlan
) -> Measurement | None:
    try:
        export_candidate(task, network(task, candidate), candidate, file)
        return device.measure(file, plan)
    except CandidateError:
        return None


def ended(seconds: float | None) -> str:
    return "" if seconds is None else clock(seconds)


def write_page(out: Path) -> None:
    """The table, and what each plan said word by word."""
    rows = read_csv(out)
    if not rows:
        return
    words = ("plan", "verdict", "code")
    short = [{name: cell for name, cell in row.items() if name not in words} for row in rows]
    lines = ["# Plans against what came", "", f"- command: `{command()}`", *facts()]
    lines += [f"- code: {', '.join(dict.fromkeys(row['code'] for row in rows))}", ""]
    lines += [*table(short), "", "\n\n".join(str(__doc__).split("\n\n")[2:]), "## The words", ""]
    for row in rows:
        lines += [f"{row['run']}:", "", *said_lines(row), ""]
    out.with_suffix(".md").write_text("\n".join(lines))
    print("\n".join(table(short)))


def said_lines(row: Mapping[str, str]) -> Sequence[str]:
    return [f"- {line}" for name in ("verdict", "plan") for line in row[name].split(" / ")]


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, action="append", help="a labelled data set")
    parser.add_argument("--device", help="a board")
    parser.add_argument("--only", default="", help="runs whose name has this text")
    parser.add_argument("--truth-s", type=float, default=150.0)
    parser.add_argument("--out", type=Path, default=OUT)
    return parser.parse_args()


if __name__ == "__main__":
    main()
