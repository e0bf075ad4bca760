"""Whole searches beside each other, live: the same data, space, recipe, seed and budget.

    python benchmarks/live.py --data DIR --budget 12m --max-latency 2ms --min-iou 0.9 --out NAME
        [--search autoseg --search nsga2] [--effort expert --recipe schedule=standard ...]

Each search is one `autoseg optimize` in a folder of its own under results/live/NAME, one after the
other, so that none finds what another has measured or decoded. A finished one is not repeated, an
interrupted one goes on. Other options are given to all of them; a search may have its own ones as
well: --search "nsga2 --recipe schedule=quick". Nothing else may run meanwhile.
"""

from __future__ import annotations

import argparse
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from common import REFERENCE, ROOT, command, commit_of, facts, run_command, table, write_csv
from front_plots import COLOURS, Series, live_png
from fronts import area, front_points, ratio, steps_of

from autoseg.core.pareto import Point, point
from autoseg.core.records import Constraints, Evaluation
from autoseg.run.ledger import Event, fold, read_events
from autoseg.run.result import Result

MOMENTS = 6


@dataclass(frozen=True)
class Search:
    """A sampler's name with options of its own, and where its run lies."""

    name: str
    folder: Path

    @property
    def slug(self) -> str:
        return re.sub(r"[^\w.]+", "-", self.name)


@dataclass(frozen=True)
class Layout:
    """What one search came to; `curve` is (seconds, hypervolume of undecayed scores so far)."""

    name: str
    result: Result
    said: Mapping[str, Any]
    curve: list[Point]

    @property
    def constraints(self) -> Constraints:
        return self.result.constraints

    @property
    def scored(self) -> list[Point]:
        """Every model with a score, as it stands at the end."""
        known = [point(e, self.constraints.statistic) for e in self.result.evaluations]
        return [at for at in known if at is not None]

    def shipped(self, split: str) -> list[Point]:
        """(ms, IoU) of the front's models."""
        pairs = [(e.measurement, e.score(split)) for e in self.result.front]
        return [(m.latency_ms(self.constraints.statistic), s.iou) for m, s in pairs if m and s]

    def area(self, points: Sequence[Point]) -> float:
        return area(points, self.constraints.max_latency_ms, self.constraints.min_iou)


def main() -> None:
    arguments, options = parse()
    place = Path("results/live") / arguments.out.name
    searches = [Search(name, place) for name in arguments.search or ["autoseg", "nsga2"]]
    if len(searches) > len(COLOURS):
        sys.exit(f"the plot tells {len(COLOURS)} searches apart, got {len(searches)} --search")
    given = ["--data", str(arguments.data), "--budget", arguments.budget]
    given += ["--max-latency", arguments.max_latency, "--min-iou", str(arguments.min_iou)]
    found = [look(search, run(search, [*given, *options])) for search in searches]
    lines = [f"# {arguments.title}", "", *about(found), "", *summary(found), ""]
    lines += [*moments(found), "", *models(found), "", *how(found)]
    path = REFERENCE / arguments.out
    path.parent.mkdir(parents=True, exist_ok=True)
    path.with_suffix(".md").write_text("\n".join([*lines, ""]))
    write_table(path.with_suffix(".csv"), found)
    draw(path.with_suffix(".png"), found)
    print("\n".join(lines))


def run(search: Search, options: Sequence[str]) -> Path:
    """The folder of a finished run: made, continued, or there already."""
    results = search.folder / search.slug
    folder = results / "run"
    if any(event["event"] == "finished" for event in read_events(folder)):
        return folder
    words = [sys.executable, "-m", "autoseg.cli", "optimize", "--name", "run"]
    words += ["--results", str(results)]
    if (folder / "run.yaml").exists():
        words.append("--resume")
    else:
        sampler, *own = shlex.split(search.name)
        words += ["--sampler", sampler, *options, *own]
    results.mkdir(parents=True, exist_ok=True)
    with (results / "load").open("a") as file:
        file.write(f"{os.getloadavg()[0]:.1f}\n")
    print(f"{search.name}: {shlex.join(words[1:])}", file=sys.stderr, flush=True)
    with (results / "log").open("a") as log:
        code = subprocess.run(words, stdout=log, stderr=log).returncode
    if code not in (0, 3):
        raise SystemExit(f"{search.name} ended with {code}; its log is {results / 'log'}")
    return folder


