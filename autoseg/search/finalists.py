"""Who is worth finishing: the decay jobs of those that could still enter the front."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from autoseg.core.feasibility import MIN_P_FEASIBLE
from autoseg.core.records import Evaluation, Job
from autoseg.search.acquisition import probability_over
from autoseg.search.state import View
from autoseg.search.status import decayed, p50, undecayed
from autoseg.search.training_time import Pricing

REPORT_S = 8.0  # front, plot and bundles
MOST = 8  # at a time, and that time is set aside for
WORTH = 2e-5  # hypervolume (ln ms x IoU) that is expected of one at least
LIKELY = 0.02  # P(both constraints hold) from which a finish is worth trying
FINISH_SHARE = 0.45  # of the budget, the most that is kept for finishing


class Finish(Protocol):
    """Makes an evaluation's decay job."""

    def __call__(self, evaluation: Evaluation) -> Job: ...


def finalists(
    view: View, pricing: Pricing, finish: Finish, remaining_s: float | None
) -> Sequence[Job]:
    """The decay jobs, those that add most first, as many as the time pays for."""
    everything = list(view.evaluations.values())
    # A run that was killed after a decay has paid for it: the timing must follow.
    paid = [e for e in view.alive if decayed(e)]
    settled = any(e.state in ("confirmed", "rejected") for e in everything)
    chosen = by_expected_gain(view, [e for e in view.alive if e not in paid])
    if not chosen and not paid and not settled:
        # Nothing can meet the floor: the nearest miss is worth knowing.
        chosen = sorted(view.alive, key=lambda e: _nearness(view, e))[-1:]
    jobs = [finish(e) for e in [*paid, *chosen]]
    if remaining_s is None:
        return jobs
    # One model is owed whatever the time says; but over the budget not one failure after another.
    tried = any(e.state in ("rejected", "failed") and undecayed(e) for e in everything)
    confirmed = any(e.state == "confirmed" for e in everything)
    must = not confirmed and (remaining_s > 0 or not tried)
    return _in_time(jobs, view, pricing, remaining_s, must=must)


def by_expected_gain(view: View, able: Sequence[Evaluation]) -> list[Evaluation]:
    """Each next one is expected to add most to what is confirmed and to those before it.

    While nothing is confirmed, the first is one that will surely hold, or else most likely.
    """
    reached = [(p50(e), e.iou or 0.0) for e in view.evaluations.values() if e.state == "confirmed"]
    rest, ordered = list(able), list[Evaluation]()
    while rest and len(ordered) < MOST:
        mean, sd = view.after(rest, [_rung(e) for e in rest])
        fast = np.array([view.p_latency_met(e) for e in rest])
        steps, log_ms = view.steps_of(reached), np.log([p50(e) for e in rest])
        gains, least = steps.expected_gain(log_ms, mean, sd) * fast, WORTH
        if not reached:
            chance = probability_over(view.floor, mean, sd) * fast
            sure = chance >= MIN_P_FEASIBLE
            gains, least = (np.where(sure, gains, 0), 0) if sure.any() else (chance, LIKELY)
        best = int(np.argmax(gains))
        if gains[best] < least:
            break
        chosen = rest.pop(best)
        reached.append((p50(chosen), view.now[chosen.candidate.key]))
        ordered.append(chosen)
    return ordered


def _nearness(view: View, evaluation: Evaluation) -> tuple[bool, float]:
    return view.p_latency_met(evaluation) > 0.5, view.now[evaluation.candidate.key]


def _rung(evaluation: Evaluation) -> int:
    score = undecayed(evaluation)
    return score.epoch if score else 1


def _in_time(
    jobs: Sequence[Job], view: View, pricing: Pricing, remaining_s: float, *, must: bool
) -> Sequence[Job]:
    """As many as the budget pays for; if there is none yet, the shortest one beyond it."""
    taken: list[Job] = []
    for job in jobs:
        if pricing.finish_s([*taken, job], view.evaluations) + REPORT_S < remaining_s:
            taken.append(job)
    if taken or not (must and jobs):
        return taken
    return [min(jobs, key=lambda job: pricing.finish_s([job], view.evaluations))]
