"""The content of a page about one run on one device, in the order of the page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup

from autoseg.core.diagnostics import Diagnostics, read_diagnostics, sheet_path
from autoseg.core.pareto import How
from autoseg.core.records import STATE_LABELS, Evaluation, FrameParts
from autoseg.report.baseline import baseline_name, baseline_sentence
from autoseg.report.importance import Importance, importances
from autoseg.report.page import charts, formatting, tables
from autoseg.report.page.front_figure import Series, front_picture
from autoseg.report.page.pictures import data_uris
from autoseg.report.plot_data import POINT_LABELS, FrontPlot, PlotPoint, plot_of_run, varied_knobs
from autoseg.report.spending import STACKED_STATES, Spending, spending
from autoseg.run.infeasible import Explanation
from autoseg.run.ledger import as_seen_on, read_events
from autoseg.run.result import Result
from autoseg.run.store import read_declaration

MAX_MODELS = 40  # with a section each: their contact sheets make the page large


@dataclass(frozen=True, kw_only=True)
class ModelSection:
    """The section of a page about one model."""

    point: PlotPoint
    results: tables.Fields
    costs: tables.Fields
    latencies: tables.Fields
    classes: list[tuple[str, float | None]]
    confusion: tables.Confusion | None
    diagnostics: Diagnostics | None
    histogram: Markup | None
    sheet: str | None

    @property
    def frame(self) -> FrameParts | None:
        """The parts of a whole frame."""
        measurement = self.point.evaluation.measurement
        return measurement.frame if measurement else None

    @property
    def missing(self) -> list[str]:
        """The names of what this run did not record of the model."""
        found = {
            "contact sheet": self.sheet,
            "latency histogram": self.histogram,
            "IoU of each class": self.classes,
            "confusion of classes": self.confusion,
            "time by operator": self.diagnostics and self.diagnostics.operators,
            "time of a whole frame": self.frame,
        }
        return [name for name, value in found.items() if not value]


@dataclass(frozen=True, kw_only=True)
class RunReport:
    """The data of the page's template."""

    result: Result
    plot: FrontPlot
    explanation: Explanation | None
    picks: list[tuple[How, Evaluation, str]]
    front: tuple[Markup, Markup]
    heads: list[str]
    rows: list[list[tables.Cell]]
    first_rows: int
    models: list[ModelSection]
    constant_knobs: dict[str, str]
    importance: list[tuple[str, str, Importance | None]]
    baseline_name: str
    against_baseline: str
    spent: Spending
    pictures: dict[str, Markup | None]
    device: tables.Fields
    run: tables.Fields
    command: str
    details: dict[str, dict[str, Any]]

    @property
    def name(self) -> str:
        device = f" on {self.result.device}" if self.result.device else ""
        return f"{self.result.folder.name}{device}"

    @property
    def states(self) -> list[tuple[str, str, int]]:
        """State, label and number of candidates, of the states that occur."""
        found = [e.state for e in self.result.evaluations]
        order = [s for s in (*STACKED_STATES, "proposed") if s in found]
        return [(state, STATE_LABELS[state], found.count(state)) for state in order]

    @property
    def legend(self) -> list[tuple[str, str, int]]:
        kinds = [point.kind for point in self.plot.points]
        return [(k, label, kinds.count(k)) for k, label in POINT_LABELS.items() if k in kinds]


