"""The report as Markdown, for a repository or a ticket: the same facts as the page, in tables."""

from __future__ import annotations

from collections.abc import Iterable, Sequence, Set
from pathlib import Path
from urllib.parse import quote

from autoseg.core.text import markdown, markdown_code, markdown_table
from autoseg.report.figure_files import FOLDER, write_figures, write_fronts
from autoseg.report.importance import Importance
from autoseg.report.page import words
from autoseg.report.page.comparison import Comparison, compare
from autoseg.report.page.content import Model, Story, story_of
from autoseg.report.page.pictures import sheets
from autoseg.report.page.tables import Cell, Confusion
from autoseg.run.result import Result
from autoseg.run.store import write_atomically

MAX_PAIRS = 10


def write_markdown(result: Result, path: Path) -> None:
    """Write a run's report, with its figures and contact sheets in `figures/` beside it.

    Raises OSError.
    """
    story, folder = story_of(result), path.parent / FOLDER
    drawn = [f"{name}.png" for name in write_figures(result, path)]
    found = sheets(result.files, [model.spot.key for model in story.models])
    for key, raw in found.items():
        (folder / f"{key}.jpg").write_bytes(raw)
    write_atomically(path, "\n".join(_lines(story, {*drawn, *(f"{k}.jpg" for k in found)})) + "\n")


def write_markdown_comparison(one: Result, other: Result, path: Path) -> None:
    """Write two runs, or one run on two devices, side by side, with a figure; raises OSError."""
    lines = _compared(compare(one, other), write_fronts(one, other, path))
    write_atomically(path, "\n".join(lines) + "\n")


def _lines(story: Story, pictures: Set[str]) -> list[str]:
    """`pictures` are the files that are there to be shown."""
    result = story.result
    lines = [f"# {markdown(result.headline)}", "", f"autoseg report of {markdown(story.name)}."]
    if story.live:
        lines += ["", f"The run is not finished: this is after {words.time(result.spent_s)}."]
    lines += _missed(story)
    if story.picks:
        lines += ["", "## Picks", ""]
        lines += [
            f"- **{how}**: {markdown(e.candidate.key)}, {markdown(why)}"
            for how, e, why in story.picks
        ]
    lines += ["", "## Models"]
    lines += _picture("front.png", "latency against IoU", pictures)
    lines += ["", *_cells(story.heads, story.rows[: story.first_rows])]
    for model in story.models:
        lines += ["", f"### {markdown(model.spot.key)}", ""]
        lines += _table(("figure", "value"), [*model.figures, *model.costs, *model.timing])
        lines += _picture(f"{model.spot.key}.jpg", _SHEET, pictures)
        lines += _shown(model)
    lines += ["", "## Which knob matters"]
    for what, sign, found in story.importance:
        lines += ["", *_knobs(what, sign, found)]
    lines += ["", _CAVEAT, "", "## How the budget was spent", ""]
    lines += [f"- {count} {name}" for name, count in story.counts.items()]
    lines += [f"- {name} until {words.time(until)}" for name, until in story.spent.phases]
    lines += [f"- {markdown(line)}" for line in result.verdict]
    for name, shows in _FIGURES.items():
        lines += _picture(f"{name}.png", shows, pictures)
    lines += ["", "## The device", "", *_table(("fact", "value"), story.device)]
    lines += ["", "## To repeat it", "", markdown_code(story.command), ""]
    return [*lines, *_table(("fact", "value"), story.run)]


_SHEET = "pictures of val with the truth, what the model makes of them, and its errors"
_FIGURES = {
    "budget": "what became of the candidates over time",
    "hypervolume": "what finishing would have given over time",
    "learning": "IoU over epochs",
    "knobs": "what each knob alone does",
}


def _picture(file: str, shows: str, pictures: Set[str]) -> list[str]:
    return ["", f"![{shows}]({FOLDER}/{file})"] if file in pictures else []


