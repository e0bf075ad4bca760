"""Early stopping: drops candidates whose upper confidence bound cannot reach the front."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from autoseg.core.records import Candidate, Evaluation
from autoseg.search.state import SearchState
from autoseg.search.status import decayed, p50_ms, undecayed

# The first two rungs stop nothing by the floor: a slow start says little of the end.
MIN_RUNG_INDEX = 2
OPTIMISM_SDS = 2.5  # standard deviations: a stop is final, its checkpoint is removed
# The best few are never stopped: where nothing meets the floor, they are the nearest.
NEVER_STOPPED = 3


def stops(state: SearchState) -> Sequence[tuple[Candidate, str]]:
    """Those whose upper bound at full length is under the floor or a faster candidate's IoU.

    Candidates in training or after their decay are not stopped.
    """
    forecasts = _at_full_length(state)
    best = {k: 1 - math.exp(mean - OPTIMISM_SDS * sd) for k, (mean, sd) in forecasts.items()}
    spared = state.busy | set(sorted(best, key=lambda key: -best[key])[:NEVER_STOPPED])
    found = []
    for e in state.active:
        key = e.candidate.key
        if key not in spared and not decayed(e):
            if reason := _reason(state, e, best[key], forecasts[key]):
                found.append((e.candidate, reason))
    return found


def _reason(
    state: SearchState, evaluation: Evaluation, best: float, forecast: tuple[float, float]
) -> str | None:
    """Why it is stopped, if it is; `best` is its optimistic IoU at full length."""
    score = undecayed(evaluation)
    if score is None:
        return None
    reached = f"IoU {score.iou:.3f} after {score.epoch} epochs, at best {best:.3f}"
    late = state.recipe.rungs.index(score.epoch) >= MIN_RUNG_INDEX
    if best < state.problem.constraints.min_iou and late:
        return f"{reached}: under the floor"
    better = _faster_and_better(state, evaluation, *forecast)
    return f"{reached}: {better} is better and faster" if better else None


def _at_full_length(state: SearchState) -> dict[str, tuple[float, float]]:
    """Log error after the longest training and its decay: mean, standard deviation, by key."""
    longest = state.recipe.rungs[-1]
    mean, sd = state.forecast(state.active, [longest] * len(state.active))
    # A training is itself a draw: it may turn out better than the best guess of its kind.
    sd = np.hypot(sd, state.surrogate.training_sd(longest))
    pairs = zip(map(float, mean), map(float, sd), strict=True)
    return {e.candidate.key: pair for e, pair in zip(state.active, pairs, strict=True)}


def _faster_and_better(
    state: SearchState, evaluation: Evaluation, mean: float, sd: float
) -> str | None:
    """A faster one that, finished now, surely has less error than this one at full length."""
    ms = p50_ms(evaluation)
    for key, (its_mean, its_sd) in state.log_error_if_finished.items():
        if key != evaluation.candidate.key and p50_ms(state.evaluations[key]) < ms:
            if mean - its_mean > OPTIMISM_SDS * math.hypot(sd, its_sd):
                return key
    return None
