"""The verdict before any training: which part of the space fits, predicted from a sample."""

from __future__ import annotations

import math
from collections.abc import Sequence

from autoseg.core.records import Candidate
from autoseg.search.knobs import ordered_choices
from autoseg.search.latency import measured_model
from autoseg.search.state import SearchState
from autoseg.search.status import p50_ms

UNFIT = ("too_slow", "failed", "stopped")


def fitting(state: SearchState) -> list[Candidate]:
    """Those that are measured to fit, and of the others those that are expected to."""
    expected = state.predicted_log_ms[0] <= math.log(state.p50_ceiling_ms)

    def fits(candidate: Candidate, expected: bool) -> bool:
        known = state.evaluations.get(candidate.key)
        return expected if known is None else known.state not in UNFIT

    pairs = zip(state.candidates.candidates, map(bool, expected), strict=True)
    return [candidate for candidate, likely in pairs if fits(candidate, likely)]


def verdict_lines(state: SearchState) -> list[str]:
    """What was measured, what fits at each resolution, and what the budget can train."""
    measured = [e for e in state.evaluations.values() if e.measurement]
    if not measured:
        return ["no candidate could be measured"]
    fastest, limit_ms = min(measured, key=p50_ms), state.problem.constraints.max_latency_ms
    lines = [
        f"measured {len(measured)} untrained networks: "
        f"{sum(e.state != 'too_slow' for e in measured)} fit {limit_ms:g} ms; "
        f"the fastest needs {p50_ms(fastest):.3g} ms ({fastest.candidate})"
    ]
    model = measured_model(measured)
    if model is None:
        return lines
    fits = fitting(state)
    lines += [f"latency predictor: {model.leave_one_out()}", _by_resolution(state, fits)]
    return [*lines, *_budget(state, fits)]


def _budget(state: SearchState, fits: Sequence[Candidate]) -> list[str]:
    training_time, budget_s = state.problem.training_time, state.problem.budget_s
    paid = sum(training_time.affordable(c, state.evaluations, budget_s) for c in fits)
    if paid == len(fits):
        return []
    text = f"the budget can train {paid} of the {len(fits)} that fit far enough"
    return [f"{text}; a longer --budget can train more"]


def _by_resolution(state: SearchState, fits: Sequence[Candidate]) -> str:
    """How many of the candidates fit at each resolution, the largest first."""
    everything = state.candidates.candidates
    knobs = state.problem.space.knobs_at(state.problem.effort)
    resolution = next((k for k in knobs if k.name == "resolution"), None)
    others = [k for k in knobs if k.name != "resolution" and k.ordered]
    if resolution is None:
        return f"{len(fits)} of {len(everything)} candidates are expected to fit"
    parts = []
    for size in reversed(ordered_choices(resolution)):
        here = [c for c in everything if c["resolution"] == size]
        good = [c for c in fits if c["resolution"] == size]
        if not good:
            text = "none"
        elif len(good) == len(here):
            text = "all"
        else:
            text = f"{len(good)} of {len(here)}"
            if others:
                text += f" ({others[0].name} up to {max(others[0].choice_in(c) for c in good)})"
        parts.append(f"{size}: {text}")
    return "expected to fit by resolution: " + "; ".join(parts)
