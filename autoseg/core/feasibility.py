"""Feasibility: the probability that a measured latency and a scored IoU meet the constraints."""

from __future__ import annotations

import math
from statistics import NormalDist

from autoseg.core.records import Constraints, Measurement, Score, Statistic

MIN_P_FEASIBLE = 0.9  # a model is called feasible when P(latency and IoU hold) is at least this
MAX_USABLE_HALF = 0.25  # of a statistic, from it to an end of its 95 % interval
NORMAL_95 = NormalDist().inv_cdf(0.975)
# How much wider than the p90's the interval of a percentile q is, in an exponential tail: an order
# statistic's spread goes with sqrt(q / (1 - q)) there.
WIDER = {"p95": math.sqrt(0.95 / 0.05) / 3, "p99": math.sqrt(0.99 / 0.01) / 3}


def p_latency_met(measurement: Measurement, constraints: Constraints) -> float:
    """P(the promised statistic is under the ceiling), from the runs' 95 % interval (normal).

    At most P(the median is under the ceiling): a p90 between quiet and disturbed runs has an
    interval so wide that it alone would accept a network far over the ceiling. 0 where not even
    the fastest run is under it: the interval of a few runs may be wide enough for anything.
    """
    if measurement.min_ms > constraints.max_latency_ms:
        return 0.0
    value_ms = measurement.latency_ms(constraints.statistic)
    half_ms = _half_ms(measurement, constraints.statistic)
    low, high = measurement.p50_ci_ms
    return min(
        _probability_under(constraints.max_latency_ms, value_ms, half_ms),
        _probability_under(constraints.max_latency_ms, measurement.p50_ms, (high - low) / 2),
    )


def _half_ms(measurement: Measurement, statistic: Statistic) -> float:
    """Half of the statistic's 95 % interval, in ms."""
    if statistic == "mean":
        return NORMAL_95 * measurement.std_ms / math.sqrt(measurement.runs)
    low, high = measurement.p50_ci_ms
    if statistic != "p50" and measurement.p90_ci_ms:
        low, high = measurement.p90_ci_ms
    return WIDER.get(statistic, 1.0) * (high - low) / 2


def _probability_under(ceiling_ms: float, value_ms: float, half_ms: float) -> float:
    return NormalDist(value_ms, max(half_ms / NORMAL_95, 1e-9)).cdf(ceiling_ms)


def latency_ci_ms(measurement: Measurement, statistic: Statistic) -> tuple[float, float]:
    """The 95 % interval of a statistic, in ms; the runs' own where they give one."""
    own = {"p50": measurement.p50_ci_ms, "p90": measurement.p90_ci_ms}.get(statistic)
    if own and (statistic == "p50" or measurement.p90_ms is not None):
        return own
    value_ms, half_ms = measurement.latency_ms(statistic), _half_ms(measurement, statistic)
    return max(0.0, value_ms - half_ms), value_ms + half_ms


def unusable(measurement: Measurement, statistic: Statistic) -> bool:
    """Whether a statistic's own interval makes it useless: a quarter of it to one side or more."""
    value_ms = measurement.latency_ms(statistic)
    low, high = latency_ci_ms(measurement, measurement.supported(statistic))
    return max(high - value_ms, value_ms - low) > MAX_USABLE_HALF * value_ms


def measurably_faster(one: Measurement, other: Measurement) -> bool:
    """Whether the 95 % interval of the ratio of two medians on one device excludes 1.

    Each is taken over the reference model, block beside block, so that neither the clock nor heat
    of that moment count. Without a reference, the two intervals must lie apart.
    """
    if one.relative_p50 and other.relative_p50 and one.device == other.device:
        off = math.log(one.relative_p50 / other.relative_p50)
        return off + NORMAL_95 * math.hypot(one.relative_sd or 0.0, other.relative_sd or 0.0) < 0
    return one.p50_ci_ms[1] < other.p50_ci_ms[0]


def p_iou_met(score: Score, min_iou: float) -> float:
    """P(IoU is over a floor), from the 95 % interval (normal)."""
    low, high = score.iou_ci95
    return 1 - NormalDist(score.iou, max((high - low) / 2 / NORMAL_95, 1e-9)).cdf(min_iou)


def rejection_reason(measurement: Measurement, score: Score, constraints: Constraints) -> str:
    """One line: which constraint is not certain enough, its figure, and the joint probability."""
    statistic = measurement.supported(constraints.statistic)
    latency_ms, ceiling_ms = measurement.latency_ms(statistic), constraints.max_latency_ms
    fast, accurate = p_latency_met(measurement, constraints), score.p_floor or 0.0
    relation = "over" if latency_ms > ceiling_ms else "too close to"
    slow = f"{measurement.name(statistic)} {latency_ms:.3g} ms is {relation} {ceiling_ms:g} ms"
    relation = "below" if score.iou < constraints.min_iou else "too close to"
    short = f"IoU {score.iou:.4f} is {relation} {constraints.min_iou:g}"
    doubts = [slow] * (fast < MIN_P_FEASIBLE) + [short] * (accurate < MIN_P_FEASIBLE)
    certain = math.floor(100 * fast * accurate)  # rounded down: less than what is required
    return (
        f"{' and '.join(doubts or [slow, short])} "
        f"({certain} % certain, {100 * MIN_P_FEASIBLE:.0f} % required)"
    )
