"""What letting a model in would take, as far as the ledger of a run shows.

What would be let in is held to the rule of confirming, P(latency and IoU hold) >= 0.9: ends of
95 % intervals are compared, never the figures themselves.
"""

from __future__ import annotations

import math
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from autoseg.core.feasibility import MIN_P_FEASIBLE, latency_ci_ms, p_latency_met, probability_over
from autoseg.core.pareto import meets
from autoseg.core.records import Constraints, Evaluation, Statistic
from autoseg.run.declaration import Declaration
from autoseg.search.status import epoch_of

EACH = math.sqrt(
    MIN_P_FEASIBLE
)  # where latency and IoU are both that sure, the two together are sure enough


class Relaxation(NamedTuple):
    """One way to let a model in: ``option value`` as on the command line, and what it gives."""

    option: str
    value: str
    gives: str

    @property
    def options(self) -> dict[str, str]:
        """The same by option: one that changes a little of both has two."""
        words = [self.option, *self.value.split()]
        first, value = words[0], " ".join(words[1:2])
        return {first: value, **dict(zip(words[2::2], words[3::2], strict=True))}


@dataclass(frozen=True)
class Story:
    """What there is to explain: a run as one device sees it. `rungs` are its epochs."""

    evaluations: Sequence[Evaluation]
    declaration: Declaration
    run: str
    spent_s: float
    device: str | None = None
    rungs: tuple[int, ...] = ()

    @property
    def constraints(self) -> Constraints:
        return self.declaration.constraints

    @cached_property
    def measured(self) -> list[Evaluation]:
        return [e for e in self.evaluations if e.measurement]

    @cached_property
    def under(self) -> list[Evaluation]:
        """What fits the ceiling, whatever became of it."""
        return [e for e in self.measured if self._fits(e)]

    @cached_property
    def scored(self) -> list[Evaluation]:
        """What has both figures; on another device also what is too slow there."""
        return [e for e in self.measured if e.iou is not None and e.state != "failed"]

    @cached_property
    def both(self) -> list[Evaluation]:
        """What is under the ceiling and has an IoU, the best first."""
        return sorted((e for e in self.scored if self._fits(e)), key=iou_of, reverse=True)

    def _fits(self, evaluation: Evaluation) -> bool:
        at = self.ms(evaluation)
        return evaluation.state != "too_slow" and at <= self.constraints.max_latency_ms

    def ms(self, evaluation: Evaluation) -> float:
        measurement = evaluation.measurement
        return measurement.latency_ms(self.constraints.statistic) if measurement else math.inf

    def unfinished(self, evaluation: Evaluation) -> bool:
        """Whether its training could go on."""
        going = evaluation.state in ("measured", "scored", "rejected", "confirmed")
        return going and epoch_of(evaluation) < max(self.rungs, default=0)


def ways(story: Story) -> tuple[Relaxation, ...]:
    """All ways to let a model in, those whose outcome the ledger shows first."""
    return (*_relaxed(story), *_slower(story), *_longer(story))


class _Need(NamedTuple):
    """The constraints under which a model would be sure enough."""

    ceiling_ms: float
    floor: float
    of: Evaluation


def _needs(story: Story) -> list[_Need]:
    asked, found = story.constraints, []
    for evaluation in story.scored:
        ceiling_ms, floor = asked.max_latency_ms, asked.min_iou
        if not surely_fast(evaluation, asked):
            ceiling_ms = max(ceiling_ms, _roomy_ms(evaluation, asked.statistic))
        if not surely_accurate(evaluation, asked):
            floor = _low_iou(evaluation)
        found.append(_Need(ceiling_ms, floor, evaluation))
    return [need for need in found if need.floor > 0]


def _relaxed(story: Story) -> list[Relaxation]:
    """What a lower floor, a higher ceiling, and a little of both would let in."""
    asked, needs = story.constraints, _needs(story)
    fast = [n for n in needs if n.ceiling_ms <= asked.max_latency_ms and n.floor < asked.min_iou]
    slow = [n for n in needs if n.ceiling_ms > asked.max_latency_ms]
    accurate = [n for n in slow if n.floor >= asked.min_iou]
    lower = max(fast, key=lambda n: (n.floor, -story.ms(n.of)), default=None)
    higher = min(accurate, key=lambda n: (n.ceiling_ms, -iou_of(n.of)), default=None)
    least, most = lower.floor if lower else 0.0, higher.ceiling_ms if higher else math.inf
    between = [n for n in slow if least < n.floor < asked.min_iou and n.ceiling_ms < most]
    middle = min(between, key=lambda n: math.log2(n.ceiling_ms) - 10 * n.floor, default=None)
    return [_way(need, story) for need in (lower, higher, middle) if need]


def _way(need: _Need, story: Story) -> Relaxation:
    words, asked = [], story.constraints
    if need.ceiling_ms > asked.max_latency_ms:
        words += ["--max-latency", f"{need.ceiling_ms:g}ms"]
    if need.floor < asked.min_iou:
        words += ["--min-iou", f"{need.floor:g}"]
    gives = f"{need.of.candidate.key} with {figures(need.of, asked.statistic)}; {stands(need.of)}"
    if story.device is not None and "--min-iou" in words:
        gives += " (the floor here is the run's: begin a run with that one)"
    return Relaxation(words[0], " ".join(words[1:]), gives)


