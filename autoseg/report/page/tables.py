"""The tables of a page: candidates, and what one model costs, confuses and spends its time on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from autoseg.core.diagnostics import Diagnostics
from autoseg.core.records import Constraints, Evaluation, Measurement
from autoseg.report.axes import iou_interval, latency_interval
from autoseg.report.page import words
from autoseg.report.page.points import KINDS, Spot

MAX_CLASSES = 20  # a larger matrix is read as its largest mistakes
MAX_MISTAKES = 15


@dataclass(frozen=True)
class Cell:
    """What is shown, and the figure to sort by, or the text itself."""

    shown: str
    by: float | str
    more: str = ""
    link: str = ""


def _cell(shown: str, by: float | None, more: str = "") -> Cell:
    return Cell(shown, "" if by is None else float(by), "" if more == words.NONE else more)


def columns(knobs: Sequence[str], statistic: str) -> list[str]:
    """The heads of `row`."""
    return [
        "#", f"latency {statistic} ms", "IoU val", "IoU test", *knobs, "× baseline", "params",
        "MACs", "file", "state", "model",
    ]  # fmt: skip


def row(
    spot: Spot,
    knobs: Sequence[str],
    constraints: Constraints,
    baseline: Evaluation | None,
    *,
    linked: bool = False,
) -> list[Cell]:
    """One candidate, figures with their intervals; `linked` where it has a section of its own."""
    evaluation, cost = spot.evaluation, spot.evaluation.cost
    test, choices = evaluation.score("test"), dict(evaluation.candidate.choices)
    link = f"#model-{spot.key}" if linked else ""
    mark = " ".join([str(spot.rank or ""), "★" if spot.baseline else ""]).strip()
    around = words.ms_span(latency_interval(evaluation, constraints.statistic))
    if spot.statistic != constraints.statistic:
        around = f"{spot.statistic}: {around}"
    faster = speedup(evaluation, baseline)
    return [
        Cell(mark, float(spot.rank) if spot.rank else "", link=link if mark else ""),
        _cell(words.number(spot.ms), spot.ms, around),
        _cell(words.iou(spot.iou), spot.iou, words.span(iou_interval(evaluation))),
        _cell(words.iou(test.iou if test else None), test.iou if test else None),
        *(_knob(choices.get(knob)) for knob in knobs),
        _cell(words.number(faster), faster),
        _cell(words.counted(cost.params if cost else None), cost.params if cost else None),
        _cell(words.counted(cost.macs if cost else None), cost.macs if cost else None),
        _cell(words.size(evaluation.onnx_bytes), evaluation.onnx_bytes),
        Cell(state(evaluation), state(evaluation), evaluation.error or ""),
        Cell(spot.key, spot.key, link=link),
    ]


def state(evaluation: Evaluation) -> str:
    return evaluation.state.replace("_", " ")


def _knob(value: int | float | str | None) -> Cell:
    shown = words.NONE if value is None else str(value)
    return Cell(shown, float(value) if isinstance(value, int | float) else shown)


def speedup(evaluation: Evaluation, baseline: Evaluation | None) -> float | None:
    """The baseline's median over this one's."""
    if not (evaluation.measurement and baseline and baseline.measurement):
        return None
    return baseline.measurement.p50_ms / evaluation.measurement.p50_ms


def figures(spot: Spot, constraints: Constraints) -> list[tuple[str, str]]:
    """What is promised of a candidate, and what it was found by."""
    evaluation, measurement = spot.evaluation, spot.evaluation.measurement
    val, test = evaluation.score("val"), evaluation.score("test")
    rows = [("state", f"{state(evaluation)}, {KINDS[spot.kind]}")]
    if evaluation.error:
        rows.append(("why", evaluation.error))
    if measurement:
        around = words.ms_span(latency_interval(evaluation, constraints.statistic))
        rows.append((f"latency {spot.statistic}", _with(words.ms(spot.ms), around)))
    if val:
        rows.append(("IoU on val", _with(words.iou(val.iou), words.span(val.iou_ci95))))
        rows.append(("epochs", f"{val.epoch}{', decayed' if val.decayed else ''}"))
    if test:
        rows.append(("IoU on test", _with(words.iou(test.iou), words.span(test.iou_ci95))))
    if evaluation.p_feasible is not None:
        rows.append(("P(both hold)", f"{evaluation.p_feasible:.3f}"))
    rows.append(("knobs", str(evaluation.candidate)))
    return rows


def _with(figure: str, around: str) -> str:
    return figure if around == words.NONE else f"{figure} (95 %: {around})"


def costs(evaluation: Evaluation) -> list[tuple[str, str]]:
    """What a model costs: parameters, work, bytes, memory, and work by kind of layer."""
    rows = []
    if cost := evaluation.cost:
        rows += [
            ("parameters", f"{cost.params:,}"),
            ("multiply-accumulates", words.counted(cost.macs)),
            ("activations written (float32)", words.size(cost.activation_bytes)),
        ]
        kinds = ("depthwise convolutions", "1x1 convolutions", "other convolutions", "products")
        for name, kind in zip(kinds, cost.kinds, strict=False):
            if kind.macs and cost.macs:
                part = words.share(kind.macs / cost.macs)
                rows.append((name, f"{part} of MACs in {kind.layers} layers"))
    rows.append(("ONNX file", words.size(evaluation.onnx_bytes)))
    if measurement := evaluation.measurement:
        rows.append(("peak memory", words.size(measurement.peak_rss_bytes)))
        rows.append(("loading", words.ms(measurement.load_ms)))
    return rows


def timing(measurement: Measurement) -> list[tuple[str, str]]:
    """The percentiles of a model's runs."""
    named: dict[str, float | None] = {"min": measurement.min_ms, "mean": measurement.mean_ms}
    named |= {"p50": measurement.p50_ms, "p90": measurement.p90_ms}
    named |= {"p95": measurement.p95_ms, "p99": measurement.p99_ms}
    return [(name, words.ms(value)) for name, value in named.items() if value is not None]


@dataclass(frozen=True)
class Confusion:
    """Shares of the truth's pixels: a whole matrix, or its largest mistakes where it is large."""

    names: tuple[str, ...]
    shares: tuple[tuple[float, ...], ...]
    mistakes: tuple[tuple[str, str, float], ...]


def confusion(exhibit: Diagnostics | None, classes: Sequence[str]) -> Confusion | None:
    """What the pixels of each class were taken for; None where that was not recorded."""
    if exhibit is None or len(exhibit.confusion) != len(classes):
        return None
    rows = [[count / (sum(row) or 1) for count in row] for row in exhibit.confusion]
    wrong = [
        (classes[i], classes[j], rows[i][j])
        for i in range(len(classes))
        for j in range(len(classes))
        if i != j and rows[i][j] >= 0.0005
    ]
    wrong.sort(key=lambda each: -each[2])
    whole = len(classes) <= MAX_CLASSES
    shares = tuple(tuple(row) for row in rows) if whole else ()
    return Confusion(tuple(classes), shares, tuple(wrong[:MAX_MISTAKES]))


def class_ious(evaluation: Evaluation, classes: Sequence[str]) -> list[tuple[str, float | None]]:
    """IoU of each class on val."""
    score = evaluation.score("val")
    if score is None or len(score.class_iou) != len(classes):
        return []
    return list(zip(classes, score.class_iou, strict=True))
