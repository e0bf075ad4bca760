"""The report as Markdown, for a repository or a ticket: the content of the page as tables."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from urllib.parse import quote

from autoseg.core.files import write_atomically
from autoseg.core.text import markdown, markdown_code, markdown_table
from autoseg.report.figure_files import FOLDER, write_figures, write_fronts
from autoseg.report.importance import (
    HEADS,
    LIMITS,
    MEASURES,
    Importance,
    importance_head,
    importance_rows,
)
from autoseg.report.page import formatting
from autoseg.report.page.comparison import Comparison, compare
from autoseg.report.page.content import ModelSection, RunReport, run_report
from autoseg.report.page.pictures import sheets
from autoseg.report.page.tables import Cell, Confusion
from autoseg.run.result import Result

MAX_CONFUSIONS = 10  # rows of a table


def write_markdown(result: Result, path: Path) -> None:
    """Write a run's report, with its figures and contact sheets in `figures/` beside it.

    Raises OSError.
    """
    report, folder = run_report(result), path.parent / FOLDER
    drawn = [f"{name}.png" for name in write_figures(result, path)]
    for key, raw in sheets(result.files, [model.point.key for model in report.models]).items():
        (folder / f"{key}.jpg").write_bytes(raw)
        drawn.append(f"{key}.jpg")
    write_atomically(path, "\n".join(_lines(report, drawn)) + "\n")


def write_markdown_comparison(one: Result, other: Result, path: Path) -> None:
    """Write two runs, or one run on two devices, side by side, with a figure; raises OSError."""
    lines = _compared(compare(one, other), write_fronts(one, other, path))
    write_atomically(path, "\n".join(lines) + "\n")


def _lines(report: RunReport, pictures: Sequence[str]) -> list[str]:
    """`pictures` are the names of the existing picture files."""
    result = report.result
    lines = [f"# {markdown(result.headline)}", "", f"autoseg report of {markdown(report.name)}."]
    if result.status != "finished":
        lines += ["", f"The run is not finished: this is after {formatting.time(result.spent_s)}."]
    if result.resume_command:
        lines += ["", "To go on:", "", markdown_code(result.resume_command)]
    lines += _explanation(report)
    if report.picks:
        lines += ["", "## Picks", ""]
    for how, e, why in report.picks:
        lines.append(f"- **{how}**: {markdown(e.candidate.key)}, {markdown(why)}")
    lines += ["", "## Models"]
    lines += _picture("front.png", "latency against IoU", pictures)
    lines += ["", *_cells(report.heads, report.rows[: report.first_rows])]
    lines += ["", markdown(report.against_baseline)] if report.against_baseline else []
    for model in report.models:
        lines += ["", f"### {markdown(model.point.key)}", ""]
        lines += _table(("field", "value"), [*model.results, *model.costs, *model.latencies])
        lines += _picture(f"{model.point.key}.jpg", _SHEET, pictures)
        lines += _shown(model)
    lines += ["", "## Importance of the knobs"]
    for what, sign, found in report.importance:
        lines += ["", *_knobs(what, sign, found)]
    lines += ["", f"{MEASURES} {LIMITS}", "", "## Use of the budget", ""]
    lines += [f"- {count} {label}" for _, label, count in report.states]
    lines += [f"- {name} until {formatting.time(until)}" for name, until in report.spent.phases]
    lines += [f"- {markdown(line)}" for line in result.verdict]
    for name, shows in _FIGURES.items():
        lines += _picture(f"{name}.png", shows, pictures)
    lines += ["", "## The device", "", *_table(("field", "value"), report.device)]
    lines += ["", "## Command", "", markdown_code(report.command), ""]
    return [*lines, *_table(("field", "value"), report.run)]


_SHEET = "images of val with truth, prediction and errors"
_FIGURES = {
    "budget": "candidates by state over time",
    "hypervolume": "hypervolume that finishing would have given, over time",
    "learning": "IoU over epochs",
    "knobs": "main effect of each knob",
}


def _picture(file: str, shows: str, pictures: Sequence[str]) -> list[str]:
    return ["", f"![{shows}]({FOLDER}/{file})"] if file in pictures else []


def _shown(model: ModelSection) -> list[str]:
    """IoU and confusions by class, time by operator and of a whole frame, if recorded."""
    lines = []
    if model.classes:
        rows = [(name, formatting.iou(iou)) for name, iou in model.classes]
        lines += ["", *_table(("class", "IoU on val"), rows)]
    lines += _confusion(model.confusion)
    if model.diagnostics and model.diagnostics.operators:
        each = [(o.op, str(o.nodes), formatting.ms(o.ms)) for o in model.diagnostics.operators]
        lines += ["", *_table(("operator", "nodes", "time"), each)]
    if frame := model.frame:
        rows = [
            ("resize", formatting.ms(frame.resize_ms)),
            ("inference", formatting.ms(frame.inference_ms)),
            ("resize back", formatting.ms(frame.resize_back_ms)),
        ]
        lines += ["", *_table(("whole frame", "time"), rows)]
    return lines


def _confusion(found: Confusion | None) -> list[str]:
    """The whole matrix, or the largest confusions of many classes; % of the true pixels."""
    if found is None:
        return []
    if not found.shares:
        pairs = [(a, b, f"{100 * share:.1f}") for a, b, share in found.mistakes[:MAX_CONFUSIONS]]
        title = "The largest confusions, % of the true pixels:"
        return ["", title, "", *_table(("truth", "predicted", "%"), pairs)]
    rows = [
        [name, *(f"{100 * share:.1f}" for share in row)]
        for name, row in zip(found.names, found.shares, strict=True)
    ]
    title = "Confusion matrix, % of the true pixels of each class:"
    return ["", title, "", *_table(("truth ↓ predicted →", *found.names), rows)]


def _explanation(report: RunReport) -> list[str]:
    found = report.explanation
    if found is None:
        return []
    finished = report.result.status == "finished"
    lines = ["", "## Why no model is feasible" if finished else "## So far", ""]
    for fact in (found.summary, *found.notes):
        lines += [markdown(fact), ""]
    for way in found.relax:
        lines += [markdown(f"{way}: {way.gives}"), "", markdown_code(way.command), ""]
    return lines


def _knobs(what: str, sign: str, found: Importance | None) -> list[str]:
    if found is None:
        return [f"{what}: too few candidates."]
    return [importance_head(what, found), "", *_table(HEADS, importance_rows(sign, found))]


def _compared(both: Comparison, figure: str) -> list[str]:
    lines = [f"# {markdown(both.name)}", ""]
    lines += [f"- **{markdown(s.name)}**: {markdown(s.result.headline)}" for s in both.sides]
    lines += ["", *(f"> {markdown(note)}\n" for note in both.notes)]
    lines += [f"![both fronts, latency against IoU]({quote(figure)})", ""]
    names = [side.name for side in both.sides]
    lines += _table(["", *names], both.fields)
    if both.shared:
        heads = ["network", *names, "second / first", *(f"IoU, {name}" for name in names)]
        lines += ["", "## The same networks on both", "", *_cells(heads, both.shared)]
    for side in both.sides:
        lines += ["", f"## {markdown(side.name)}", "", *_cells(side.heads, side.rows)]
        lines += ["", markdown_code(side.command)]
    return lines


def _cells(heads: Sequence[str], rows: Iterable[Sequence[Cell]]) -> list[str]:
    texts = ([f"{c.shown} ({c.more})" if c.more else c.shown for c in row] for row in rows)
    return _table(heads, texts)


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    return [markdown_table([*map(markdown, heads)], [[*map(markdown, row)] for row in rows])]