def _slower(story: Story) -> list[Relaxation]:
    """What the ceiling shuts out without anybody knowing its IoU."""
    asked = story.constraints
    known = [need for need in _needs(story) if need.floor >= asked.min_iou]
    untrained = sorted(
        (e for e in story.measured if e.iou is None and e.state == "too_slow"), key=story.ms
    )
    if known or not untrained:
        return []
    chosen = untrained[0]
    value = f"{_roomy_ms(chosen, asked.statistic):g}ms"
    gives = f"{chosen.candidate.key} ({chosen.candidate}) would fit"
    return [Relaxation("--max-latency", value, f"{gives}; it is untrained, its IoU is not known")]


def _longer(story: Story) -> list[Relaxation]:
    """What training is left to do, of which nobody knows what it gives."""
    untrained = sum(e.state == "measured" and e.iou is None for e in story.under)
    going = [epoch_of(e) for e in story.both if story.unfinished(e)]
    waiting = sum(meets(e, story.constraints) and e.state == "scored" for e in story.both)
    left = [f"{untrained} untrained"] if untrained else []
    if going:
        left += [f"{len(going)} trained to epoch {max(going)} of {max(story.rungs)} at most"]
    left += [f"{waiting} not confirmed"] if waiting else []
    if not left:
        return []
    where = f"with `{shlex.join(['autoseg', 'optimize', '--resume', '--name', story.run])}`"
    then = ", then this again" if story.device is not None else ""
    gives = f"{where}{then}: of those that fit, {', '.join(left)}; what more gives is not known"
    declared = story.declaration
    if declared.budget is None and declared.trials is not None:
        return [Relaxation("--trials", str(2 * declared.trials), gives)]
    return [Relaxation("--budget", _twice(story), gives)]


def _twice(story: Story) -> str:
    """Twice the time, as a duration."""
    seconds = 2 * max(story.declaration.budget_s or 0.0, story.spent_s)
    minutes = math.ceil(seconds / 60)
    return f"{minutes}m" if minutes < 180 else f"{math.ceil(minutes / 60)}h"


def surely_fast(evaluation: Evaluation, asked: Constraints) -> bool:
    measurement = evaluation.measurement
    return measurement is not None and p_latency_met(measurement, asked) >= EACH


def surely_accurate(evaluation: Evaluation, asked: Constraints) -> bool:
    score = evaluation.score("val")
    if score is None:
        return False
    known = score.p_floor
    return (probability_over(score, asked.min_iou) if known is None else known) >= EACH


def _roomy_ms(evaluation: Evaluation, statistic: Statistic) -> float:
    """A ceiling that it would surely meet, of two digits; a short timing gets a tenth of room."""
    measurement = evaluation.measurement
    if measurement is None:
        return math.inf
    high = max(latency_ci_ms(measurement, statistic)[1], measurement.p50_ci_ms[1])
    if measurement.phase == "screen":
        high = max(high, 1.1 * measurement.latency_ms(statistic))
    step = 10.0 ** (math.floor(math.log10(high)) - 1)
    return float(f"{math.ceil(high / step - 1e-9) * step:.6g}")


def _low_iou(evaluation: Evaluation) -> float:
    """A floor that it would surely meet, of three digits; 0 where there is none."""
    score = evaluation.score("val")
    return math.floor(1000 * score.iou_ci95[0] + 1e-9) / 1000 if score else 0.0


def told(evaluation: Evaluation, statistic: Statistic) -> str:
    """One model in words: key, knobs, figures with their 95 % intervals, and where it stands."""
    name = f"{evaluation.candidate.key} ({evaluation.candidate})"
    return f"{name}: {figures(evaluation, statistic)}; {stands(evaluation)}"


def figures(evaluation: Evaluation, statistic: Statistic) -> str:
    """Latency and IoU with their 95 % intervals, as far as they are known."""
    parts = []
    if measurement := evaluation.measurement:
        name = measurement.supported(statistic)
        low, high = latency_ci_ms(measurement, statistic)
        at = measurement.latency_ms(name)
        parts.append(f"{name} {at:.3g} ms ({low:.3g} to {high:.3g})")
    if score := evaluation.score("val"):
        low, high = score.iou_ci95
        parts.append(f"IoU {score.iou:.4f} ({low:.4f} to {high:.4f})")
    return ", ".join(parts) or "nothing is known of it"


def stands(evaluation: Evaluation) -> str:
    """How far it has come, and so what its IoU is of."""
    if evaluation.promised:
        return f"{evaluation.state}: its IoU is of the exported file"
    if evaluation.iou is None:
        return "untrained" if evaluation.state != "failed" else "failed"
    score = evaluation.score("val")
    after = " and decayed" if score and score.decayed else ""
    stopped = ", then stopped" if evaluation.state == "stopped" else ""
    return f"trained to epoch {epoch_of(evaluation)}{after}{stopped}, not confirmed"


def iou_of(evaluation: Evaluation) -> float:
    return evaluation.iou or 0.0
