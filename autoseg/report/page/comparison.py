"""Two runs, or one run on two devices, side by side: both fronts in one picture."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from autoseg.core.pareto import hypervolume, point
from autoseg.core.records import Evaluation
from autoseg.report.axes import turned
from autoseg.report.page import about, tables, words
from autoseg.report.page.front_figure import Series, front_picture
from autoseg.report.page.points import KINDS, Spot, spots
from autoseg.run.result import Result
from autoseg.run.store import read_declaration

MARKS = ("one", "two")


@dataclass(frozen=True)
class Side:
    """One of the two."""

    name: str
    mark: str
    result: Result
    spots: list[Spot]
    said: Mapping[str, Any]
    heads: list[str]
    rows: list[list[tables.Cell]]
    command: str
    details: dict[str, Any]

    @property
    def hypervolume(self) -> float:
        """Of its front, under its own constraints."""
        asked = self.result.constraints
        at = [p for e in self.result.front if (p := point(e, asked.statistic))]
        return hypervolume(at, asked)


@dataclass(frozen=True)
class Comparison:
    """What the template is given."""

    sides: tuple[Side, Side]
    front: tuple[Markup, Markup]
    notes: list[str]
    facts: list[tuple[str, str, str]]
    shared: list[list[tables.Cell]]

    @property
    def name(self) -> str:
        run, other = (side.result.folder for side in self.sides)
        before = f"{run.name}: " if run == other else ""
        return f"{before}{self.sides[0].name} and {self.sides[1].name}"

    @property
    def kinds(self) -> list[tuple[str, str]]:
        """The kinds of points in the picture, for its legend."""
        held = {spot.kind for side in self.sides for spot in side.spots}
        return [(kind, said) for kind, said in KINDS.items() if kind in held]

    @property
    def details(self) -> dict[str, Any]:
        return {side.mark: side.details for side in self.sides}


def compare(one: Result, other: Result) -> Comparison:
    """Read both. Raises InputError where a folder holds no run."""
    names = names_of(one, other)
    sides = _side(one, names[0], MARKS[0]), _side(other, names[1], MARKS[1])
    series = [Series(s.name, s.spots, s.result.constraints, s.mark) for s in sides]
    pictures = front_picture(series), front_picture(series, narrow=True)
    return Comparison(sides, pictures, _notes(*sides), _facts(*sides), _shared(*sides))


def names_of(one: Result, other: Result) -> tuple[str, str]:
    """By what tells them apart: the runs, the devices, or both."""
    runs = [one.folder.name, other.folder.name]
    devices = [_device(result) for result in (one, other)]
    if devices[0] == devices[1]:
        return runs[0], runs[1] if runs[1] != runs[0] else f"{runs[1]} (2)"
    if one.folder == other.folder:
        return devices[0], devices[1]
    return f"{runs[0]} on {devices[0]}", f"{runs[1]} on {devices[1]}"


def _device(result: Result) -> str:
    return result.measured_on.name if result.measured_on else "its device"


def _side(result: Result, name: str, mark: str) -> Side:
    said = read_declaration(result.folder)
    shown = spots(result)
    knobs, asked = turned(result.evaluations), result.constraints
    first = [s for s in shown if s.kind in ("front", "best", "rejected") or s.baseline or s.near]
    cells = [tables.row(s, knobs, asked, result.baseline) for s in first]
    return Side(
        name, mark, result, shown, said, tables.columns(knobs, asked.statistic),
        cells,
        about.command(result),
        {s.key: {"run": name, "rows": tables.figures(s, asked)} for s in shown},
    )  # fmt: skip


def _notes(one: Side, other: Side) -> list[str]:
    """What makes figures of the two hard to compare."""
    notes = []
    if one.said.get("data_digest") != other.said.get("data_digest"):
        notes.append("They were scored on different data: their IoU does not compare.")
    a, b = one.result.constraints, other.result.constraints
    if a.statistic != b.statistic:
        notes.append(
            f"One promises {a.statistic} and the other {b.statistic}: latencies do not compare."
        )
    if a != b:
        notes.append("They were asked for different constraints: hypervolumes do not compare.")
    devices = [_device(side.result) for side in (one, other)]
    if devices[0] != devices[1]:
        notes.append(f"They were measured on different devices: {devices[0]} and {devices[1]}.")
    for name, what in (("space", "spaces"), ("effort", "efforts"), ("budget", "budgets")):
        if one.said.get(name) != other.said.get(name):
            notes.append(f"Different {what}: {one.said.get(name)} and {other.said.get(name)}.")
    return notes  # fmt: skip


def _facts(one: Side, other: Side) -> list[tuple[str, str, str]]:
    """A row a figure, both beside each other."""
    rows = [(name, said, _said(other)[name]) for name, said in _said(one).items()]
    a, b = one.hypervolume, other.hypervolume
    if one.result.constraints == other.result.constraints:
        rows.append(("hypervolume", f"{a:.4f}", f"{b:.4f}"))
        if a > 0 and b > 0:
            rows.append(("hypervolume, of the other's", f"{a / b:.3f}", f"{b / a:.3f}"))
    return rows


def _said(side: Side) -> dict[str, str]:
    result, asked = side.result, side.result.constraints
    states = [e.state for e in result.evaluations]
    trained = sum(bool(e.scores) for e in result.evaluations)
    picks: dict[str, str] = {how: _figures(e, result) for how, e in result.picks().items()}
    return {
        "asked for": f"{asked.statistic} ≤ {asked.max_latency_ms:g} ms, IoU ≥ {asked.min_iou:g}",
        "device": _device(result),
        "on the front": str(len(result.front)),
        **picks,
        "measured": str(len(side.spots)),
        "too slow": str(states.count("too_slow")),
        "trained": str(trained),
        "rejected": str(states.count("rejected")),
        "spent": words.time(result.spent_s),
    }


def _figures(evaluation: Evaluation | None, result: Result) -> str:
    at = point(evaluation, result.constraints.statistic) if evaluation else None
    return f"{words.ms(at[0])}, IoU {words.iou(at[1])}" if at else words.NONE


def _shared(one: Side, other: Side) -> list[list[tables.Cell]]:
    """The networks of either front that both have measured."""
    there = {s.key: s for s in other.spots}
    both = [(s, there[s.key]) for s in one.spots if s.key in there]
    both = [pair for pair in both if any(s.kind == "front" for s in pair)]
    return [
        [
            tables.Cell(str(a.evaluation.candidate), str(a.evaluation.candidate)),
            *(tables.Cell(words.ms(s.ms), s.ms) for s in (a, b)),
            tables.Cell(words.number(b.ms / a.ms), b.ms / a.ms),
            *(tables.Cell(_marked(s), "" if s.iou is None else s.iou) for s in (a, b)),
        ]
        for a, b in both
    ]


def _marked(spot: Spot) -> str:
    kind = "" if spot.kind == "front" else f" ({KINDS[spot.kind]})"
    return f"{words.iou(spot.iou)}{kind}"
