"""Percentiles of run times with 95 % intervals.

The intervals are order statistics (Conover, Practical Nonparametric Statistics, 3.2), widened by
the design effect of batches (Woodruff 1952), as neighbouring runs are not independent.
"""

import itertools
import math
import statistics
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from autoseg.core.feasibility import NORMAL_95
from autoseg.core.records import RunTimes, Statistic
from autoseg.device.history import Spread

Interval = tuple[float, float]

LATER_PROCESSES = 3  # of a confirming measurement on another day

QUANTILES = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99}
# With fewer runs, the upper rank of the interval would be the slowest run.
NEEDED_RUNS: dict[Statistic, int] = {"p50": 1, "p90": 36, "p95": 75, "p99": 1000}


def figures(process_ms: Sequence[Sequence[float]], spread: Spread) -> dict[str, Any]:
    """Fields of a Measurement from the runs of each process, at least one in all.

    A percentile is None without enough runs.
    """
    times_ms = list(itertools.chain.from_iterable(process_ms))
    tails: tuple[Statistic, ...] = ("p95", "p99")
    return {
        "min_ms": min(times_ms),
        "mean_ms": float(np.mean(times_ms)),
        "std_ms": float(np.std(times_ms)),
        **{f"{name}_ms": _supported(times_ms, name) for name in tails},
        **vars(run_times(process_ms, spread)),
    }


def run_times(process_ms: Sequence[Sequence[float]], spread: Spread) -> RunTimes:
    """p50 and p90 of the runs of each process, with intervals that hold another day as well."""
    runs = sum(map(len, process_ms))
    p50_ms, p50_ci_ms = _of_processes(process_ms, "p50", spread)
    p90: tuple[float, Interval] | tuple[None, None] = (None, None)
    if runs >= NEEDED_RUNS["p90"]:
        p90 = _of_processes(process_ms, "p90", spread)
    return RunTimes(runs=runs, p50_ms=p50_ms, p50_ci_ms=p50_ci_ms, p90_ms=p90[0], p90_ci_ms=p90[1])


def _of_processes(
    process_ms: Sequence[Sequence[float]], statistic: Statistic, spread: Spread
) -> tuple[float, Interval]:
    """The middle one of the processes' figures: one of three may have had bad luck with memory.

    Where a process has too few runs, all runs together.
    """
    times_ms = list(itertools.chain.from_iterable(process_ms))
    value_ms, (low_ms, high_ms) = estimate(times_ms, statistic)
    low, high = low_ms / value_ms, high_ms / value_ms
    if min(map(len, process_ms)) >= NEEDED_RUNS[statistic]:
        each = [float(np.quantile(own, QUANTILES[statistic])) for own in process_ms]
        value_ms = statistics.median(each)
    return value_ms, _wider(value_ms, (low, high), statistic, spread, len(process_ms))


def _wider(
    value_ms: float, of_runs: Interval, statistic: Statistic, spread: Spread, processes: int
) -> Interval:
    """The 95 % interval for another measurement of the same kind on the same device.

    It adds up, as variances of ln ms, the runs, the processes and the sittings of both; `of_runs`
    is the interval of the runs over their figure.
    """
    between = spread.process[statistic] ** 2 * (1 / processes + 1 / LATER_PROCESSES)
    around = NORMAL_95**2 * (between + 2 * spread.sitting[statistic] ** 2)
    low, high = (math.log(max(end, 1e-9)) for end in of_runs)
    return (
        value_ms * math.exp(-math.sqrt(2 * low**2 + around)),
        value_ms * math.exp(math.sqrt(2 * high**2 + around)),
    )


def _supported(times_ms: Sequence[float], statistic: Statistic) -> float | None:
    enough = len(times_ms) >= NEEDED_RUNS[statistic]
    return float(np.quantile(times_ms, QUANTILES[statistic])) if enough else None


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
        half = NORMAL_95 * spread * math.sqrt(design_effect(times - mean) / runs)
        return mean, (mean - half, mean + half)
    quantile = QUANTILES[statistic]
    value = float(np.quantile(times, quantile))
    below = (times <= value).astype(float) - quantile
    half = NORMAL_95 * math.sqrt(runs * quantile * (1 - quantile) * design_effect(below))
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
