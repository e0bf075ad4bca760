"""The verdict before any training: what of the space fits the ceiling, and how that is known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from autoseg.core.records import Candidate
from autoseg.search.fit import MAY_FIT, Fit, fit_by_candidate, fit_of
from autoseg.search.frame_share import frame_lines
from autoseg.search.latency import MIN_ROWS, measured_model
from autoseg.search.state import SearchState
from autoseg.search.status import p50_ms
from autoseg.search.training_time import useful_rung


def verdict_lines(state: SearchState) -> list[str]:
    """What was measured, what fits at each resolution, and what the budget cannot train."""
    measured = [e for e in state.evaluations.values() if e.measurement]
    if not measured:
        return ["no candidate could be measured"]
    constraints = state.problem.constraints
    fastest, limit_ms = min(measured, key=p50_ms), constraints.max_latency_ms
    each = [fit_of(e, constraints) for e in measured]
    unsure = f", {each.count('uncertain')} uncertain" if "uncertain" in each else ""
    lines = [
        f"measured {len(measured)} untrained networks: {each.count('fits')} fit {limit_ms:g} ms"
        f"{unsure}; the fastest needs {p50_ms(fastest):.3g} ms (p50; {fastest.candidate})",
        *frame_lines(measured, constraints),
    ]
    fits, model = fit_by_candidate(state), measured_model(measured)
    if model is None:
        unknown = list(fits.values()).count("unknown")
        return [*lines, unknown_line(unknown)] if unknown else lines
    lines += [f"latency predictor: {model.leave_one_out()}", _by_resolution(state, fits)]
    return [*lines, *_too_long(state, fits)]


def unknown_line(count: int) -> str:
    """What cannot be said before the latency predictor has its measurements."""
    return (
        f"whether the other {count} fit is unknown: that takes {MIN_ROWS} measurements, "
        "which the search makes as it goes"
    )


def _too_long(state: SearchState, fits: Mapping[Candidate, Fit]) -> list[str]:
    """Those that the whole budget could not train far enough, were each alone."""
    times, budget_s = state.problem.training_time, state.problem.budget_s
    able = [candidate for candidate, fit in fits.items() if fit in MAY_FIT]
    long = sum(not times.affordable(c, state.evaluations, budget_s) for c in able)
    if not long:
        return []
    return [
        f"{long} of the {len(able)} that fit or may fit are too large to be trained for "
        f"{useful_rung(state.recipe)} epochs in this budget; a longer --budget can"
    ]


def _by_resolution(state: SearchState, fits: Mapping[Candidate, Fit]) -> str:
    """How many of the candidates fit at each resolution, the largest first."""
    knobs = state.problem.space.knobs_at(state.problem.effort)
    resolution = next((k for k in knobs if k.name == "resolution"), None)
    other = next((k for k in knobs if k.name != "resolution" and k.ordered), None)
    if resolution is None:
        return f"expected to fit: {_share(list(fits), fits)}"
    parts = []
    for size in reversed(resolution.ordered_choices):
        here = [c for c in state.candidates.candidates if c["resolution"] == size]
        good = [c for c in here if fits.get(c) == "fits"]
        text = _share(here, fits)
        if other and 0 < len(good) < len(here):
            text += f" ({other.name} up to {max(other.choice_in(c) for c in good)})"
        parts.append(f"{size}: {text}")
    return "expected to fit by resolution: " + "; ".join(parts)


def _share(candidates: Sequence[Candidate], fits: Mapping[Candidate, Fit]) -> str:
    """How many of these fit, in words, and how many may."""
    good, unsure = (sum(fits.get(c) == kind for c in candidates) for kind in ("fits", "uncertain"))
    if good == len(candidates):
        return "all"
    text = f"{good} of {len(candidates)}" if good else "none"
    return f"{text}, {unsure} uncertain" if unsure else text
