"""Percentiles of run times with 95 % intervals.

The intervals are order statistics (Conover, Practical Nonparametric Statistics, 3.2), widened by
the design effect of batches (Woodruff 1952), as neighbouring runs are not independent.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from autoseg.core.records import Statistic

Interval = tuple[float, float]

QUANTILES = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99}
# With fewer runs, the upper rank of the interval would be the slowest run.
NEEDED_RUNS: dict[Statistic, int] = {"p50": 1, "p90": 36, "p95": 75, "p99": 1000}


def figures(times_ms: Sequence[float]) -> dict[str, Any]:
    """Fields of a Measurement from at least one run; None for a percentile without enough."""
    found = {
        name: estimate(times_ms, name) if len(times_ms) >= needed else (None, None)
        for name, needed in NEEDED_RUNS.items()
    }
    return {
        "runs": len(times_ms),
        "min_ms": min(times_ms),
        "mean_ms": float(np.mean(times_ms)),
        "std_ms": float(np.std(times_ms)),
        **{f"{name}_ms": value for name, (value, _) in found.items()},
        "p50_ci_ms": found["p50"][1],
        "p90_ci_ms": found["p90"][1],
    }


def quantiles(times_ms: Sequence[float]) -> tuple[float, ...]:
    """41 evenly spaced quantiles of the runs, ms: 0, 2.5 … 100 %."""
    spread = np.quantile(np.asarray(times_ms, dtype=float), np.linspace(0, 1, 41))
    return tuple(round(float(ms), 5) for ms in spread)


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