def _shown(model: Model) -> list[str]:
    """IoU by class, and where the time goes, of what was recorded."""
    lines = []
    if model.classes:
        rows = [(name, words.iou(iou)) for name, iou in model.classes]
        lines += ["", *_table(("class", "IoU on val"), rows)]
    lines += _confusion(model.confusion)
    if model.exhibit and model.exhibit.operators:
        each = [(o.op, str(o.nodes), words.ms(o.ms)) for o in model.exhibit.operators]
        lines += ["", *_table(("operator", "nodes", "time"), each)]
    if model.exhibit and (frame := model.exhibit.frame):
        parts = frame.resize_ms, frame.inference_ms, frame.resize_back_ms
        rows = list(zip(("resize", "inference", "resize back"), map(words.ms, parts), strict=True))
        lines += ["", *_table(("whole frame", "time"), rows)]
    return lines


def _confusion(found: Confusion | None) -> list[str]:
    """The whole matrix, or its largest mistakes where it is large; % of the truth's pixels."""
    if found is None:
        return []
    if not found.shares:
        pairs = [(a, b, f"{100 * share:.1f}") for a, b, share in found.mistakes[:MAX_PAIRS]]
        said = "The largest confusions, % of the truth's pixels:"
        return ["", said, "", *_table(("truth", "taken for", "%"), pairs)]
    rows = [
        [name, *(f"{100 * share:.1f}" for share in row)]
        for name, row in zip(found.names, found.shares, strict=True)
    ]
    said = "What the pixels of each class were taken for, % of the truth:"
    return ["", said, "", *_table(("truth ↓ taken for →", *found.names), rows)]


_CAVEAT = (
    "A share is what one knob alone does, of what all knobs alone do, with a 90 % interval, from "
    "the candidates that the search chose to look at. It cannot tell what two knobs do only "
    "together, nor knobs apart that were always turned together. Most candidates are stopped "
    "early: what matters for IoU after full training may differ."
)


def _missed(story: Story) -> list[str]:
    told = story.explanation
    if told is None:
        return []
    lines = ["", "## Why nothing meets it", "", markdown(told.summary), *map(markdown, told.notes)]
    if told.relax:
        ways = [(f"{way.option} {way.value}", way.gives) for way in told.relax]
        lines += ["", *_table(("to let one in", "what it would give"), ways)]
    return lines


def _knobs(what: str, sign: str, found: Importance | None) -> list[str]:
    if found is None:
        return [f"{what}: too few candidates to say."]
    rows = []
    for each in found.effects:
        low, high = (round(100 * end) for end in each.share_ci90)
        swing = f"×{words.number(each.swing, 2)}" if sign == "x" else f"+{each.swing:.3f}"
        rows.append(
            (
                each.knob, f"{100 * each.share:.0f} % ({low} to {high})",
                f"{swing} ({each.worst} → {each.best})",
            )
        )  # fmt: skip
    told = max(0, round(100 * found.explained))
    head = f"{what}, from {found.candidates} candidates; tells {told} % of the variance of others:"
    return [head, "", *_table(("knob", "share", "alone, at most"), rows)]


def _compared(both: Comparison, figure: str) -> list[str]:
    lines = [f"# {markdown(both.name)}", ""]
    lines += [f"- **{markdown(s.name)}**: {markdown(s.result.headline)}" for s in both.sides]
    lines += ["", *(f"> {markdown(note)}\n" for note in both.notes)]
    lines += [f"![both fronts, latency against IoU]({quote(figure)})", ""]
    names = [side.name for side in both.sides]
    lines += _table(["", *names], both.facts)
    if both.shared:
        heads = ["network", *names, "second / first", *(f"IoU, {name}" for name in names)]
        lines += ["", "## The same networks on both", "", *_cells(heads, both.shared)]
    for side in both.sides:
        lines += ["", f"## {markdown(side.name)}", "", *_cells(side.heads, side.rows)]
        lines += ["", markdown_code(side.command)]
    return lines


def _cells(heads: Sequence[str], rows: Iterable[Sequence[Cell]]) -> list[str]:
    return _table(
        heads, [[f"{c.shown} ({c.more})" if c.more else c.shown for c in row] for row in rows]
    )


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    return [markdown_table([*map(markdown, heads)], [[*map(markdown, row)] for row in rows])]
