"""Two runs, or one run on two devices, side by side: both fronts in one plot."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from autoseg.core.pareto import hypervolume, point
from autoseg.core.records import STATE_LABELS, Evaluation
from autoseg.report.page import formatting, tables
from autoseg.report.page.front_figure import Series, front_picture
from autoseg.report.plot_data import POINT_LABELS, FrontPlot, PlotPoint, plot_of_run, varied_knobs
from autoseg.run.result import Result
from autoseg.run.store import read_declaration

MARKS = ("one", "two")  # CSS classes of the two runs


@dataclass(frozen=True, kw_only=True)
class ComparedRun:
    """One of the two runs."""

    name: str
    mark: str
    result: Result
    plot: FrontPlot
    declaration: Mapping[str, Any]
    heads: list[str]
    rows: list[list[tables.Cell]]
    command: str
    details: dict[str, Any]


@dataclass(frozen=True)
class Comparison:
    """The data of the template of two runs."""

    sides: tuple[ComparedRun, ComparedRun]
    front: tuple[Markup, Markup]
    notes: list[str]
    fields: list[tuple[str, str, str]]
    shared: list[list[tables.Cell]]

    @property
    def name(self) -> str:
        run, other = (side.result.folder for side in self.sides)
        before = f"{run.name}: " if run == other else ""
        return f"{before}{self.sides[0].name} and {self.sides[1].name}"

    @property
    def kinds(self) -> list[tuple[str, str]]:
        """The kinds of points in the plot with their labels, for its legend."""
        found = {p.kind for side in self.sides for p in side.plot.points}
        return [(kind, label) for kind, label in POINT_LABELS.items() if kind in found]

    @property
    def details(self) -> dict[str, Any]:
        return {side.mark: side.details for side in self.sides}


def compare(one: Result, other: Result) -> Comparison:
    """Read both. Raises InputError where a folder holds no run."""
    names = names_of(one, other)
    sides = _compared(one, names[0], MARKS[0]), _compared(other, names[1], MARKS[1])
    series = [Series(side.plot, side.mark) for side in sides]
    pictures = front_picture(series), front_picture(series, narrow=True)
    return Comparison(sides, pictures, _notes(*sides), _fields(*sides), _shared(*sides))


def names_of(one: Result, other: Result) -> tuple[str, str]:
    """The shortest names that differ: of the runs, of the devices, or both."""
    runs = [one.folder.name, other.folder.name]
    devices = [_device(result) for result in (one, other)]
    if devices[0] == devices[1]:
        return runs[0], runs[1] if runs[1] != runs[0] else f"{runs[1]} (2)"
    if one.folder == other.folder:
        return devices[0], devices[1]
    return f"{runs[0]} on {devices[0]}", f"{runs[1]} on {devices[1]}"


def _device(result: Result) -> str:
    return result.measured_on.name if result.measured_on else "its device"


def _compared(result: Result, name: str, mark: str) -> ComparedRun:
    plot = plot_of_run(result)
    knobs, statistic = varied_knobs(result.evaluations), result.constraints.statistic
    return ComparedRun(
        name=name,
        mark=mark,
        result=result,
        plot=plot,
        declaration=read_declaration(result.folder),
        heads=tables.columns(knobs, result.constraints, result.baseline),
        rows=[tables.row_cells(p, knobs, statistic) for p in plot.highlights],
        command=tables.command(result),
        details={p.key: {"run": name, "rows": tables.result_fields(p)} for p in plot.points},
    )


def _notes(one: ComparedRun, other: ComparedRun) -> list[str]:
    """The differences that limit a comparison of values."""
    notes = []
    if one.declaration.get("data_digest") != other.declaration.get("data_digest"):
        notes.append("The runs have different data: their IoU values are not comparable.")
    a, b = one.result.constraints, other.result.constraints
    if a.promised != b.promised:
        notes.append(
            f"What is promised differs ({a.promised}, {b.promised}): latencies are not comparable."
        )
    elif a.latency == "frame" and a.frame_hw != b.frame_hw:
        notes.append("The frames have different sizes: latencies are not comparable.")
    if a != b:
        notes.append("The constraints differ: hypervolumes are not comparable.")
    devices = [_device(side.result) for side in (one, other)]
    if devices[0] != devices[1]:
        notes.append(f"The devices differ: {devices[0]} and {devices[1]}.")
    for name in ("space", "effort", "budget"):
        of_one, of_other = one.declaration.get(name), other.declaration.get(name)
        if of_one != of_other:
            notes.append(f"Different {name}s: {of_one} and {of_other}.")
    return notes


def _fields(one: ComparedRun, other: ComparedRun) -> list[tuple[str, str, str]]:
    """One row a field: name, value of each run."""
    values = _values(other)
    rows = [(name, text, values[name]) for name, text in _values(one).items()]
    asked = one.result.constraints
    if asked == other.result.constraints:
        fronts = ([point(e, asked.statistic) for e in side.result.front] for side in (one, other))
        a, b = (hypervolume(list(filter(None, front)), asked) for front in fronts)
        rows.append(("hypervolume", f"{a:.4f}", f"{b:.4f}"))
        if a > 0 and b > 0:
            rows.append(("hypervolume, of the other's", f"{a / b:.3f}", f"{b / a:.3f}"))
    return rows


def _values(side: ComparedRun) -> dict[str, str]:
    result, asked = side.result, side.result.constraints
    states = [e.state for e in result.evaluations]
    return {
        "constraints": f"{asked.promised} ≤ {asked.max_latency_ms:g} ms, IoU ≥ {asked.min_iou:g}",
        "device": _device(result),
        POINT_LABELS["front"]: str(len(result.front)),
        **{str(how): _pick_text(e, result) for how, e in result.picks().items()},
        "measured": str(len(side.plot.points)),
        STATE_LABELS["too_slow"]: str(states.count("too_slow")),
        STATE_LABELS["scored"]: str(sum(bool(e.scores) for e in result.evaluations)),
        STATE_LABELS["rejected"]: str(states.count("rejected")),
        "spent": formatting.time(result.spent_s),
    }


def _pick_text(evaluation: Evaluation | None, result: Result) -> str:
    at = point(evaluation, result.constraints.statistic) if evaluation else None
    return f"{formatting.ms(at[0])}, IoU {formatting.iou(at[1])}" if at else formatting.NONE


def _shared(one: ComparedRun, other: ComparedRun) -> list[list[tables.Cell]]:
    """The networks on either front that both runs measured."""
    there = {p.key: p for p in other.plot.points}
    both = [(p, there[p.key]) for p in one.plot.points if p.key in there]
    both = [pair for pair in both if any(p.kind == "front" for p in pair)]
    return [
        [
            tables.Cell(str(a.evaluation.candidate), str(a.evaluation.candidate)),
            *(tables.Cell(formatting.ms(p.ms), p.ms) for p in (a, b)),
            tables.Cell(formatting.number(b.ms / a.ms), b.ms / a.ms),
            *(tables.Cell(_iou_and_kind(p), "" if p.iou is None else p.iou) for p in (a, b)),
        ]
        for a, b in both
    ]


def _iou_and_kind(point: PlotPoint) -> str:
    kind = "" if point.kind == "front" else f" ({POINT_LABELS[point.kind]})"
    return f"{formatting.iou(point.iou)}{kind}"
