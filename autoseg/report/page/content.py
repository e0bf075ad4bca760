"""All that a page tells of one run on one device, in the order in which it tells it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup

from autoseg.core.diagnostics import Diagnostics, read_diagnostics, sheet_path
from autoseg.core.pareto import How
from autoseg.core.records import Evaluation
from autoseg.report.axes import turned
from autoseg.report.importance import Importance, iou_importance, latency_importance
from autoseg.report.page import about, tables, words
from autoseg.report.page.charts import latency_histogram, learning_curves
from autoseg.report.page.front_figure import Series, front_picture
from autoseg.report.page.history import budget_picture, drift_picture, hypervolume_curve
from autoseg.report.page.pictures import data_uris
from autoseg.report.page.points import KINDS, Spot, spots
from autoseg.report.spending import FATES, Spending, spending
from autoseg.run.infeasible import Explanation
from autoseg.run.ledger import as_seen_on, read_events
from autoseg.run.result import Result
from autoseg.run.store import read_declaration

MAX_MODELS = 40


@dataclass(frozen=True)
class Model:
    """One model with a section of its own."""

    spot: Spot
    picked: tuple[How, ...]
    figures: list[tuple[str, str]]
    costs: list[tuple[str, str]]
    timing: list[tuple[str, str]]
    classes: list[tuple[str, float | None]]
    confusion: tables.Confusion | None
    exhibit: Diagnostics | None
    histogram: Markup | None
    sheet: str | None

    @property
    def missing(self) -> list[str]:
        """What this run did not record of it."""
        shown = {
            "pictures": self.sheet,
            "latency histogram": self.histogram,
            "IoU of each class": self.classes,
            "confusion of classes": self.confusion,
            "time by operator": self.exhibit and self.exhibit.operators,
            "time across the frame": self.exhibit and self.exhibit.frame,
        }
        return [name for name, value in shown.items() if not value]


@dataclass(frozen=True)
class Story:
    """What the template is given."""

    result: Result
    live: bool
    spots: list[Spot]
    explanation: Explanation | None
    picks: list[tuple[How, Evaluation, str]]
    front: tuple[Markup, Markup]
    heads: list[str]
    rows: list[list[tables.Cell]]
    first_rows: int
    models: list[Model]
    same: dict[str, str]
    importance: list[tuple[str, str, Importance | None]]
    spent: Spending
    pictures: dict[str, Markup | None]
    device: list[tuple[str, str]]
    run: list[tuple[str, str]]
    command: str
    details: dict[str, dict[str, Any]]

    @property
    def name(self) -> str:
        device = f" on {self.result.device}" if self.result.device else ""
        return f"{self.result.folder.name}{device}"

    @property
    def counts(self) -> dict[str, int]:
        """How many candidates ended in each state."""
        found = [e.state for e in self.result.evaluations]
        named = {**FATES, "proposed": "proposed"}
        return {named[s]: found.count(s) for s in named if s in found}

    @property
    def legend(self) -> list[tuple[str, str, int]]:
        kinds = [spot.kind for spot in self.spots]
        return [(k, said, kinds.count(k)) for k, said in KINDS.items() if k in kinds]


def story_of(result: Result, place: Path | None = None) -> Story:
    """Read what a run's folder holds, for a page in the folder `place`.

    Raises InputError where it holds no run.
    """
    said = read_declaration(result.folder)
    events = as_seen_on(result.device, read_events(result.folder))
    shown = spots(result)
    knobs = turned(result.evaluations)
    picks = [(how, e, result.reason(how)) for how, e in result.picks().items() if e]
    chosen = _with_sections(shown, {e.candidate.key for _, e, _ in picks})
    keys = frozenset(spot.key for spot in chosen)
    beside = place is not None and place.resolve() == result.files.resolve()
    spent = spending(events, result.evaluations)
    constraints = result.constraints
    series = [Series(result.folder.name, shown, constraints, linked=keys)]
    first, rest = _ordered(shown)
    return Story(
        result=result,
        live=not events or events[-1]["event"] != "finished",
        spots=shown,
        explanation=result.explanation(),
        picks=picks,
        front=(front_picture(series), front_picture(series, narrow=True)),
        heads=tables.columns(knobs, constraints.statistic),
        rows=[
            tables.row(s, knobs, constraints, result.baseline, linked=s.key in keys)
            for s in [*first, *rest]
        ],
        first_rows=len(first),
        models=_models(result, chosen, said),
        same=_same(result.evaluations, knobs),
        importance=[
            ("latency", "x", latency_importance(result.evaluations, constraints.statistic)),
            ("IoU", "+", iou_importance(result.evaluations)),
        ],
        spent=spent,
        pictures={
            "budget": budget_picture(spent),
            "learning": learning_curves(shown, constraints),
            "hypervolume": hypervolume_curve(result.curve),
            "drift": drift_picture(result.evaluations),
        },
        device=about.device_rows(result),
        run=about.run_rows(result, said),
        command=about.command(result),
        details={s.key: _details(result, s, keys, beside=beside) for s in shown},
    )


def _with_sections(shown: Sequence[Spot], picks: Set[str]) -> list[Spot]:
    """The front, at least its picks; without one, the nearest misses and what is best so far."""
    front = [s for s in shown if s.kind == "front"]
    able = front or [s for s in shown if s.near or s.kind == "best"]
    held = {s.key for s in sorted(able, key=lambda s: s.key not in picks)[:MAX_MODELS]}
    return [s for s in able if s.key in held]


def _ordered(shown: Sequence[Spot]) -> tuple[list[Spot], list[Spot]]:
    """What a reader wants first, and all the rest, the fastest first."""
    first = [s for s in shown if s.kind in ("front", "best", "rejected") or s.baseline or s.near]
    known = {s.key for s in first}
    rest = [s for s in shown if s.key not in known]
    return first, sorted(rest, key=lambda s: s.ms)


def _same(evaluations: Sequence[Evaluation], knobs: Sequence[str]) -> dict[str, str]:
    """The knobs that are the same for all."""
    choices = dict(evaluations[0].candidate.choices) if evaluations else {}
    return {name: str(value) for name, value in choices.items() if name not in knobs}


def _models(result: Result, chosen: Sequence[Spot], said: Mapping[str, Any]) -> list[Model]:
    sheets = data_uris(result.files, [s.key for s in chosen])
    classes = [str(name) for name in said.get("classes") or ()]
    picks = {how: e.candidate.key for how, e in result.picks().items() if e}
    return [
        _model(
            result, spot, classes, sheets.get(spot.key),
            tuple(how for how, key in picks.items() if key == spot.key),
        )
        for spot in chosen
    ]  # fmt: skip


def _model(
    result: Result, spot: Spot, classes: Sequence[str], sheet: str | None, picked: tuple[How, ...]
) -> Model:
    evaluation, measurement = spot.evaluation, spot.evaluation.measurement
    exhibit = read_diagnostics(result.files, spot.key)
    return Model(
        spot,
        picked,
        tables.figures(spot, result.constraints),
        tables.costs(evaluation),
        tables.timing(measurement) if measurement else [],
        tables.class_ious(evaluation, classes),
        tables.confusion(exhibit, classes),
        exhibit,
        latency_histogram(measurement, result.constraints) if measurement else None,
        sheet,
    )


def _details(result: Result, spot: Spot, chosen: Set[str], *, beside: bool) -> dict[str, Any]:
    """What the script shows of a point that is chosen; pictures are in the model's section.

    Those of other models are a link where the page lies `beside` them.
    """
    evaluation, cost = spot.evaluation, spot.evaluation.cost
    rows = tables.figures(spot, result.constraints)
    if cost:
        rows.append(("parameters", f"{cost.params:,}"))
        rows.append(("MACs", words.counted(cost.macs)))
    rows.append(("file", words.size(evaluation.onnx_bytes)))
    found: dict[str, Any] = {"rows": rows, "section": spot.key in chosen}
    sheet = sheet_path(Path(""), spot.key)
    if beside and spot.key not in chosen and (result.files / sheet).is_file():
        found["beside"] = sheet.as_posix()
    return found