def run_report(result: Result, folder: Path | None = None) -> RunReport:
    """Read a run's folder for a page in `folder`. Raises InputError where it holds no run."""
    declaration = read_declaration(result.folder)
    events = as_seen_on(result.device, read_events(result.folder))
    plot = plot_of_run(result)
    knobs, statistic = varied_knobs(result.evaluations), result.constraints.statistic
    picks = [(how, e, result.reason(how)) for how, e in result.picks().items() if e]
    sections = _with_sections(plot, {e.candidate.key for _, e, _ in picks})
    keys = frozenset(point.key for point in sections)
    beside = folder is not None and folder.resolve() == result.files.resolve()
    spent = spending(events, result.evaluations)
    series, first = [Series(plot, linked=keys)], {point.key for point in plot.highlights}
    # The others are behind the highlights, the fastest first.
    ordered = sorted(plot.points, key=lambda p: -1.0 if p.key in first else p.ms)
    return RunReport(
        result=result,
        plot=plot,
        explanation=result.explanation(),
        picks=picks,
        front=(front_picture(series), front_picture(series, narrow=True)),
        heads=tables.columns(knobs, result.constraints, result.baseline),
        rows=[tables.row_cells(p, knobs, statistic, linked=p.key in keys) for p in ordered],
        first_rows=len(first),
        models=_models(result, sections, declaration),
        constant_knobs=_constant(result.evaluations, knobs),
        importance=importances(result.evaluations, statistic),
        baseline_name=baseline_name(result.baseline),
        against_baseline=baseline_sentence(result),
        spent=spent,
        pictures={
            "budget": charts.budget_picture(spent),
            "learning": charts.learning_curves(plot),
            "hypervolume": charts.hypervolume_curve(result.curve),
            "drift": charts.drift_picture(result.evaluations),
        },
        device=tables.device_fields(result),
        run=tables.run_fields(result, declaration),
        command=tables.command(result),
        details={p.key: _details(result, p, keys, beside=beside) for p in plot.points},
    )


def _with_sections(plot: FrontPlot, picks: Set[str]) -> list[PlotPoint]:
    """The front, its picks first; without a front, the nearest misses and the best so far."""
    points = plot.of_kind("front") or [p for p in plot.points if p.near or p.kind == "best"]
    kept = {p.key for p in sorted(points, key=lambda p: p.key not in picks)[:MAX_MODELS]}
    return [p for p in points if p.key in kept]


def _constant(evaluations: Sequence[Evaluation], knobs: Sequence[str]) -> dict[str, str]:
    """The knobs that have one choice in all candidates."""
    choices = dict(evaluations[0].candidate.choices) if evaluations else {}
    return {name: str(value) for name, value in choices.items() if name not in knobs}


def _models(
    result: Result, points: Sequence[PlotPoint], declaration: Mapping[str, Any]
) -> list[ModelSection]:
    sheets = data_uris(result.files, [point.key for point in points])
    classes = [str(name) for name in declaration.get("classes") or ()]
    return [_model(result, point, classes, sheets.get(point.key)) for point in points]


def _model(
    result: Result, point: PlotPoint, classes: Sequence[str], sheet: str | None
) -> ModelSection:
    evaluation = point.evaluation
    diagnostics = read_diagnostics(result.files, point.key)
    return ModelSection(
        point=point,
        results=tables.result_fields(point),
        costs=tables.cost_fields(evaluation),
        latencies=tables.latency_fields(point.row),
        classes=tables.class_ious(evaluation, classes),
        confusion=tables.confusion(diagnostics, classes),
        diagnostics=diagnostics,
        histogram=charts.latency_histogram(evaluation.measurement, result.constraints),
        sheet=sheet,
    )


def _details(
    result: Result, point: PlotPoint, sections: Set[str], *, beside: bool
) -> dict[str, Any]:
    """The data that the script shows for a selected point.

    The contact sheet is in the model's section; for a model without one it is a link, where the
    page is `beside` the sheets.
    """
    fields = tables.result_fields(point)
    if cost := point.evaluation.cost:
        fields += [("parameters", f"{cost.params:,}"), ("MACs", formatting.count(cost.macs))]
    fields.append(("file", formatting.size(point.evaluation.onnx_bytes)))
    found: dict[str, Any] = {"rows": fields, "section": point.key in sections}
    sheet = sheet_path(Path(""), point.key)
    if beside and point.key not in sections and (result.files / sheet).is_file():
        found["beside"] = sheet.as_posix()
    return found
