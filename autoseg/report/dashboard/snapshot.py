"""What a run's Optuna study shows as a whole: its note, as Markdown, and its figures."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from autoseg.core.records import Evaluation
from autoseg.core.text import markdown, markdown_code, markdown_table
from autoseg.report.axes import iou_interval, latency_interval, latency_said
from autoseg.report.dashboard.study import View
from autoseg.run.result import Result


def view_of(result: Result) -> View:
    """The view of a run, live or finished. plotly takes a third of a second to import."""
    from autoseg.report.dashboard.figures import figures

    return View(note(result), figures(result))


def note(result: Result) -> str:
    """The verdict, the picks, the front as a table, and the command; live or finished."""
    parts = [
        f"**{markdown(_sentence(result.headline))}**",
        _list(result.verdict),
        _picks(result),
        _table(result),
        f"Asked for with\n\n{markdown_code(_command(result))}",
        "A scored trial has its contact sheet as an artifact: pictures, truth, prediction and "
        "errors. This study mirrors the run's ledger, is built anew when the run is continued, "
        "and is read only here.",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _command(result: Result) -> str:
    """An option a line: the page becomes as wide as the longest one."""
    words = shlex.split(result.declaration.command(result.folder.name))
    lines = [""]
    for word in words:
        if word.startswith("--"):
            lines.append("   ")
        lines[-1] += f" {shlex.quote(word)}"
    return " \\\n".join(lines).strip()


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."


def _list(lines: Sequence[str]) -> str:
    return "\n".join(f"- {markdown(line)}" for line in lines)


def _picks(result: Result) -> str:
    chosen = [(how, e) for how, e in result.picks().items() if e]
    return "\n".join(
        f"- {how}: {_trial(result, e)}, {markdown(result.reason(how))}" for how, e in chosen
    )


def _table(result: Result) -> str:
    if not result.front:
        return ""
    statistic = result.constraints.statistic
    head = ["", "trial", "knobs", f"{statistic} ms", "95 %", "IoU on val", "95 %", "P", "params"]
    rows = []
    for rank, evaluation in enumerate(result.front, start=1):
        measured, cost = evaluation.measurement, evaluation.cost
        figures = [
            latency_said(measured, statistic, 4),
            _span(latency_interval(evaluation, statistic), ".4g"),
            f"{evaluation.iou:.4f}",
            _span(iou_interval(evaluation), ".4f"),
            f"{evaluation.p_feasible:.2f}" if evaluation.p_feasible is not None else "",
            f"{cost.params:,}" if cost else "",
        ]
        rows.append(
            [str(rank), _trial(result, evaluation), markdown(str(evaluation.candidate)), *figures]
        )
    return markdown_table(head, rows)


def _trial(result: Result, evaluation: Evaluation) -> str:
    """The number of its trial: they are in the ledger's order."""
    return f"trial {result.evaluations.index(evaluation)}"


def _span(interval: tuple[float, float] | None, form: str) -> str:
    return f"{interval[0]:{form}} to {interval[1]:{form}}" if interval else ""
