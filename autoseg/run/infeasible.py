"""Why nothing meets the constraints: what binds, what came nearest, what relaxing would give."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from autoseg.core.feasibility import MIN_P_FEASIBLE, latency_ci_ms
from autoseg.core.pareto import front as nondominated
from autoseg.core.pareto import meets
from autoseg.core.records import Evaluation, Statistic
from autoseg.networks.space import EFFORTS
from autoseg.run.relaxations import (
    Relaxation,
    Story,
    iou_of,
    surely_accurate,
    surely_fast,
    told,
    ways,
)
from autoseg.search.status import epoch_of

Binds = Literal["ceiling", "floor", "both", "time"]

SHOWN = 3  # nearest misses


@dataclass(frozen=True)
class Explanation:
    """Why nothing meets both constraints, as far as the ledger shows.

    `binds` is what stands in the way; "time": what fits is not trained to its end, or not
    confirmed. `says` is that in one sentence. `nearest` are the nearest misses, the nearest first;
    `relax` is what lets one in; `notes` tell what else there is to know, such as how many
    candidates failed and why.
    """

    binds: Binds
    says: str
    statistic: Statistic = "p90"
    nearest: tuple[Evaluation, ...] = ()
    relax: tuple[Relaxation, ...] = ()
    notes: tuple[str, ...] = ()

    def lines(self) -> list[str]:
        """The explanation as it is printed."""
        near = [f"nearest {told(e, self.statistic)}" for e in self.nearest]
        relaxed = [f"  {way.option} {way.value}: {way.gives}" for way in self.relax]
        return [self.says, *near, *self.notes, *(["to let one in:"] if relaxed else []), *relaxed]

    def to_json(self) -> dict[str, Any]:
        """The explanation as JSON data; `options` of a way are as on the command line."""
        return {
            "binds": self.binds,
            "says": self.says,
            "nearest": [_miss(e, self.statistic) for e in self.nearest],
            "relax": [{"options": way.options, "gives": way.gives} for way in self.relax],
            "notes": [*self.notes],
        }


def explain(story: Story) -> Explanation:
    """What a run without a front has to say for itself."""
    binds, says = _binding(story)
    notes = [*_doubts(story), *_counts(story), *_beyond(story)]
    statistic, near = story.constraints.statistic, tuple(_nearest(story))
    return Explanation(binds, says, statistic, near, ways(story), tuple(notes))


def _binding(story: Story) -> tuple[Binds, str]:
    ceiling, floor = story.constraints.max_latency_ms, story.constraints.min_iou
    if not story.measured:
        tried = any(e.state == "failed" for e in story.evaluations)
        return "time", "no candidate could be measured" if tried else "nothing is measured yet"
    if not story.under:
        return _all_too_slow(story)
    fit = f"{len(story.under)} of {len(story.measured)} measured fit {ceiling:g} ms"
    if not story.both:
        failed = sum(e.state == "failed" for e in story.under)
        why = f": {failed} failed" if failed else ""
        return "time", f"{fit}, and none was trained to a score{why}"
    if meeting := [e for e in story.both if meets(e, story.constraints)]:
        return _almost(story, meeting)
    best = story.both[0]
    least = f"the best of them has IoU {iou_of(best):.4f} of the {floor:g} asked for"
    if story.declaration.budget and story.unfinished(best):
        epoch = f"epoch {epoch_of(best)} of {max(story.rungs)}"
        return "time", f"time binds: {fit}; {least}, trained to {epoch}"
    if accurate := [e for e in story.scored if iou_of(e) >= floor]:
        from_ms = min(map(story.ms, accurate))
        return "both", (
            f"ceiling and floor bind together: {fit}, and {least}; the floor is met from "
            f"{from_ms:.3g} ms on"
        )
    return "floor", f"the floor binds: {fit}, and {least}"


def _all_too_slow(story: Story) -> tuple[Binds, str]:
    ceiling, floor = story.constraints.max_latency_ms, story.constraints.min_iou
    fastest = min(story.measured, key=story.ms)
    asked, timed = story.constraints.statistic, fastest.measurement
    says = (
        f"nothing meets {ceiling:g} ms: the fastest of {len(story.measured)} measured needs "
        f"{story.ms(fastest):.3g} ms ({timed.supported(asked) if timed else asked})"
    )
    best = max(map(iou_of, story.scored), default=None)
    if best is None or best >= floor:
        return "ceiling", f"the ceiling binds: {says}"
    return "both", (
        f"ceiling and floor both bind: {says}, and the best IoU is {best:.4f} of the {floor:g} "
        "asked for"
    )


def _almost(story: Story, meeting: Sequence[Evaluation]) -> tuple[Binds, str]:
    """Some meet both figures: they wait, or are not sure enough."""
    waiting = sum(e.state not in ("rejected", "confirmed") for e in meeting)
    if waiting:
        return "time", f"{waiting} meet both figures and are not confirmed yet"
    nearest = max(meeting, key=lambda e: e.p_feasible or 0.0)
    sure = [surely_fast(nearest, story.constraints), surely_accurate(nearest, story.constraints)]
    binds: Binds = {(True, False): "floor", (False, True): "ceiling"}.get(
        (sure[0], sure[1]), "both"
    )  # type: ignore[assignment]
    return binds, (
        f"{len(meeting)} met both figures without being sure enough: "
        f"P {nearest.p_feasible or 0.0:.2f} at most, and {MIN_P_FEASIBLE} is needed"
    )


def _nearest(story: Story) -> list[Evaluation]:
    """The nearest misses: a doubled ceiling counts as much as a tenth of IoU."""
    if not story.scored:
        return sorted(story.measured, key=story.ms)[: 1 if story.measured else 0]

    def away(evaluation: Evaluation) -> float:
        over = math.log2(story.ms(evaluation) / story.constraints.max_latency_ms)
        short = story.constraints.min_iou - iou_of(evaluation)
        return max(0.0, over) + 10 * max(0.0, short) - 1e-3 * iou_of(evaluation)

    points = [(story.ms(e), iou_of(e)) for e in story.scored]
    kept = [story.scored[i] for i in nondominated(points)]
    return sorted(kept, key=away)[:SHOWN]


def _doubts(story: Story) -> list[str]:
    unsure = sum(meets(e, story.constraints) and e.state == "rejected" for e in story.both)
    if not unsure:
        return []
    return ["more pictures in val would narrow the interval of the IoU"]


def _counts(story: Story) -> list[str]:
    """How many candidates fell out, and why the first of them failed."""
    slow = sum(e.state == "too_slow" for e in story.evaluations)
    failed = [e for e in story.evaluations if e.state == "failed"]
    parts = [f"{slow} too slow" if slow else "", f"{len(failed)} failed" if failed else ""]
    if not any(parts):
        return []
    says = [f"of {len(story.evaluations)} candidates: {', '.join(filter(None, parts))}"]
    if failed:
        says.append(f"the first failure ({failed[0].candidate.key}): {failed[0].error}")
    return says


def _beyond(story: Story) -> list[str]:
    effort = story.declaration.effort != EFFORTS[-1]
    ways = ["a higher --effort" if effort else "another --space", "a faster device"]
    if story.device is not None:
        ways[0] = f"a run of {ways[0]}"
    return [f"not known from this run: what {' or '.join(ways)} would give"]


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
