"""The small charts of a page: latency, learning, and budget, hypervolume and drift of a run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np
from markupsafe import Markup

from autoseg.core.records import Constraints, Evaluation, Measurement, Score
from autoseg.core.units import clock
from autoseg.report.page.formatting import number, point_text
from autoseg.report.page.svg import XY, Area, Scale, axes, line, path, picture, tag, text
from autoseg.report.plot_data import BEST, FrontPlot, PlotPoint, learning_curve, ticks
from autoseg.report.spending import STACKED_STATES, Spending

Item = TypeVar("Item")
WIDTH, HEIGHT = 400.0, 240.0
BINS = 36
MAX_STEPS = 240  # of a curve: more make the page larger and look the same
DRIFTED = 1.1  # times the latency on the idle device: a larger ratio is marked


def small(x: tuple[float, float], y: tuple[float, float], *, log: bool = False) -> Area:
    """The axes of a chart that fits one column."""
    return Area(WIDTH, HEIGHT, Scale(*x, 52.0, WIDTH - 14, log=log), Scale(*y, HEIGHT - 42, 24.0))


def latency_histogram(measurement: Measurement | None, constraints: Constraints) -> Markup | None:
    """The distribution of the runs from 41 quantiles; without the slowest 2.5 %."""
    if measurement is None or len(measurement.quantiles_ms) < 3:
        return None
    quantiles = measurement.quantiles_ms
    low, high = quantiles[0], quantiles[-2]
    if not high > low:
        return None
    room = 0.04 * (high - low)
    edges = np.linspace(low, high, BINS + 1)
    # The empirical distribution function, linear between two quantiles.
    below = np.interp(edges, quantiles, np.linspace(0.0, 1.0, len(quantiles)))
    shares = 100 * np.diff(below)
    area = small((low - room, high + room), (0.0, 1.12 * max(shares)))
    width = max(0.5, area.x(edges[1]) - area.x(low) - 0.6)
    tops = [(*area.at(edge, share), share) for edge, share in zip(edges, shares, strict=False)]
    bars = [
        tag("rect", x=x, y=y, width=width, height=area.bottom - y, class_="bar")
        for x, y, share in tops
        if share
    ]
    across, up = ticks(area.x.low, area.x.high), ticks(0.0, area.y.high, 4)
    return picture(
        area, "histogram of latency",
        axes(area, across, up, x_name="latency in ms", y_name="% of runs"),
        *bars, *_marks(area, measurement, constraints),
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
    curves = [(p, curve) for p in plot.points if (curve := learning_curve(p.evaluation))]
    if not curves:
        return None
    # The front is drawn last, on top.
    curves.sort(key=lambda each: each[0].kind in BEST)
    epochs = sorted({score.epoch for _, curve in curves for score in curve})
    ious = [score.iou for _, curve in curves for score in curve] + [plot.constraints.min_iou]
    low, high = min(ious), max(ious)
    room = max(0.02, 0.05 * (high - low))
    area = small(
        (epochs[0] / 1.15, epochs[-1] * 1.15),
        (max(0.0, low - room), min(1.0, high + room)),
        log=True,
    )
    shown, up = _apart(area, epochs), ticks(area.y.low, area.y.high, 5)
    floor = area.y(plot.constraints.min_iou)
    return picture(
        area, "learning curves",
        axes(area, shown, up, x_name="epochs", y_name="IoU on val"),
        line((area.left, floor), (area.right, floor), "limit one"),
        *(_curve(area, point, curve) for point, curve in curves),
    )  # fmt: skip


def _curve(area: Area, point: PlotPoint, curve: Sequence[Score]) -> Markup:
    at = [area.at(score.epoch, score.iou) for score in curve]
    kind = point.kind if point.kind in (*BEST, "rejected") else "other"
    dots = [tag("circle", cx=x, cy=y, r=2, class_="dot") for x, y in at]
    return tag("g", tag("title", point_text(point)), path(at, "curve"), *dots,
               class_=f"learned {kind}")  # fmt: skip


def _apart(area: Area, values: Sequence[int]) -> list[int]:
    """The values whose labels do not overlap, the largest one included."""
    kept: list[int] = []
    for value in reversed(values):
        if not kept or area.x(kept[-1]) - area.x(value) > 26:
            kept.append(value)
    return kept[::-1]


def hypervolume_curve(curve: Sequence[XY]) -> Markup | None:
    """The hypervolume that finishing at each second would have given."""
    if len(curve) < 2:
        return None
    high = max(value for _, value in curve)
    area = small((0.0, curve[-1][0]), (0.0, 1.1 * high or 1.0))
    at = [area.at(*each) for each in [*_thinned(curve), curve[-1]]]
    return picture(
        area, "hypervolume over time",
        _timed_axes(area, "hypervolume"),
        path(at, "gain", steps=True),
    )  # fmt: skip


def budget_picture(spent: Spending) -> Markup | None:
    """The number of candidates in each state over time, stacked."""
    if len(spent.counts) < 2:
        return None
    end = max([second for second, _ in spent.counts] + [until for _, until in spent.phases])
    most = max(sum(each) for _, each in spent.counts)
    area = small((0.0, end), (0.0, 1.05 * most))
    counts = [*_thinned(spent.counts), (end, spent.counts[-1][1])]
    layers = [_layer(area, counts, place, state) for place, state in enumerate(STACKED_STATES)]
    ends = [area.x(until) for _, until in spent.phases[:-1]]
    return picture(
        area, "candidates by state over time",
        _timed_axes(area, "candidates"),
        *layers, *(line((x, area.top), (x, area.bottom), "phase") for x in ends),
    )  # fmt: skip


def _layer(
    area: Area, counts: Sequence[tuple[float, tuple[int, ...]]], place: int, state: str
) -> Markup:
    if not any(each[place] for _, each in counts):
        return Markup("")
    foot = _stairs([area.at(s, sum(each[:place])) for s, each in counts])
    head = _stairs([area.at(s, sum(each[: place + 1])) for s, each in counts])
    return path([*head, *reversed(foot)], f"fate {state}", closed=True)


def _stairs(points: Sequence[XY]) -> list[XY]:
    """Level until the next event."""
    found = [points[0]]
    for (_, before), (x, y) in zip(points, points[1:], strict=False):
        found += [(x, before), (x, y)]
    return found


def _thinned(items: Sequence[Item]) -> Sequence[Item]:
    return items[:: max(1, len(items) // MAX_STEPS)]


def drift_picture(evaluations: Sequence[Evaluation]) -> Markup | None:
    """The latency of the reference model at each measurement, relative to the idle device."""
    taken = sorted(
        (m for e in evaluations for m in e.measurements if m.reference_ratio is not None),
        key=lambda m: m.taken_at,
    )
    if len(taken) < 2:
        return None
    ratios = [m.reference_ratio or 1.0 for m in taken]
    area = small((0.0, len(ratios) + 1.0), (min(0.95, *ratios) - 0.02, max(1.15, *ratios) + 0.02))
    dots = []
    for place, (m, ratio) in enumerate(zip(taken, ratios, strict=True), start=1):
        x, y = area.at(place, ratio)
        title = tag("title", f"{ratio:.3f}, {m.phase}, {m.taken_at}")
        drifted = " drifted" if ratio > DRIFTED else ""
        dots.append(tag("circle", title, cx=x, cy=y, r=2.5, class_=f"drift {m.phase}{drifted}"))
    calm = area.y(1.0)
    return picture(
        area, "slowdown of the reference model at each measurement",
        axes(
            area, ticks(0.0, len(ratios) + 1.0, 5), ticks(area.y.low, area.y.high, 4),
            x_name="measurements in order", y_name="reference, 1 = idle",
        ),
        line((area.left, calm), (area.right, calm), "calm"), *dots,
    )  # fmt: skip


def _timed_axes(area: Area, y_name: str) -> Markup:
    end = area.x.high
    seconds, up = _clock_ticks(end), ticks(0.0, area.y.high, 4)
    labels = [clock(s) if end >= 10 else number(s) for s in seconds]
    return axes(area, seconds, up, x_name="time spent", y_name=y_name, x_labels=labels)


def _clock_ticks(end: float) -> list[float]:
    steps = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 43200, 86400)
    day = steps[-1]
    step = next((s for s in steps if end / s <= 6), day * max(1, round(end / 6 / day)))
    return [float(n * step) for n in range(int(end // step) + 1)]
