"""Why no model is feasible: the binding constraint, the nearest misses, and relaxations."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

from autoseg.core.feasibility import MIN_P_FEASIBLE, NORMAL_95, latency_ci_ms
from autoseg.core.pareto import front as nondominated
from autoseg.core.pareto import meets
from autoseg.core.records import STATE_LABELS, Evaluation, State, Statistic
from autoseg.run.relaxations import (
    MIN_P_EACH,
    Binds,
    InfeasibleRun,
    Relaxation,
    describe,
    iou_of,
    relaxations,
)
from autoseg.search.status import epoch_of

SHOWN = 3  # nearest misses
MAX_TIMES = 20.0  # the pictures of val: more are no advice


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """Why nothing meets both constraints, as far as the ledger shows.

    `binds` is the binding constraint; "time": candidates that fit are not fully trained, or not
    confirmed. `summary` is that in one sentence. `nearest` are the nearest misses, the nearest
    first; `relax` is what would help against what binds, the first thing to try first; `notes`
    hold further facts, such as how many candidates failed and why.
    """

    binds: Binds
    summary: str
    statistic: Statistic = "p90"
    nearest: tuple[Evaluation, ...] = ()
    relax: tuple[Relaxation, ...] = ()
    notes: tuple[str, ...] = ()

    def lines(self) -> list[str]:
        """The explanation as it is printed."""
        near = [f"nearest {describe(e, self.statistic)}" for e in self.nearest]
        head = ["what would help:"] if self.relax else []
        ways = [
            line
            for each in self.relax
            for line in (f"  {each}: {each.gives}", f"    {each.command}")
        ]
        return [self.summary, *near, *self.notes, *head, *ways]

    def to_json(self) -> dict[str, Any]:
        """The explanation as JSON data; `options` are those of the command line."""
        return {
            "binds": self.binds,
            "summary": self.summary,
            "nearest": [_miss(e, self.statistic) for e in self.nearest],
            "relax": [
                {"options": each.options, "gives": each.gives, "command": each.command}
                for each in self.relax
            ],
            "notes": [*self.notes],
        }


def explain(run: InfeasibleRun) -> Explanation:
    """The explanation of a run without a front."""
    binds, summary = _binding(run)
    return Explanation(
        binds=binds,
        summary=summary,
        statistic=run.constraints.statistic,
        nearest=tuple(_nearest(run)),
        relax=relaxations(run, binds),
        notes=(*_doubts(run), *_counts(run)),
    )


def _binding(run: InfeasibleRun) -> tuple[Binds, str]:
    ceiling, floor = run.constraints.max_latency_ms, run.constraints.min_iou
    if not run.measured:
        tried = any(e.state == "failed" for e in run.evaluations)
        return "time", "no candidate could be measured" if tried else "nothing is measured yet"
    if not run.within_ceiling:
        return _all_too_slow(run)
    fit = f"{len(run.within_ceiling)} of {len(run.measured)} measured fit {ceiling:g} ms"
    if not run.scored_within_ceiling:
        failed = sum(e.state == "failed" for e in run.within_ceiling)
        why = f": {failed} failed" if failed else ""
        return "time", f"{fit}, and none was trained to a score{why}"
    if meeting := [e for e in run.scored_within_ceiling if meets(e, run.constraints)]:
        return _almost(run, meeting)
    best = run.scored_within_ceiling[0]
    short = f"the best of them has IoU {iou_of(best):.4f} of the {floor:g} asked for"
    if run.declaration.budget and run.unfinished(best):
        epoch = f"epoch {epoch_of(best)} of {max(run.rungs)}"
        return "time", f"time binds: {fit}; {short}, trained to {epoch}"
    if accurate := [e for e in run.scored if iou_of(e) >= floor]:
        from_ms = min(map(run.latency_ms, accurate))
        return "both", (
            f"ceiling and floor bind together: {fit}, and {short}; the floor is met from "
            f"{from_ms:.3g} ms on"
        )
    return "floor", f"the floor binds: {fit}, and {short}"


def _all_too_slow(run: InfeasibleRun) -> tuple[Binds, str]:
    ceiling, floor = run.constraints.max_latency_ms, run.constraints.min_iou
    fastest = min(run.measured, key=run.latency_ms)
    statistic, timed = run.constraints.statistic, fastest.measurement
    summary = (
        f"nothing meets {ceiling:g} ms: the fastest of {len(run.measured)} measured needs "
        f"{run.latency_ms(fastest):.3g} ms ({timed.name(statistic) if timed else statistic})"
    )
    best = max(map(iou_of, run.scored), default=None)
    if best is None or best >= floor:
        return "ceiling", f"the ceiling binds: {summary}"
    return "both", (
        f"ceiling and floor both bind: {summary}, and the best IoU is {best:.4f} of the {floor:g} "
        "asked for"
    )


def _almost(run: InfeasibleRun, meeting: Sequence[Evaluation]) -> tuple[Binds, str]:
    """Some meet both figures: their final check is missing, or rejected them as too uncertain."""
    if many := len(run.waiting):
        meet, their = ("meets", "its") if many == 1 else ("meet", "their")
        return "time", f"{many} {meet} both limits, and {their} final check is missing"
    nearest = max(meeting, key=lambda e: e.p_feasible or 0.0)
    certain = run.latency_certain(nearest), run.iou_certain(nearest)
    binds: Binds = {(True, False): "floor", (False, True): "ceiling"}.get(certain, "both")  # type: ignore[assignment]
    return binds, (
        f"{len(meeting)} met both figures, but not with enough certainty: "
        f"P {nearest.p_feasible or 0.0:.2f} at most, and {MIN_P_FEASIBLE} is required"
    )


def _nearest(run: InfeasibleRun) -> list[Evaluation]:
    """The nearest misses: a doubled ceiling counts as much as a tenth of IoU."""
    if not run.scored:
        return sorted(run.measured, key=run.latency_ms)[:1]

    def away(evaluation: Evaluation) -> float:
        over = math.log2(run.latency_ms(evaluation) / run.constraints.max_latency_ms)
        short = run.constraints.min_iou - iou_of(evaluation)
        return max(0.0, over) + 10 * max(0.0, short) - 1e-3 * iou_of(evaluation)

    points = [(run.latency_ms(e), iou_of(e)) for e in run.scored]
    kept = [run.scored[i] for i in nondominated(points)]
    return sorted(kept, key=away)[:SHOWN]


def _doubts(run: InfeasibleRun) -> list[str]:
    """How many pictures of val would make an IoU over the floor certain enough."""
    met = [e for e in run.scored_within_ceiling if meets(e, run.constraints)]
    unsure = [e for e in met if e.state == "rejected" and not run.iou_certain(e)]
    if not unsure or (score := unsure[0].score("val")) is None:
        return []
    spread = (score.iou_ci95[1] - score.iou_ci95[0]) / 2 / NORMAL_95
    over = score.iou - run.constraints.min_iou
    times = (NormalDist().inv_cdf(MIN_P_EACH) * spread / over) ** 2 if over > 0 else math.inf
    if times > MAX_TIMES:
        return ["its IoU is so close to the floor that no val of a usual size could tell"]
    return [
        f"val is too small to be certain: with about {max(1.1, times):.2g} times its pictures, "
        "this IoU would be enough"
    ]


def _counts(run: InfeasibleRun) -> list[str]:
    """How many candidates were too slow or failed, and why the first of them failed."""
    failed = [e for e in run.evaluations if e.state == "failed"]
    states: tuple[State, ...] = ("too_slow", "failed")
    counts = {state: sum(e.state == state for e in run.evaluations) for state in states}
    parts = [f"{count} {STATE_LABELS[state]}" for state, count in counts.items() if count]
    if not parts:
        return []
    lines = [f"of {len(run.evaluations)} candidates: {', '.join(parts)}"]
    if failed:
        lines.append(f"the first failure ({failed[0].candidate.key}): {failed[0].error}")
    return lines


def _miss(evaluation: Evaluation, statistic: Statistic) -> dict[str, Any]:
    measurement, score = evaluation.measurement, evaluation.score("val")
    return {
        "key": evaluation.candidate.key,
        "knobs": dict(evaluation.candidate.choices),
        "state": evaluation.state,
        "statistic": measurement.supported(statistic) if measurement else None,
        "latency_ms": measurement.latency_ms(statistic) if measurement else None,
        "latency_ci95_ms": [*latency_ci_ms(measurement, statistic)] if measurement else None,
        "iou": evaluation.iou,
        "iou_ci95": [*score.iou_ci95] if score else None,
        "p_feasible": evaluation.p_feasible,
    }
