"""Percentiles of run times with 95 % intervals.

The intervals are order statistics (Conover, Practical Nonparametric Statistics, 3.2), widened by
the design effect of batches (Woodruff 1952), as neighbouring runs are not independent.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from autoseg.core.records import Statistic

Interval = tuple[float, float]

QUANTILES = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99}
# With fewer runs, the upper rank of the interval would be the slowest run.
NEEDED_RUNS: dict[Statistic, int] = {"p50": 1, "p90": 36, "p95": 75, "p99": 1000}


@dataclass(frozen=True, kw_only=True)
class LatencyFigures:
    """Statistics of the runs of one model in ms; None for a percentile without enough runs."""

    runs: int
    min_ms: float
    mean_ms: float
    std_ms: float
    p50_ms: float
    p50_ci_ms: Interval
    p90_ms: float | None
    p90_ci_ms: Interval | None
    p95_ms: float | None
    p99_ms: float | None


def figures(times_ms: Sequence[float]) -> LatencyFigures:
    """Statistics of at least one run."""
    p50, p50_ci = estimate(times_ms, "p50")
    p90, p90_ci = _supported(times_ms, "p90")
    return LatencyFigures(
        runs=len(times_ms),
        min_ms=min(times_ms),
        mean_ms=float(np.mean(times_ms)),
        std_ms=float(np.std(times_ms)),
        p50_ms=p50,
        p50_ci_ms=p50_ci,
        p90_ms=p90,
        p90_ci_ms=p90_ci,
        p95_ms=_supported(times_ms, "p95")[0],
        p99_ms=_supported(times_ms, "p99")[0],
    )


def quantiles(times_ms: Sequence[float]) -> tuple[float, ...]:
    """41 evenly spaced quantiles of the runs, ms: 0, 2.5 … 100 %."""
    spread = np.quantile(np.asarray(times_ms, dtype=float), np.linspace(0, 1, 41))
    return tuple(round(float(ms), 5) for ms in spread)


def supported_statistic(runs: int, statistic: Statistic) -> Statistic:
    """The statistic itself, or the highest percentile below it that so many runs support."""
    if statistic == "mean":
        return statistic
    order = list(NEEDED_RUNS)
    return [n for n in order[: order.index(statistic) + 1] if runs >= NEEDED_RUNS[n]][-1]


def _supported(
    times_ms: Sequence[float], statistic: Statistic
) -> tuple[float, Interval] | tuple[None, None]:
    return (
        estimate(times_ms, statistic) if len(times_ms) >= NEEDED_RUNS[statistic] else (None, None)
    )


def estimate(times_ms: Sequence[float], statistic: Statistic) -> tuple[float, Interval]:
    """A statistic of the runs with its 95 % interval, ms."""
    times = np.asarray(times_ms, dtype=float)
    runs = len(times)
    if statistic == "mean":
        mean, spread = float(times.mean()), float(times.std())
        half = 1.96 * spread * math.sqrt(design_effect(times - mean) / runs)
        return mean, (mean - half, mean + half)
    quantile = QUANTILES[statistic]
    value = float(np.quantile(times, quantile))
    below = (times <= value).astype(float) - quantile
    half = 1.96 * math.sqrt(runs * quantile * (1 - quantile) * design_effect(below))
    ordered = np.sort(times)
    low = max(1, math.floor(runs * quantile - half))
    high = min(runs, math.ceil(runs * quantile + half))
    return value, (float(ordered[low - 1]), float(ordered[high - 1]))


def design_effect(deviations: npt.NDArray[np.float64]) -> float:
    """Variance of batch means over that of independent runs; at least 1."""
    count = min(16, len(deviations) // 10)
    if count < 4:
        return 1.0
    means = [batch.mean() for batch in np.array_split(deviations, count)]
    expected = float(deviations.var()) * count / len(deviations)
    return max(1.0, float(np.var(means, ddof=1)) / expected) if expected > 0 else 1.0
