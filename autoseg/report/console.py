"""The result as lines of text for a terminal or a log."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from autoseg.core.feasibility import MIN_P_FEASIBLE
from autoseg.core.records import Evaluation, Statistic, statistic_name
from autoseg.core.text import without_control
from autoseg.core.units import clock
from autoseg.report.baseline import baseline_name, baseline_sentence
from autoseg.report.plot_data import beside_text, latency_text, varied_knobs
from autoseg.run.messages import points
from autoseg.run.result import Result
from autoseg.run.rows import TableRow, beside_name, table_rows
from autoseg.search.frame_share import untimed_lines
from autoseg.search.latency import measured_model

if TYPE_CHECKING:
    from autoseg.data.inspection import Inspection


FILES = ("report.html", "front.csv", "front.json", "pareto.png")
MAX_CLASSES, MAX_SIZES = 30, 100  # shown of a data set


def table_lines(head: Sequence[str], rows: Sequence[Sequence[str]], width: int = 160) -> list[str]:
    """A plain aligned table."""
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, header_style="bold")
    for name in head:
        table.add_column(without_control(name), overflow="fold")
    for row in rows:
        table.add_row(*map(without_control, row))
    text, wide = io.StringIO(), max(80, width)
    Console(file=text, width=wide, highlight=False, markup=False, emoji=False).print(table)
    return text.getvalue().rstrip("\n").split("\n")


def inspection_lines(seen: Inspection) -> list[str]:
    """How a data set was read: layout, pairs, classes with their share of pixels, sizes."""
    if not seen.splits:
        return [f"{seen.root}: format {seen.format} ({seen.why})"]
    pairs = ", ".join(f"{split} {count}" for split, count in seen.pairs.items())
    shares = [*zip(seen.classes, seen.class_share, strict=False)]
    others = len(shares) - MAX_CLASSES
    sizes = ", ".join(f"{hw[1]}x{hw[0]} ({count})" for hw, count in seen.sizes[:8])
    more = f", and {len(seen.sizes) - 8} more" if len(seen.sizes) > 8 else ""
    of_masks = [
        f"masks: {seen.mask_encoding}",
        "classes (share of pixels): "
        + ", ".join(f"{name} {100 * share:.2g} %" for name, share in shares[:MAX_CLASSES])
        + (f" and {others} more" if others > 0 else "")
        + (f", ignored {100 * seen.ignore_share:.2g} %" if seen.ignore_share else ""),
        f"IoU: of {seen.iou_of}",
    ]
    return [
        f"{seen.root}: format {seen.format} ({seen.why})",
        f"splits: {seen.split_source}",
        f"pairs: {pairs}",
        *(of_masks if seen.classes else []),  # none if no mask could be read
        f"sizes (images): {sizes}{more}",
    ]


def inspection_facts(seen: Inspection) -> dict[str, Any]:
    """The same with the faults, as JSON data."""
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
        "iou_of": seen.iou_of,
        "sizes": [{"hw": [*hw], "pictures": count} for hw, count in seen.sizes[:MAX_SIZES]],
        "size_count": len(seen.sizes),
        "grey_range": [*seen.grey_range],
        "warnings": [*seen.warnings],
        "faults": [*seen.faults],
        "fault_count": seen.fault_count,
    }


def result_lines(result: Result) -> list[str]:
    """The front, the baseline, rejected models, picks or explanation, and the files."""
    rejected = [e for e in result.evaluations if e.state == "rejected"]
    sure = f"; each with P >= {MIN_P_FEASIBLE} on val" if result.front else ""
    lines = [f"{result.headline} ({result.constraints.promised}{sure})"]
    base = [result.baseline] if result.baseline else []
    listed = list({e.candidate.key: e for e in [*result.front, *base, *rejected]}.values())
    if listed:
        lines += _table(result, listed)
    confirmed = [m for e in listed if (m := e.measurement) and m.phase == "confirm"]
    if confirmed and not any(m.frame for m in confirmed):
        lines += untimed_lines(result.constraints)
    if against := baseline_sentence(result):
        lines.append(against)
    lines += [f"rejected {e.candidate.key}: {e.error}" for e in rejected]
    for evaluation in listed:
        lines += _measurement_lines(evaluation)
    for how, chosen in result.picks().items():
        if chosen:
            lines.append(f"{how}: {chosen.candidate.key}, {result.reason(how)}")
    # Without a front it would be of constraints that are out of reach: the misses say what helps.
    if (outlook := result.outlook) and result.front:
        most = points(outlook.gain_iou_at_most)
        lines.append(f"going on for another {clock(outlook.horizon_s)}: under {most} expected")
    if model := measured_model(result.evaluations):
        lines.append(f"latency predictor: {model.leave_one_out()}")
    written = [name for name in FILES if (result.files / name).exists()]
    written += ["bundles/"] if any((result.files / "bundles").glob("*")) else []
    there = " ".join(written)
    files = f"files: {result.files}/" + (f"  ({there})" if there else "")
    return [*lines, *result.misses(), files]


def _table(result: Result, listed: Sequence[Evaluation]) -> list[str]:
    statistic, knobs = result.constraints.statistic, varied_knobs(result.evaluations)
    rows = {r.key: r for r in table_rows(result.evaluations, statistic, result.baseline)}
    latencies: list[Statistic] = list(dict.fromkeys(("p50", statistic)))
    named = [statistic_name(name, result.constraints.latency) for name in latencies]
    heads = [
        "", *knobs, "params", "MACs M",
        *(f"{name} ms" for name in (*named, beside_name(result.constraints))), "IoU val",
        "IoU test", "KiB", f"x {baseline_name(result.baseline)}", "key",
    ]  # fmt: skip
    return table_lines(heads, [_cells(rows[e.candidate.key], knobs, latencies) for e in listed])


def _cells(row: TableRow, knobs: Sequence[str], latencies: Sequence[Statistic]) -> list[str]:
    choices = [row.knob(knob) for knob in knobs]
    # The rank on the front, and whether it is rejected or the baseline.
    rank = str(row.rank) if row.on_front else ""
    rejected = "rejected" if row.evaluation.state == "rejected" else ""
    return [
        " ".join(filter(None, (rank, rejected, "baseline" if row.is_baseline else ""))),
        *("" if choice is None else str(choice) for choice in choices),
        row["params"].text(",.0f"),
        row["macs"].text(".1f", 1e-6),
        *(latency_text(row.latency(name), name) for name in latencies),
        beside_text(row.beside(latencies[-1]), latencies[-1]),
        row["iou_val"].text(".4f"),
        row["iou_test"].text(".4f"),
        row["onnx_bytes"].text(".0f", 1 / 1024),
        row["speedup_vs_baseline"].text(".1f"),
        row.key,
    ]


def _measurement_lines(evaluation: Evaluation) -> list[str]:
    """The latency on each board of a group, and the warnings of the measurement."""
    key, measurement = evaluation.candidate.key, evaluation.measurement
    if measurement is None:
        return []
    lines = [f"warning {key}: {flag}" for flag in measurement.flags]
    if measurement.boards_ratio is not None:
        each = ", ".join(f"{board.device} {board.p50_ms:.3g}" for board in measurement.boards)
        ratio = f"slowest over fastest {measurement.boards_ratio:.3f}"
        lines.insert(0, f"boards {key}: p50 {each} ms, {ratio}")
    return lines
