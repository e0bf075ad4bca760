"""What a study tells of its run: attributes of the study and its trials, and a Markdown note."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from autoseg.core.records import Constraints, Evaluation
from autoseg.core.text import markdown, markdown_code, markdown_table
from autoseg.core.units import clock
from autoseg.report.importance import (
    HEADS,
    MEASURES,
    importance_head,
    importance_rows,
    importances,
)
from autoseg.report.plot_data import beside_text, latency_text
from autoseg.run.result import Result
from autoseg.run.rows import Quantity, TableRow, beside_name, table_rows

# The fields of run.yaml that are attributes of their own; the whole file is one more attribute.
OPTIONS = (
    "latency", "frame", "data", "device", "effort", "space", "budget", "trials", "sampler",
    "workers", "gpus", "gpus_per_trial", "seed",
)  # fmt: skip


def study_attributes(declaration: Mapping[str, Any]) -> dict[str, Any]:
    """The attributes of a study: constraints, options, classes, versions, and all of run.yaml."""
    found: dict[str, Any] = {}
    if "max_latency" in declaration:
        of = " of a frame" if declaration.get("latency") == "frame" else ""
        found["asked"] = (
            f"{declaration.get('statistic')}{of} within {declaration['max_latency']}, "
            f"IoU of at least {declaration.get('min_iou')}"
        )
    found |= {name: declaration[name] for name in OPTIONS if declaration.get(name) is not None}
    if "classes" in declaration:
        found["classes"] = ", ".join(map(str, declaration["classes"]))
    if "versions" in declaration:
        found["versions"] = ", ".join(f"{k} {v}" for k, v in declaration["versions"].items())
    return {**found, "declaration": dict(declaration)}


def trial_attributes(evaluation: Evaluation, constraints: Constraints) -> dict[str, Any]:
    """The known attributes of a candidate's trial, with units in their names."""
    (row,) = table_rows([evaluation], constraints.statistic)
    val = evaluation.score("val")
    found: dict[str, Any] = {
        "key": row.key,
        "state": evaluation.state,
        "reason": _reason(evaluation, constraints),
        "params": row["params"].value,
        "MACs": row["macs"].value,
        **_measured(row),
        "IoU 95 %": row["iou_val"].interval_text(".4f"),
        "epochs": val.epoch if val else None,
        "train [s]": round(val.train_s, 1) if val else None,
        "IoU test": _rounded(row["iou_test"], 4),
        "size [bytes]": row["onnx_bytes"].value,
        "p_feasible": _rounded(row["p_feasible"], 3),
    }
    return {name: value for name, value in found.items() if value not in (None, "")}


def _reason(evaluation: Evaluation, constraints: Constraints) -> str | None:
    if evaluation.state == "too_slow" and evaluation.measurement:
        found, ceiling_ms = evaluation.measurement, constraints.max_latency_ms
        p50 = f"{found.name('p50')} is {found.p50_ms:.3g} ms"
        return f"too slow: {p50}, the ceiling {ceiling_ms:g} ms"
    return evaluation.error


def _measured(row: TableRow) -> dict[str, Any]:
    measurement = row.evaluation.measurement
    if measurement is None:
        return {}
    found: dict[str, Any] = {"device": measurement.device}
    for name in ("p50", "p90"):
        latency = row[f"latency_{name}_ms"]
        if latency.value is not None:
            found[f"{latency.name} [ms]"] = float(f"{latency.value:.5g}")
            found[f"{latency.name} 95 %"] = f"{latency.interval_text('.4g')} ms"
    if (other := row.beside("p90")).value is not None:
        found[f"{other.name} [ms]"] = float(f"{other.value:.5g}")
    return {**found, "warnings": "; ".join(measurement.flags)}


def _rounded(quantity: Quantity, digits: int) -> float | None:
    return None if quantity.value is None else round(quantity.value, digits)


