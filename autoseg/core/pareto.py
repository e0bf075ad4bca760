"""The Pareto front over latency and IoU, its hypervolume, and the picks from it.

A point is ``(latency_ms, iou)``: less latency and more IoU are better.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Literal, get_args

from autoseg.core.errors import InputError
from autoseg.core.feasibility import measurably_faster
from autoseg.core.records import Constraints, Evaluation, Statistic

Point = tuple[float, float]
How = Literal["accurate", "balanced", "fastest"]

PICKS: tuple[How, ...] = get_args(How)  # in the order of every list; the first is the default


def front(points: Sequence[Point]) -> list[int]:
    """Indices of the points that no other dominates, fastest first; equal points all stay."""
    if not points:
        return []
    import numpy as np
    from pymoo.util.nds.non_dominated_sorting import NonDominatedSorting

    costs = np.array([(latency_ms, -iou) for latency_ms, iou in points])
    kept = NonDominatedSorting().do(costs, only_non_dominated_front=True)
    return sorted((int(index) for index in kept), key=lambda i: (points[i][0], i))


def hypervolume(points: Iterable[Point], constraints: Constraints) -> float:
    """Area that the points dominate over ln(latency) x IoU, up to the point (ceiling, floor).

    A network at half the ceiling and 0.01 over the floor adds ln(2) * 0.01; a point that violates
    a constraint adds nothing.
    """
    ceiling, floor = constraints.max_latency_ms, constraints.min_iou
    inside = [(math.log(ms), -iou) for ms, iou in points if ms < ceiling and iou > floor]
    if not inside:
        return 0.0
    import numpy as np
    from pymoo.indicators.hv import HV

    return float(HV(ref_point=np.array([math.log(ceiling), -floor]))(np.array(inside)))


def point(evaluation: Evaluation, statistic: Statistic) -> Point | None:
    """Latency and val IoU of an evaluation, or None while either is unknown."""
    if evaluation.measurement is None or evaluation.iou is None:
        return None
    return evaluation.measurement.latency_ms(statistic), evaluation.iou


def meets(evaluation: Evaluation, constraints: Constraints) -> bool:
    """Whether its figures meet ceiling and floor (equal is enough), regardless of intervals."""
    at = point(evaluation, constraints.statistic)
    return at is not None and at[0] <= constraints.max_latency_ms and at[1] >= constraints.min_iou


def settled(evaluations: Iterable[Evaluation]) -> list[Evaluation]:
    """The confirmed ones; while nothing is confirmed yet, those that are scored."""
    scored = [e for e in evaluations if e.state in ("scored", "confirmed")]
    return [e for e in scored if e.state == "confirmed"] or scored


def front_of(evaluations: Iterable[Evaluation], statistic: Statistic) -> list[Evaluation]:
    """The settled evaluations that no other dominates, fastest first.

    One of them gives way to another with a better IoU unless it is measurably faster.
    """
    known = [(e, at) for e in settled(evaluations) if (at := point(e, statistic)) is not None]
    best = [known[index][0] for index in front([at for _, at in known])]
    kept: list[Evaluation] = []
    for evaluation in sorted(best, key=lambda e: -(e.iou or 0.0)):
        if all(_stands_beside(evaluation, other) for other in kept):
            kept.append(evaluation)
    return [evaluation for evaluation in best if evaluation in kept]


def _stands_beside(one: Evaluation, other: Evaluation) -> bool:
    """Whether the first stays although the other has no worse IoU; equal points both stay."""
    if one.iou == other.iou or one.measurement is None or other.measurement is None:
        return True
    return measurably_faster(one.measurement, other.measurement)


def pick(
    evaluations: Iterable[Evaluation], how: How, constraints: Constraints
) -> Evaluation | None:
    """The one to ship among those that meet both constraints, or None when none does.

    Where any are confirmed, only confirmed ones are picked from. "balanced" gains most on both
    constraints together: of all points, its own dominates the largest hypervolume. Raises
    InputError for another `how`.
    """
    if how not in PICKS:
        raise InputError(f"a pick is one of {', '.join(PICKS)}, got {how!r}")
    allowed = [e for e in settled(evaluations) if meets(e, constraints)]
    choice = front_of(allowed, constraints.statistic)
    if how == "fastest":
        return next(iter(choice), None)
    by_iou = max(choice, key=lambda e: e.iou or 0.0, default=None)
    if how == "accurate":
        return by_iou
    # A model at the floor or at the ceiling gains nothing on both together.
    gains = [hypervolume([_at(e, constraints)], constraints) for e in choice]
    return choice[gains.index(max(gains))] if any(gains) else by_iou


def reason(how: How, evaluations: Iterable[Evaluation], constraints: Constraints) -> str:
    """The reason for a pick: its figures, and its cost and gain compared with the other picks.

    Empty where nothing can be picked.
    """
    models = [*evaluations]
    chosen = pick(models, how, constraints)
    if chosen is None:
        return ""
    latency_ms, iou = _at(chosen, constraints)
    timed = chosen.measurement
    statistic = timed.name(constraints.statistic) if timed else constraints.promised
    why = _why(how, (latency_ms, iou), constraints)
    parts = [f"{why} ({latency_ms:.3g} ms {statistic}, IoU {iou:.4f})"]
    others: tuple[tuple[How, str], ...] = (
        ("accurate", "the most accurate"),
        ("fastest", "the fastest"),
    )
    for other, called in others:
        beside = pick(models, other, constraints)
        if other != how and beside is not None:
            same = beside.candidate == chosen.candidate
            parts.append(
                f"also {called}" if same else _beside(chosen, beside, called, constraints)
            )
    return "; ".join(parts)


def _why(how: How, at: Point, constraints: Constraints) -> str:
    ceiling_ms, floor = constraints.max_latency_ms, constraints.min_iou
    if how == "accurate":
        return f"highest IoU within {ceiling_ms:g} ms"
    if how == "fastest":
        return f"lowest latency with IoU of at least {floor:g}"
    faster = ceiling_ms / at[0]
    times = f"{faster:.2g}" if faster < 10 else f"{faster:,.0f}"
    return (
        f"gains most on both limits together, {times} times as fast as {ceiling_ms:g} ms and "
        f"{100 * (at[1] - floor):.2g} IoU points over {floor:g}"
    )


def _beside(chosen: Evaluation, other: Evaluation, called: str, constraints: Constraints) -> str:
    (ms, iou), (other_ms, other_iou) = _at(chosen, constraints), _at(other, constraints)
    apart, gain = f"{abs(ms - other_ms):.2g} ms", f"{100 * abs(iou - other_iou):.2g} IoU points"
    speed = f"{apart} slower than" if ms > other_ms else f"{apart} faster than"
    more = "more" if iou > other_iou else "less"
    return f"{speed} {called} for {gain} {more}{_alike(chosen, other)}"


def _alike(one: Evaluation, other: Evaluation) -> str:
    """A caution where the intervals of two IoU overlap."""
    first, second = one.score("val"), other.score("val")
    if first is None or second is None:
        return ""
    (low, high), (other_low, other_high) = first.iou_ci95, second.iou_ci95
    return " (their intervals overlap)" if low <= other_high and other_low <= high else ""


def _at(evaluation: Evaluation, constraints: Constraints) -> Point:
    return point(evaluation, constraints.statistic) or (math.inf, 0.0)
