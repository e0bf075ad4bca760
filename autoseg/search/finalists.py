"""The finish: which candidates take their decay and are confirmed, and how long that takes."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from autoseg.core.feasibility import MIN_P_FEASIBLE
from autoseg.core.records import Evaluation, Job
from autoseg.search.acquisition import p_iou_met
from autoseg.search.state import SearchState
from autoseg.search.status import decay_job, decayed, epoch_of, p50_ms, undecayed

MAX_FINALISTS = 8  # at a time, and that time is set aside for
MIN_GAIN = 2e-5  # hypervolume (ln ms x IoU) that a finalist must be expected to add
MIN_P_BOTH_MET = 0.02  # P(both constraints hold) from which a finish is worth trying
FINISH_SHARE = 0.45  # of the budget, the most that is kept for finishing


def search_left_s(state: SearchState, remaining_s: float | None) -> float | None:
    """Seconds of the budget left to search; the finish of the present finalists is set aside."""
    if remaining_s is None:
        return None
    times = state.problem.training_time
    reserve_s = state.cache.reserve_s.get(
        (times.workers, times.kind, *state.evaluations.values()),
        lambda: finish_s(state, finalists(state, None)),
    )
    return remaining_s - min(reserve_s, FINISH_SHARE * (state.problem.budget_s or math.inf))


def finish_s(state: SearchState, jobs: Sequence[Job]) -> float:
    """Seconds until the candidates of these jobs are confirmed and all files are written."""
    times = state.problem.training_time
    return times.finish_s(jobs, state.evaluations) + times.overheads.files_s(len(jobs))


def finalists(state: SearchState, remaining_s: float | None) -> Sequence[Job]:
    """The decay jobs of those that could enter the front, best first, as the time allows."""
    everything = list(state.evaluations.values())
    # A run that was killed after a decay has paid for it: the timing must follow.
    paid = [e for e in state.active if decayed(e)]
    settled = any(e.state in ("confirmed", "rejected") for e in everything)
    chosen = by_expected_gain(state, [e for e in state.active if e not in paid])
    if not chosen and not paid and not settled:
        # Nothing can meet the floor: the nearest miss is worth knowing.
        chosen = sorted(state.active, key=lambda e: _nearness(state, e))[-1:]
    jobs = [decay_job(e, state.recipe) for e in [*paid, *chosen]]
    if remaining_s is None:
        return jobs
    # One model must be tried even beyond the budget, but not one failure after another.
    tried = any(e.state in ("rejected", "failed") and undecayed(e) for e in everything)
    confirmed = any(e.state == "confirmed" for e in everything)
    must = not confirmed and (remaining_s > 0 or not tried)
    return _in_time(jobs, state, remaining_s, must=must)


def by_expected_gain(state: SearchState, able: Sequence[Evaluation]) -> list[Evaluation]:
    """Each next one is expected to add most to what is confirmed and to those before it.

    While nothing is confirmed, the first is one that meets both constraints with P >= 0.9, or else
    the one that does most probably.
    """
    everything = state.evaluations.values()
    reached = [(p50_ms(e), e.iou or 0.0) for e in everything if e.state == "confirmed"]
    rest, ordered = list(able), list[Evaluation]()
    while rest and len(ordered) < MAX_FINALISTS:
        best = _best(state, rest, reached)
        if best is None:
            break
        chosen = rest.pop(best)
        reached.append((p50_ms(chosen), state.iou_if_finished[chosen.candidate.key]))
        ordered.append(chosen)
    return ordered


def _best(
    state: SearchState, rest: Sequence[Evaluation], reached: Sequence[tuple[float, float]]
) -> int | None:
    """The position of the one that adds most to the points reached, if that is enough."""
    mean, sd = state.forecast(rest, [epoch_of(e) for e in rest])
    p_latency = np.array([state.p_latency_met(e) for e in rest])
    front, log_ms = state.front_of(reached), np.log([p50_ms(e) for e in rest])
    gains, least = front.expected_gain(log_ms, mean, sd) * p_latency, MIN_GAIN
    if not reached:
        p_both = p_iou_met(state.iou_floor, mean, sd) * p_latency
        certain = p_both >= MIN_P_FEASIBLE
        if certain.any():
            gains, least = np.where(certain, gains, 0), 0
        else:
            gains, least = p_both, MIN_P_BOTH_MET
    best = int(np.argmax(gains))
    return None if gains[best] < least else best


def _nearness(state: SearchState, evaluation: Evaluation) -> tuple[bool, float]:
    iou = state.iou_if_finished[evaluation.candidate.key]
    return state.p_latency_met(evaluation) > 0.5, iou


def _in_time(
    jobs: Sequence[Job], state: SearchState, remaining_s: float, *, must: bool
) -> Sequence[Job]:
    """As many as the budget pays for; if there must be one, the shortest one beyond it."""
    taken: list[Job] = []
    for job in jobs:
        if finish_s(state, [*taken, job]) < remaining_s:
            taken.append(job)
    if taken or not (must and jobs):
        return taken
    training_time = state.problem.training_time
    return [min(jobs, key=lambda job: training_time.finish_s([job], state.evaluations))]
