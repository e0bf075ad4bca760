"""The overview of a run in its Optuna study: a note in Markdown, and the figures."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from autoseg.core.records import Evaluation
from autoseg.core.text import markdown, markdown_code, markdown_table
from autoseg.report.dashboard.study import StudyOverview
from autoseg.report.plot_data import latency_text
from autoseg.run.result import Result
from autoseg.run.rows import table_rows


def overview(result: Result) -> StudyOverview:
    """The overview of a run, live or finished. Importing plotly takes 0.3 s."""
    from autoseg.report.dashboard.figures import figures

    return StudyOverview(note(result), figures(result))


def note(result: Result) -> str:
    """The verdict, the picks, the front as a table, and the command of the run."""
    parts = [
        f"**{markdown(_sentence(result.headline))}**",
        _list(result.verdict),
        _picks(result),
        _table(result),
        f"Command of the run\n\n{markdown_code(_command(result))}",
        "The contact sheet of a scored trial (images, truth, prediction and errors) is its "
        "artifact. This study is a read-only copy of the run's ledger; it is rebuilt when the run "
        "is resumed.",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _command(result: Result) -> str:
    """One option a line: the page is as wide as its longest line."""
    arguments = shlex.split(result.declaration.command(result.folder.name))
    lines = [""]
    for word in arguments:
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
    statistic = result.constraints.statistic
    heads = ["", "trial", "knobs", f"{statistic} ms", "95 %", "IoU on val", "95 %", "P", "params"]
    rows = [
        [
            str(row.rank),
            _trial(result, row.evaluation),
            markdown(str(row.evaluation.candidate)),
            latency_text(latency := row.latency(statistic), statistic, 4),
            latency.interval_text(".4g"),
            row["iou_val"].text(".4f"),
            row["iou_val"].interval_text(".4f"),
            row["p_feasible"].text(".2f"),
            row["params"].text(",.0f"),
        ]
        for row in table_rows(result.front, statistic)
    ]
    return markdown_table(heads, rows) if rows else ""


def _trial(result: Result, evaluation: Evaluation) -> str:
    """The name of its trial: trials are numbered in the ledger's order."""
    return f"trial {result.evaluations.index(evaluation)}"
