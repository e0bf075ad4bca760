"""The small charts of a page: latency histograms and learning curves."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence

from markupsafe import Markup

from autoseg.core.records import Constraints, Measurement
from autoseg.report.page.formatting import point_text
from autoseg.report.page.svg import (
    XY,
    Area,
    Scale,
    axes,
    line,
    path,
    picture,
    tag,
    text,
)
from autoseg.report.plot_data import BEST, FrontPlot, PlotPoint, learning_curve, ticks

WIDTH, HEIGHT = 400.0, 240.0
BINS = 36


def small(x: tuple[float, float], y: tuple[float, float], *, log: bool = False) -> Area:
    """The axes of a chart that fits one column."""
    return Area(WIDTH, HEIGHT, Scale(*x, 52.0, WIDTH - 14, log=log), Scale(*y, HEIGHT - 42, 24.0))


def latency_histogram(measurement: Measurement, constraints: Constraints) -> Markup | None:
    """The distribution of the runs from 41 quantiles; without the slowest 2.5 %."""
    quantiles = measurement.quantiles_ms
    if len(quantiles) < 3:
        return None
    low, high = quantiles[0], quantiles[-2]
    if not high > low:
        return None
    room = 0.04 * (high - low)
    edges = [low + (high - low) * n / BINS for n in range(BINS + 1)]
    below = [_share_below(quantiles, edge) for edge in edges]
    parts = [b - a for a, b in zip(below, below[1:], strict=False)]
    area = small((low - room, high + room), (0.0, 112 * max(parts)))
    across = ticks(area.x.low, area.x.high)
    bars = [
        _bar(area, edges[n], edges[n + 1], 100 * share) for n, share in enumerate(parts) if share
    ]
    return picture(
        area, "histogram of latency",
        axes(area, across, ticks(0.0, area.y.high, 4), x_name="latency in ms", y_name="% of runs"),
        *bars, *_marks(area, measurement, constraints),
    )  # fmt: skip


def _share_below(quantiles: Sequence[float], value: float) -> float:
    """The empirical distribution function, linear between two quantiles."""
    place = bisect_right(quantiles, value)
    if place == 0 or place == len(quantiles):
        return float(place > 0)
    low, high = quantiles[place - 1], quantiles[place]
    within = (value - low) / (high - low) if high > low else 0.0
    return (place - 1 + within) / (len(quantiles) - 1)


def _bar(area: Area, one: float, other: float, height: float) -> Markup:
    x, y = area.at(one, height)
    return tag(
        "rect", x=x, y=y, width=max(0.5, area.x(other) - x - 0.6), height=area.bottom - y,
        class_="bar",
    )  # fmt: skip


def _marks(area: Area, measurement: Measurement, constraints: Constraints) -> list[Markup]:
    named = {"p50": measurement.p50_ms, "p90": measurement.p90_ms}
    named["ceiling"] = constraints.max_latency_ms
    parts = []
    for name, value in named.items():
        if value is not None and area.x.low < value < area.x.high:
            x = area.x(value)
            parts.append(line((x, area.top), (x, area.bottom), f"mark {name}"))
            parts.append(text(x + 3, area.top + 9, name, "start", f"markname {name}"))
    return parts


def learning_curves(plot: FrontPlot) -> Markup | None:
    """IoU on val at each rung of every scored candidate; those of the front in colour."""
    curves = [(point, _xy(point)) for point in plot.points]
    curves = [(point, curve) for point, curve in curves if curve]
    if not curves:
        return None
    # The front is drawn last, on top.
    curves.sort(key=lambda each: each[0].kind in BEST)
    epochs = sorted({epoch for _, curve in curves for epoch, _ in curve})
    ious = [iou for _, curve in curves for _, iou in curve] + [plot.constraints.min_iou]
    low, high = min(ious), max(ious)
    room = max(0.02, 0.05 * (high - low))
    area = small(
        (epochs[0] / 1.15, epochs[-1] * 1.15),
        (max(0.0, low - room), min(1.0, high + room)),
        log=True,
    )
    shown = _apart(area, epochs)
    floor = area.y(plot.constraints.min_iou)
    return picture(
        area, "learning curves",
        axes(area, shown, ticks(area.y.low, area.y.high, 5), x_name="epochs", y_name="IoU on val"),
        line((area.left, floor), (area.right, floor), "limit one"),
        *(_curve(area, point, curve) for point, curve in curves),
    )  # fmt: skip


def _xy(point: PlotPoint) -> list[XY]:
    return [(float(score.epoch), score.iou) for score in learning_curve(point.evaluation)]


def _curve(area: Area, point: PlotPoint, curve: Sequence[XY]) -> Markup:
    at = [area.at(*each) for each in curve]
    kind = point.kind if point.kind in (*BEST, "rejected") else "other"
    dots = [tag("circle", cx=x, cy=y, r=2, class_="dot") for x, y in at]
    return tag("g", tag("title", point_text(point)), path(at, "curve"), *dots,
               class_=f"learned {kind}")  # fmt: skip


def _apart(area: Area, values: Sequence[float]) -> list[float]:
    """The values whose labels do not overlap, the largest one included."""
    kept: list[float] = []
    for value in reversed(values):
        if not kept or area.x(kept[-1]) - area.x(value) > 26:
            kept.append(value)
    return kept[::-1]
