"""The verdict before any training: what of the space fits, predicted from the measured few."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from autoseg.core.records import Candidate, Constraints, Evaluation
from autoseg.networks.space import Knob
from autoseg.search.latency import measured_model
from autoseg.search.proposers.optuna import ordered_choices
from autoseg.search.status import p50


def verdict_lines(
    knobs: Sequence[Knob],
    candidates: Sequence[Candidate],
    fitting: Sequence[Candidate],
    evaluations: Sequence[Evaluation],
    constraints: Constraints,
    *,
    affordable: Callable[[Candidate], bool],
) -> list[str]:
    """Plain sentences: what was measured, what fits by resolution, what the budget pays for."""
    measured = [e for e in evaluations if e.measurement]
    if not measured:
        return ["no candidate could be measured"]
    fastest = min(measured, key=p50)
    lines = [
        f"measured {len(measured)} untrained networks: "
        f"{sum(e.state != 'too_slow' for e in measured)} fit {constraints.max_latency_ms:g} ms; "
        f"the fastest needs {p50(fastest):.3g} ms ({fastest.candidate})"
    ]
    model = measured_model(measured)
    if model is None:
        return lines
    lines.append(f"latency predictor: {model.leave_one_out()}")
    lines += _by_resolution(knobs, candidates, fitting)
    paid = [c for c in fitting if affordable(c)]
    if len(paid) < len(fitting):
        lines.append(
            f"the budget can train {len(paid)} of the {len(fitting)} that fit far enough; "
            "a longer --budget opens the rest"
        )
    return lines


def _by_resolution(
    knobs: Sequence[Knob], sample: Sequence[Candidate], fitting: Sequence[Candidate]
) -> list[str]:
    resolution = next((k for k in knobs if k.name == "resolution"), None)
    others = [k for k in knobs if k.name != "resolution" and k.ordered]
    if resolution is None:
        return [f"{len(fitting)} of {len(sample)} candidates are expected to fit"]
    parts = []
    for size in reversed(ordered_choices(resolution)):
        here = [c for c in sample if c["resolution"] == size]
        good = [c for c in fitting if c["resolution"] == size]
        text = (
            "all" if len(good) == len(here) else f"{len(good)} of {len(here)}" if good else "none"
        )
        if good and len(good) < len(here) and others:
            widest = others[0]
            text += f" ({widest.name} up to {max(widest.choice_in(c) for c in good)})"
        parts.append(f"{size}: {text}")
    return ["expected to fit by resolution: " + "; ".join(parts)]
