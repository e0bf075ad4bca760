"""The result as lines of text for a terminal or a log."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from autoseg.core.feasibility import MIN_P_FEASIBLE
from autoseg.core.records import Evaluation, Statistic
from autoseg.core.text import without_control
from autoseg.core.units import clock
from autoseg.report.axes import latency_said, turned
from autoseg.run.messages import points
from autoseg.run.result import Result
from autoseg.search.latency import measured_model

if TYPE_CHECKING:
    from autoseg.data.inspection import Inspection


def table_lines(head: Sequence[str], rows: Sequence[Sequence[str]], width: int = 160) -> list[str]:
    """A plain aligned table."""
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, header_style="bold")
    for name in head:
        table.add_column(without_control(name), overflow="fold")
    for row in rows:
        table.add_row(*map(without_control, row))
    plain = {"highlight": False, "markup": False, "emoji": False}
    console = Console(file=io.StringIO(), width=max(80, width), **plain)  # type: ignore[arg-type]
    console.print(table)
    return console.file.getvalue().rstrip("\n").split("\n")  # type: ignore[attr-defined,no-any-return]


def inspection_lines(seen: Inspection) -> list[str]:
    """What was understood of a data set: layout, pairs, classes with their share, sizes."""
    if not seen.splits:
        return [f"{seen.root}: format {seen.format} ({seen.why})"]
    pairs = ", ".join(f"{split} {count}" for split, count in seen.pairs.items())
    shares = zip(seen.classes, seen.class_share, strict=False)
    sizes = ", ".join(f"{hw[1]}x{hw[0]} ({count})" for hw, count in seen.sizes[:8])
    more = f", and {len(seen.sizes) - 8} more" if len(seen.sizes) > 8 else ""
    return [
        f"{seen.root}: format {seen.format} ({seen.why})",
        f"splits: {seen.split_source}",
        f"pairs: {pairs}",
        f"masks: {seen.mask_encoding}",
        "classes (share of pixels): "
        + ", ".join(f"{name} {100 * share:.2g} %" for name, share in shares)
        + (f", ignored {100 * seen.ignore_share:.2g} %" if seen.ignore_share else ""),
        f"sizes (pictures): {sizes}{more}",
    ]


def inspection_facts(seen: Inspection) -> dict[str, Any]:
    """The same, and the faults, as JSON data."""
    shares = zip(seen.classes, seen.class_share, strict=False)
    return {
        "root": str(seen.root),
        "format": seen.format,
        "why": seen.why,
        "split_source": seen.split_source,
        "pairs": dict(seen.pairs),
        "mask_encoding": seen.mask_encoding,
        "classes": [{"name": name, "share": share} for name, share in shares],
        "ignore_share": seen.ignore_share,
        "sizes": [{"hw": [*hw], "pictures": count} for hw, count in seen.sizes],
        "warnings": [*seen.warnings],
        "faults": [*seen.faults],
    }


def result_lines(result: Result) -> list[str]:
    """The front, the baseline, what was rejected, the picks or the misses, where files are."""
    statistic = result.constraints.statistic
    knobs = turned(result.evaluations)
    rejected = [e for e in result.evaluations if e.state == "rejected"]
    sure = f"; each with P >= {MIN_P_FEASIBLE} on val" if result.front else ""
    lines = [f"{result.headline} ({statistic}{sure})"]
    base = [result.baseline] if result.baseline else []
    listed = list({e.candidate.key: e for e in [*result.front, *base, *rejected]}.values())
    if listed:
        heads, rows = _heads(statistic), [_row(result, e, knobs) for e in listed]
        lines += table_lines(["", *knobs, *heads], rows)
    lines += [f"rejected {e.candidate.key}: {e.error}" for e in rejected]
    for evaluation in listed:
        lines += _said_of(evaluation)
    for how, chosen in result.picks().items():
        if chosen:
            lines.append(f"{how}: {chosen.candidate.key}, {result.reason(how)}")
    bundles = " bundles/" if result.front else ""
    page = "report.html " if (result.files / "report.html").exists() else ""
    files = f"{page}front.csv front.json pareto.png{bundles}"
    if look := result.outlook:
        most = points(look.gain_iou_at_most)
        lines.append(f"going on for another {clock(look.horizon_s)}: under {most} expected")
    if model := measured_model(result.evaluations):
        lines.append(f"latency predictor: {model.leave_one_out()}")
    return [*lines, *result.misses(), f"files: {result.files}/  ({files})"]


def _heads(statistic: Statistic) -> list[str]:
    """Of `_row`, behind the knobs."""
    latencies = [f"{name} ms" for name in _latencies(statistic)]
    return ["params", "MACs M", *latencies, "IoU val", "IoU test", "KiB", "x baseline", "key"]


def _latencies(statistic: Statistic) -> list[Statistic]:
    """The median, and the promised one beside it."""
    return list(dict.fromkeys(("p50", statistic)))


def _said_of(evaluation: Evaluation) -> list[str]:
    """What its boards found, and what was not as it should be."""
    key, measurement = evaluation.candidate.key, evaluation.measurement
    if measurement is None:
        return []
    lines = [f"warning {key}: {flag}" for flag in measurement.flags]
    if measurement.boards_ratio is not None:
        found = ", ".join(f"{board.device} {board.p50_ms:.3g}" for board in measurement.boards)
        apart = f"slowest over fastest {measurement.boards_ratio:.3f}"
        lines.insert(0, f"boards {key}: p50 {found} ms, {apart}")
    return lines


def _row(result: Result, evaluation: Evaluation, knobs: Sequence[str]) -> list[str]:
    """A model under the name of its rank, the baseline's, or that of being rejected."""
    key, measurement, cost = evaluation.candidate.key, evaluation.measurement, evaluation.cost
    test, chosen = evaluation.score("test"), dict(evaluation.candidate.choices)
    baseline = result.baseline.measurement if result.baseline else None
    faster = f"{baseline.p50_ms / measurement.p50_ms:.1f}" if measurement and baseline else ""
    return [
        _name(result, evaluation), *(str(chosen.get(knob, "")) for knob in knobs),
        f"{cost.params:,}" if cost else "", f"{cost.macs / 1e6:.1f}" if cost else "",
        *(latency_said(measurement, name) for name in _latencies(result.constraints.statistic)),
        "" if evaluation.iou is None else f"{evaluation.iou:.4f}",
        f"{test.iou:.4f}" if test else "",
        f"{evaluation.onnx_bytes / 1024:.0f}" if evaluation.onnx_bytes else "",
        faster, key,
    ]  # fmt: skip


def _name(result: Result, evaluation: Evaluation) -> str:
    ranks = {e.candidate.key: str(rank) for rank, e in enumerate(result.front, start=1)}
    base = result.baseline is not None and result.baseline.candidate == evaluation.candidate
    rank = ranks.get(evaluation.candidate.key, "")
    rejected = "rejected" if evaluation.state == "rejected" else ""
    return " ".join(filter(None, (rank, rejected, "baseline" if base else "")))