def look(search: Search, folder: Path) -> Layout:
    result = Result.from_run(folder)
    said = yaml.safe_load((folder / "run.yaml").read_text())
    curve = areas(read_events(folder), result.constraints)
    return Layout(search.name, result, said, [*curve, (result.spent_s, curve[-1][1])])


def areas(events: Sequence[Event], constraints: Constraints) -> list[Point]:
    """(seconds, hypervolume) of the best undecayed scores so far, one for each score."""
    evaluations: dict[str, Evaluation] = {}
    best: dict[str, Point] = {}
    curve: list[Point] = [(0.0, 0.0)]
    for event in events:
        fold([event], into=evaluations)
        evaluation = evaluations.get(event.get("key", ""))
        if event["event"] != "scored" or evaluation is None or event["score"]["decayed"]:
            continue
        measurement, iou = evaluation.measurement, event["score"]["iou"]
        if measurement is not None:
            key = evaluation.candidate.key
            iou = max(iou, best[key][1] if key in best else 0.0)
            best[key] = (measurement.latency_ms(constraints.statistic), iou)
        now = area(list(best.values()), constraints.max_latency_ms, constraints.min_iou)
        curve.append((event["spent_s"], now))
    return curve


def summary(found: Sequence[Layout]) -> list[str]:
    """One column for each search; the last is the first over the second."""
    rows = []
    for what, figures in figures_of(found):
        row = {"": what} | dict(zip((one.name for one in found), figures, strict=True))
        if what.startswith("hypervolume") and len(found) > 1:
            row[f"{found[0].name} / {found[1].name}"] = ratio(float(figures[0]), float(figures[1]))
        rows.append(row)
    columns = list(dict.fromkeys(name for row in rows for name in row))
    return table([{name: row.get(name, "") for name in columns} for row in rows])


def figures_of(found: Sequence[Layout]) -> list[tuple[str, list[str]]]:
    def each(what: str, figure: Any) -> tuple[str, list[str]]:
        return what, [str(figure(one)) for one in found]

    top = {one.name: max(one.said["training"]["rungs"]) for one in found}
    return [
        each("candidates measured", lambda one: sum(bool(e.measurements) for e in of(one))),
        each("too slow, not trained", lambda one: states(one, "too_slow")),
        each("trained", lambda one: len(trained(one))),
        each("of these to the longest rung", lambda one: reached(one, top[one.name])),
        each("stopped early", lambda one: states(one, "stopped")),
        each("epochs", lambda one: sum(epochs(e) for e in trained(one))),
        each("seconds in training", lambda one: f"{sum(map(seconds, trained(one))):.0f}"),
        each("seconds of the clock", lambda one: f"{one.result.spent_s:.0f}"),
        each(
            "confirmed, rejected", lambda o: f"{states(o, 'confirmed')}, {states(o, 'rejected')}"
        ),
        each("hypervolume, undecayed scores", lambda one: f"{one.curve[-1][1]:.4f}"),
        each("hypervolume, shipped, val", lambda one: f"{one.area(one.shipped('val')):.4f}"),
        each("hypervolume, shipped, test", lambda one: f"{one.area(one.shipped('test')):.4f}"),
    ]


def of(one: Layout) -> tuple[Evaluation, ...]:
    return one.result.evaluations


def states(one: Layout, state: str) -> int:
    return sum(e.state == state for e in of(one))


def trained(one: Layout) -> list[Evaluation]:
    return [e for e in of(one) if e.score(source="torch")]


def epochs(evaluation: Evaluation) -> int:
    return max(s.epoch for s in evaluation.scores if s.source == "torch")


def seconds(evaluation: Evaluation) -> float:
    return max(s.train_s for s in evaluation.scores if s.source == "torch")


def reached(one: Layout, rung: int) -> int:
    return sum(epochs(e) >= rung for e in trained(one))