@dataclass(frozen=True)
class StudyOverview:
    """The note of a study in Markdown, and its plotly figures by their HTML ids."""

    note: str = ""
    figures: Mapping[str, Any] = field(default_factory=dict)


def overview(result: Result) -> StudyOverview:
    """The overview of a run, live or finished. Importing plotly takes 0.3 s."""
    from autoseg.report.dashboard.figures import figures

    return StudyOverview(note(result), figures(result))


def note(result: Result) -> str:
    """The verdict, the picks, the front as a table, and the command of the run."""
    headline = result.headline
    parts = [
        f"**{markdown(f'{headline[:1].upper()}{headline[1:]}.')}**",
        _unfinished(result),
        "\n".join(f"- {markdown(line)}" for line in result.verdict),
        _missed(result),
        "\n".join(
            f"- {how}: {_trial(result, e)}, {markdown(result.reason(how))}"
            for how, e in result.picks().items()
            if e
        ),
        _table(result),
        _importance(result),
        f"Command of the run\n\n{markdown_code(_command(result))}",
        "The contact sheet of a scored trial (images, truth, prediction and errors) is its "
        "artifact. This study is a read-only copy of the run's ledger; it is rebuilt when the run "
        "is resumed.",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _unfinished(result: Result) -> str:
    if result.status == "finished":
        return ""
    when = f"This is the state after {clock(result.spent_s)}."
    resume = result.resume_command
    return f"{when} To go on:\n\n{markdown_code(_one_option_a_line(resume))}" if resume else when


def _missed(result: Result) -> str:
    """What binds, and what would help; empty with a front."""
    found = result.explanation()
    if found is None:
        return ""
    parts = [markdown(found.summary), *map(markdown, found.notes)]
    for way in found.relax:
        parts += [markdown(f"{way}: {way.gives}"), markdown_code(_one_option_a_line(way.command))]
    return "\n\n".join(parts)


def _command(result: Result) -> str:
    return _one_option_a_line(result.declaration.command(result.folder.name))


def _one_option_a_line(command: str) -> str:
    """One option a line: the page is as wide as its longest line."""
    arguments = shlex.split(command)
    lines = [""]
    for word in arguments:
        if word.startswith("--"):
            lines.append("   ")
        lines[-1] += f" {shlex.quote(word)}"
    return " \\\n".join(lines).strip()


def _table(result: Result) -> str:
    statistic, other = result.constraints.statistic, beside_name(result.constraints)
    heads = [
        "", "trial", "knobs", f"{result.constraints.promised} ms", "95 %", f"{other} ms",
        "IoU on val", "95 %", "P", "params",
    ]  # fmt: skip
    rows = [
        [
            str(row.rank),
            _trial(result, row.evaluation),
            markdown(str(row.evaluation.candidate)),
            latency_text(latency := row.latency(statistic), statistic, 4),
            latency.interval_text(".4g"),
            beside_text(row.beside(statistic), statistic, 4),
            row["iou_val"].text(".4f"),
            row["iou_val"].interval_text(".4f"),
            row["p_feasible"].text(".2f"),
            row["params"].text(",.0f"),
        ]
        for row in table_rows(result.front, statistic)
    ]
    return markdown_table(heads, rows) if rows else ""


def _importance(result: Result) -> str:
    """The report's table of the knobs, and how it differs from the dashboard's panel."""
    parts = []
    for what, sign, found in importances(result.evaluations, result.constraints.statistic):
        if found:
            rows = [[*map(markdown, row)] for row in importance_rows(sign, found)]
            parts += [importance_head(what, found), markdown_table(HEADS, rows)]
    return "\n\n".join(["**Importance of the knobs**", *parts, MEASURES]) if parts else ""


def _trial(result: Result, evaluation: Evaluation) -> str:
    """The name of its trial: trials are numbered in the ledger's order."""
    return f"trial {result.evaluations.index(evaluation)}"
