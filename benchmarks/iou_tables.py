"""From curves of IoU over seconds to the seconds that reach an IoU, and to their summary."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from common import table

TARGETS = (0.90, 0.95)


@dataclass(frozen=True)
class Point:
    """One rung's branch: `epochs` and `seconds` of trunk and decay together."""

    epochs: int
    seconds: float
    iou: float


def reached(points: Sequence[Point]) -> dict[str, Any]:
    """A row's figures; empty where an IoU was not reached."""
    row: dict[str, Any] = {}
    for target in TARGETS:
        found = crossing(points, target)
        row[f"seconds_to_{target:.2f}"] = "" if found is None else f"{found[0]:.2f}"
        row[f"epochs_to_{target:.2f}"] = "" if found is None else f"{found[1]:.1f}"
    last = points[-1]
    row |= {"iou": f"{last.iou:.4f}", "epochs": last.epochs, "seconds": f"{last.seconds:.2f}"}
    return row | {"curve": " ".join(f"{p.epochs}:{p.seconds:.2f}:{p.iou:.4f}" for p in points)}


def crossing(points: Sequence[Point], target: float) -> tuple[float, float] | None:
    """Seconds and epochs at which the curve first reaches `target`, None where it does not."""
    place = next((i for i, point in enumerate(points) if point.iou >= target), None)
    if place is None:
        return None
    above = points[place]
    if place == 0:
        return above.seconds, above.epochs
    below = points[place - 1]
    share = (target - below.iou) / (above.iou - below.iou)
    return (
        below.seconds * (above.seconds / below.seconds) ** share,
        below.epochs * (above.epochs / below.epochs) ** share,
    )


def summary(rows: Sequence[dict[str, str]]) -> list[str]:
    """Median and range over the seeds of each network and label, and the ratio of the medians."""
    labels = list(dict.fromkeys(row["label"] for row in rows))
    nets = list(dict.fromkeys(row["net"] for row in rows))
    lines = []
    for net in nets:
        for target in TARGETS:
            name = f"seconds_to_{target:.2f}"
            seconds = {label: column(rows, net, label, name) for label in labels}
            line = {"net": net, "IoU": f"{target:.2f}"}
            line |= {f"{label}, s": spread(values) for label, values in seconds.items()}
            if len(labels) == 2:
                line["times"] = ratio(*(seconds[label] for label in labels))
            lines.append(line)
    return table(lines) + ["", *table([last_of(rows, net, labels) for net in nets])]


def last_of(rows: Sequence[dict[str, str]], net: str, labels: Sequence[str]) -> dict[str, str]:
    """The IoU at which each label ended: no later than where it met the last target."""
    ends = {label: column(rows, net, label, "iou") for label in labels}
    shown = {label: f"{statistics.median(v):.4f}" if v else "" for label, v in ends.items()}
    return {"net": net, **{f"{label}, last IoU": value for label, value in shown.items()}}


def column(rows: Sequence[dict[str, str]], net: str, label: str, name: str) -> list[float]:
    """A figure of every seed; infinite where it was not reached."""
    mine = [row for row in rows if (row["net"], row["label"]) == (net, label)]
    return [float(row[name] or math.inf) for row in mine]


def spread(values: Sequence[float]) -> str:
    if not values:
        return ""
    middle, count = statistics.median_low(values), sum(map(math.isfinite, values))
    if not math.isfinite(middle):
        return f"reached by {count} of {len(values)}"
    top = f"{max(values):.1f}" if count == len(values) else "never"
    return f"{middle:.1f} ({min(values):.1f} to {top}; {count} of {len(values)})"


def ratio(before: Sequence[float], after: Sequence[float]) -> str:
    if not before or not after:
        return ""
    middles = [statistics.median_low(values) for values in (before, after)]
    return f"{middles[0] / middles[1]:.2f}" if all(map(math.isfinite, middles)) else ""
