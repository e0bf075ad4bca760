"""The small charts of a run over time: budget, hypervolume, drift of the device."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from markupsafe import Markup

from autoseg.core.records import Evaluation
from autoseg.core.units import clock
from autoseg.report.page.charts import small
from autoseg.report.page.formatting import number
from autoseg.report.page.svg import XY, Area, axes, line, path, picture, tag
from autoseg.report.plot_data import ticks
from autoseg.report.spending import STACKED_STATES, Spending

Item = TypeVar("Item")
MAX_STEPS = 240  # of a curve: more make the page larger and look the same
DRIFTED = 1.1  # times the latency on the idle device: a larger ratio is marked


def hypervolume_curve(curve: Sequence[XY]) -> Markup | None:
    """The hypervolume that finishing at each second would have given."""
    if len(curve) < 2:
        return None
    end, high = curve[-1][0], max(value for _, value in curve)
    area = small((0.0, end), (0.0, 1.1 * high or 1.0))
    at = [area.at(*each) for each in [*_thinned(curve), curve[-1]]]
    return picture(
        area, "hypervolume over time",
        _timed_axes(area, end, ticks(0.0, area.y.high, 4), "hypervolume"),
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
        _timed_axes(area, end, ticks(0.0, area.y.high, 4), "candidates"),
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


def _timed_axes(area: Area, end: float, y_ticks: Sequence[float], y_name: str) -> Markup:
    seconds = _clock_ticks(end)
    labels = [clock(s) if end >= 10 else number(s) for s in seconds]
    return axes(area, seconds, y_ticks, x_name="time spent", y_name=y_name, x_labels=labels)


def _clock_ticks(end: float) -> list[float]:
    steps = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 43200, 86400)
    day = steps[-1]
    step = next((s for s in steps if end / s <= 6), day * max(1, round(end / 6 / day)))
    return [float(n * step) for n in range(int(end // step) + 1)]