def moments(found: Sequence[Layout]) -> list[str]:
    """Hypervolume of undecayed scores at equal steps of the longest run."""
    last_s = max(one.curve[-1][0] for one in found)
    rows = []
    for number in range(1, MOMENTS + 1):
        at_s = last_s * number / MOMENTS
        row = {"seconds": f"{at_s:.0f}"}
        for one in found:
            times, values = zip(*one.curve, strict=True)
            row[one.name] = f"{steps_of(times, values, at_s):.4f}"
        rows.append(row)
    return ["Hypervolume of the undecayed scores so far:", "", *table(rows)]


def models(found: Sequence[Layout]) -> list[str]:
    """Every confirmed model of every search in one table, fastest first."""
    every = [at for one in found for at in one.shipped("val")]
    best = set(front_points(every)) if every else set()
    rows = [
        (e.measurement.p50_ms if e.measurement else 0.0, _model(one, e, best))
        for one in found
        for e in of(one)
        if e.state == "confirmed"
    ]
    if not rows:
        return ["No search confirmed a model."]
    return table([row for _, row in sorted(rows, key=lambda pair: pair[0])])


def _model(one: Layout, evaluation: Evaluation, best: set[Point]) -> dict[str, str]:
    measurement, test = evaluation.measurement, evaluation.score("test")
    at, promised = point(evaluation, one.constraints.statistic), evaluation.promised
    on = evaluation.candidate.key in {e.candidate.key for e in one.result.front}
    low, high = promised.iou_ci95 if promised else (0.0, 0.0)
    front = "both" if on and at in best else "its own" if on else ""
    return {
        "by": one.name, "on the front of": front,
        "p50 ms": f"{measurement.p50_ms:.3f}" if measurement else "",
        f"{one.constraints.statistic} ms": f"{at[0]:.3f}" if at else "",
        "IoU val": f"{at[1]:.4f}" if at else "", "95 %": f"{low:.4f} to {high:.4f}",
        "IoU test": f"{test.iou:.4f}" if test else "", "knobs": str(evaluation.candidate),
        "epochs": str(promised.epoch) if promised else "", "key": evaluation.candidate.key,
    }  # fmt: skip


def about(found: Sequence[Layout]) -> list[str]:
    said = found[0].said
    counts = ", ".join(f"{count} {split}" for split, count in said["pictures"].items())
    return [
        f"- command: `{command()}`",
        *(
            f"- {one.name}: `{run_command(one.said)}`; load before "
            + ", ".join((one.result.folder.parent / "load").read_text().split())
            for one in found
        ),
        *facts(),
        f"- onnxruntime {said['versions']['onnxruntime']}, optuna {said['versions']['optuna']}; "
        f"code: {commit_of(ROOT)}",
        f"- seed {said['seed']}, {said['workers']} workers; pictures: {counts}",
    ]


def how(found: Sequence[Layout]) -> list[str]:
    ceiling, floor = found[0].constraints.max_latency_ms, found[0].constraints.min_iou
    return [
        f"Hypervolume: over ln(latency) x IoU from the point ({ceiling:g} ms, {floor:g}); latency "
        f"is {found[0].constraints.statistic}. Undecayed scores are what the search ranks by; "
        "shipped are the models of its front, after the decay, by the figures of their files. "
        "One seed on one machine: the replays on a table say how far luck goes.",
    ]


def write_table(path: Path, found: Sequence[Layout]) -> None:
    """Every candidate of every search."""
    rows = [
        {"search": one.name, **row}
        for one in found
        for row in one.result.to_pandas().astype(object).to_dict("records")
    ]
    columns = list(dict.fromkeys(name for row in rows for name in row))
    write_csv(path, rows, columns)


def draw(path: Path, found: Sequence[Layout]) -> None:
    series = [Series(one.name, one.shipped("val"), one.scored) for one in found]
    curves = [(one.name, one.curve, one.area(one.shipped("val"))) for one in found]
    live_png(path, series, found[0].constraints, curves)


def parse() -> tuple[argparse.Namespace, list[str]]:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--budget", required=True)
    parser.add_argument("--max-latency", required=True)
    parser.add_argument("--min-iou", type=float, required=True)
    parser.add_argument("--search", action="append", help="a sampler, perhaps with options")
    parser.add_argument("--out", type=Path, required=True, help="a name in results/reference")
    parser.add_argument("--title", default="Whole searches beside each other, live")
    return parser.parse_known_args()


if __name__ == "__main__":
    main()
