"""Which candidates meet the latency ceiling, as far as it is known before they are trained."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from typing import Literal

from autoseg.core.feasibility import MIN_P_FEASIBLE, p_latency_met
from autoseg.core.records import Candidate, Constraints, Evaluation
from autoseg.search.acquisition import p_at_most
from autoseg.search.state import SearchState

Fit = Literal["fits", "uncertain", "too slow", "unknown"]
MAY_FIT: tuple[Fit, ...] = ("fits", "uncertain", "unknown")
LEFT_OUT = ("failed", "stopped")  # states of candidates that are not trained in any case


def fit_by_candidate(state: SearchState) -> Mapping[Candidate, Fit]:
    """The fit of every candidate that may be trained, measured or predicted.

    It fits where P(the ceiling is met) >= 0.9, is too slow where P <= 0.1, and is uncertain
    between; unknown while it is not measured and nothing can be predicted.
    """
    mean, sd = state.predicted_log_ms
    chances = p_at_most(math.log(state.p50_ceiling_ms), mean, sd)
    predicted = [_by_chance(float(p)) for p in chances]
    found: dict[Candidate, Fit] = {}
    for candidate, expected in zip(state.candidates.candidates, predicted, strict=True):
        known = state.evaluations.get(candidate.key)
        if known is None or (known.state not in LEFT_OUT and known.measurement is None):
            found[candidate] = expected if state.predicts_latency else "unknown"
        elif known.state not in LEFT_OUT:
            found[candidate] = fit_of(known, state.problem.constraints)
    return found


def fit_of(evaluation: Evaluation, constraints: Constraints) -> Fit:
    """The fit of one that is measured."""
    if evaluation.state == "too_slow":
        return "too slow"
    measured = evaluation.measurement
    return _by_chance(p_latency_met(measured, constraints)) if measured else "unknown"


def counted(fits: Mapping[Candidate, Fit], state: SearchState, *, measured: bool) -> Counter[Fit]:
    """How many have each fit, of those that are measured or of those that are not."""
    known = {key for key, e in state.evaluations.items() if e.measurement}
    return Counter(fit for c, fit in fits.items() if (c.key in known) == measured)


def uncertain_share(state: SearchState) -> float | None:
    """The share of candidates that are uncertain to fit; None while nothing can be predicted."""
    fits = [*fit_by_candidate(state).values()]
    return fits.count("uncertain") / max(1, len(fits)) if state.predicts_latency else None


def _by_chance(p: float) -> Fit:
    if p >= MIN_P_FEASIBLE:
        return "fits"
    return "too slow" if p <= 1 - MIN_P_FEASIBLE else "uncertain"
