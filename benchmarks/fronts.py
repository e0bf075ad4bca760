"""Two fronts beside each other: areas, gaps and latencies at the same IoU; pure figures.

A point is (latency in ms, IoU). A front is read as steps: at a latency one has the best IoU of all
models that are as fast or faster.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from autoseg.core.pareto import Point, front, hypervolume
from autoseg.core.records import Constraints


def front_points(points: Sequence[Point]) -> list[Point]:
    """The points that no other beats, fastest first."""
    return [points[index] for index in front(points)]


def best_within(points: Sequence[Point], latency_ms: float) -> float | None:
    """The highest IoU among the points that are no slower."""
    return max((iou for ms, iou in points if ms <= latency_ms), default=None)


def fastest_at(points: Sequence[Point], iou: float) -> float | None:
    """The lowest latency among the points that are at least as accurate."""
    return min((ms for ms, reached in points if reached >= iou), default=None)


def area(points: Sequence[Point], ceiling_ms: float, floor: float) -> float:
    """Hypervolume over ln(latency) x IoU, from the reference point (ceiling, floor)."""
    return hypervolume(points, Constraints(ceiling_ms, floor))


def deficits(
    ours: Sequence[Point], theirs: Sequence[Point], below_ms: float, floor: float
) -> list[tuple[float, float]]:
    """At each latency where their front rises: (ms, their IoU less ours), below `below_ms`.

    Where there is nothing of ours, the floor stands for it. Between two rises of theirs ours can
    only get better, so the largest of these is the largest anywhere.
    """
    rises = [(ms, iou) for ms, iou in front_points(theirs) if ms < below_ms and iou > floor]
    return [(ms, iou - max(floor, best_within(ours, ms) or floor)) for ms, iou in rises]


def ratio(one: float | None, other: float | None) -> str:
    """one / other as text; empty where one of them is not known."""
    known = one is not None and other is not None and other > 0
    return f"{one / other:.3f}" if known and one is not None and other is not None else ""


def shown_ms(latency_ms: float | None) -> str:
    return "none" if latency_ms is None else f"{latency_ms:.3g}"


def steps_of(times_s: Sequence[float], values: Sequence[float], at_s: float) -> float:
    """The last value at or before a moment; 0 before the first."""
    known = [value for time_s, value in zip(times_s, values, strict=True) if time_s <= at_s]
    return known[-1] if known else 0.0


def round_ticks(low: float, high: float) -> list[float]:
    """1, 2 and 5 of each decade, as ticks of a logarithmic axis."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    ticks = [step * 10.0**decade for decade in decades for step in (1, 2, 5)]
    return [tick for tick in ticks if low <= tick <= high]
