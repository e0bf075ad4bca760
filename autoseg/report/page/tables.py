"""The tables of a page: candidates, and the cost, confusions and latencies of one model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from autoseg.core.diagnostics import Diagnostics
from autoseg.core.records import STATE_LABELS, Evaluation
from autoseg.report.page import formatting
from autoseg.report.plot_data import POINT_LABELS, PlotPoint
from autoseg.run.rows import LATENCIES, Quantity, TableRow

MAX_CLASSES = 20  # of a whole matrix; of more classes the largest confusions are listed
MAX_CONFUSIONS = 15
MIN_CONFUSION = 0.0005  # of the true pixels of a class
Fields = list[tuple[str, str]]


@dataclass(frozen=True)
class Cell:
    """The text of a cell, its sort key (a number or text) and a tooltip."""

    shown: str
    by: float | str
    more: str = ""
    link: str = ""


def _cell(shown: str, value: float | None, more: str = "") -> Cell:
    return Cell(
        shown, "" if value is None else float(value), "" if more == formatting.NONE else more
    )


def columns(knobs: Sequence[str], statistic: str) -> list[str]:
    """The column names of `row_cells`."""
    return [
        "#", f"latency {statistic} ms", "IoU val", "IoU test", *knobs, "× baseline", "params",
        "MACs", "file", "state", "model",
    ]  # fmt: skip


def row_cells(
    point: PlotPoint, knobs: Sequence[str], statistic: str, *, linked: bool = False
) -> list[Cell]:
    """One candidate, values with their intervals; `linked` if the page has a section about it."""
    row, label = point.row, STATE_LABELS[point.evaluation.state]
    link = f"#model-{point.key}" if linked else ""
    mark = " ".join([str(point.rank or ""), "★" if point.row.is_baseline else ""]).strip()
    around = formatting.interval(point.latency)
    if point.latency.statistic != statistic:
        around = f"{point.latency.statistic}: {around}"
    return [
        Cell(mark, float(point.rank) if point.rank else "", link=link if mark else ""),
        _cell(formatting.number(point.ms), point.ms, around),
        _cell(formatting.iou(point.iou), point.iou, formatting.interval(row["iou_val"])),
        _cell(formatting.iou(row["iou_test"].value), row["iou_test"].value),
        *(_knob(row.knob(knob)) for knob in knobs),
        _cell(formatting.number(speedup := row["speedup_vs_baseline"].value), speedup),
        _cell(formatting.count(params := row["params"].value), params),
        _cell(formatting.count(macs := row["macs"].value), macs),
        _cell(formatting.size(n_bytes := row["onnx_bytes"].value), n_bytes),
        Cell(label, label, point.evaluation.error or ""),
        Cell(point.key, point.key, link=link),
    ]


def _knob(value: int | float | str | None) -> Cell:
    shown = formatting.NONE if value is None else str(value)
    return Cell(shown, float(value) if isinstance(value, int | float) else shown)


def result_fields(point: PlotPoint) -> Fields:
    """State, latency, IoU, feasibility and knobs of a candidate."""
    row, evaluation, val = point.row, point.evaluation, point.evaluation.score("val")
    label, kind = STATE_LABELS[point.evaluation.state], POINT_LABELS[point.kind]
    fields = [("state", label if label == kind else f"{label}, {kind}")]
    if evaluation.error:
        fields.append(("reason", evaluation.error))
    latency = _with_interval(formatting.ms(point.ms), point.latency)
    fields.append((f"latency {point.latency.statistic}", latency))
    for split in ("val", "test"):
        quantity = row[f"iou_{split}"]
        if quantity.value is not None:
            text = _with_interval(formatting.iou(quantity.value), quantity)
            fields.append((f"IoU on {split}", text))
    if val:
        fields.append(("epochs", f"{val.epoch}{', decayed' if val.decayed else ''}"))
    if evaluation.p_feasible is not None:
        fields.append(("P(feasible)", f"{evaluation.p_feasible:.3f}"))
    return [*fields, ("knobs", str(evaluation.candidate))]


def _with_interval(text: str, quantity: Quantity) -> str:
    return text if quantity.ci95 is None else f"{text} (95 %: {formatting.interval(quantity)})"


def cost_fields(evaluation: Evaluation) -> Fields:
    """Parameters, MACs (in all and by kind of layer), file size, memory and loading time."""
    rows = []
    if cost := evaluation.cost:
        rows += [
            ("parameters", f"{cost.params:,}"),
            ("multiply-accumulates", formatting.count(cost.macs)),
            ("activations written (float32)", formatting.size(cost.activation_bytes)),
        ]
        kinds = ("depthwise convolutions", "1x1 convolutions", "other convolutions", "products")
        for name, kind in zip(kinds, cost.kinds, strict=False):
            if kind.macs and cost.macs:
                part = formatting.share(kind.macs / cost.macs)
                rows.append((name, f"{part} of MACs in {kind.layers} layers"))
    rows.append(("ONNX file", formatting.size(evaluation.onnx_bytes)))
    if measurement := evaluation.measurement:
        rows.append(("peak memory", formatting.size(measurement.peak_rss_bytes)))
        rows.append(("loading", formatting.ms(measurement.load_ms)))
    return rows


def latency_fields(row: TableRow) -> Fields:
    """The minimum, the mean and the percentiles of a model's runs."""
    measurement = row.evaluation.measurement
    if measurement is None:
        return []
    values = {name: row[f"latency_{name}_ms"].value for name in LATENCIES}
    found = {name: formatting.ms(value) for name, value in values.items() if value is not None}
    return [("min", formatting.ms(measurement.min_ms)), *found.items()]


@dataclass(frozen=True)
class Confusion:
    """Shares of the true pixels of each class: a whole matrix, or only the largest confusions
    (truth, predicted, share) where there are many classes."""

    names: tuple[str, ...]
    shares: tuple[tuple[float, ...], ...]
    mistakes: tuple[tuple[str, str, float], ...]


def confusion(diagnostics: Diagnostics | None, classes: Sequence[str]) -> Confusion | None:
    """The confusions of a model; None where they were not recorded."""
    if diagnostics is None or len(diagnostics.confusion) != len(classes):
        return None
    rows = [[count / (sum(row) or 1) for count in row] for row in diagnostics.confusion]
    wrong = [
        (classes[i], classes[j], rows[i][j])
        for i in range(len(classes))
        for j in range(len(classes))
        if i != j and rows[i][j] >= MIN_CONFUSION
    ]
    wrong.sort(key=lambda each: -each[2])
    whole = len(classes) <= MAX_CLASSES
    shares = tuple(tuple(row) for row in rows) if whole else ()
    return Confusion(tuple(classes), shares, tuple(wrong[:MAX_CONFUSIONS]))


def class_ious(evaluation: Evaluation, classes: Sequence[str]) -> list[tuple[str, float | None]]:
    """IoU of each class on val."""
    score = evaluation.score("val")
    if score is None or len(score.class_iou) != len(classes):
        return []
    return list(zip(classes, score.class_iou, strict=True))
