"""Shared by the plots and tables of a run: axis limits, ticks, labels, learning curves."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from autoseg.core.records import Evaluation, Score, Statistic
from autoseg.run.rows import Quantity


def iou_limits(
    must: Sequence[float], ends: Sequence[float], every: Sequence[float]
) -> tuple[float, float]:
    """The limits of an IoU axis: they include `must` and the `ends` of intervals, and of `every`
    IoU only those near them, so that the worst do not compress the front."""
    top, bottom = max([*must, *ends, *every]), min([*must, *ends])
    room = max(0.02, top - bottom)
    low = max(0.0, min([*must, *ends, *every]) - 0.1 * room, bottom - 0.6 * room)
    return low - 0.04 * room, min(1.0 + 0.02 * room, top + 0.08 * room)


def ms_limits(seen_ms: Sequence[float]) -> tuple[float, float]:
    """The limits of a log axis: a margin of 25 % on both sides."""
    return min(seen_ms) / 1.25, max(seen_ms) * 1.25


def varied_knobs(evaluations: Sequence[Evaluation]) -> list[str]:
    """The knobs whose choice differs between candidates."""
    names = dict.fromkeys(name for e in evaluations for name, _ in e.candidate.choices)
    return [n for n in names if len({dict(e.candidate.choices).get(n) for e in evaluations}) > 1]


def latency_text(latency: Quantity, asked: Statistic, digits: int = 3) -> str:
    """``"12.3"`` ms; ``"12.3 (p50)"`` where the runs do not support the statistic `asked`."""
    lower = latency.value is not None and latency.statistic != asked
    return latency.text(f".{digits}g") + (f" ({latency.statistic})" if lower else "")


def latency_name(evaluations: Iterable[Evaluation], statistic: Statistic) -> str:
    """The label of an axis or column of latencies; it names the lower statistics that are shown
    where the runs were too few."""
    names = {e.measurement.supported(statistic) for e in evaluations if e.measurement}
    lower = ", ".join(sorted(names - {statistic}, reverse=True))
    few = f" (few runs: {lower})" if lower else ""
    return f"latency {statistic}{few}"


def learning_curve(evaluation: Evaluation) -> list[Score]:
    """The scores on val during training, one a rung, by epoch; the last one may be decayed."""
    scores = [s for s in evaluation.scores if s.split == "val" and s.source == "torch"]
    return sorted(scores, key=lambda score: score.epoch)


def ms_ticks(low: float, high: float, most: int = 10) -> list[float]:
    """Round numbers on a log axis, 4 to about `most`: 1-2-5 a decade, finer in narrow ranges."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for steps in (
        (1,),
        (1, 3),
        (1, 2, 5),
        (1, 1.5, 2, 3, 4, 5, 7),
        tuple(i / 10 for i in range(10, 100)),
    ):
        ticks = [step * 10.0**decade for decade in decades for step in steps]
        inside = [tick for tick in ticks if low <= tick <= high]
        if len(inside) >= 4:
            return inside[:: math.ceil(len(inside) / most)]
    return inside


def ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Round numbers on a linear axis, at most `most`."""
    if not high > low:
        return [low]
    raw = (high - low) / most
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(s * power for s in (1, 2, 2.5, 5, 10) if s * power >= raw)
    return [n * step for n in range(math.ceil(low / step), math.floor(high / step) + 1)]
