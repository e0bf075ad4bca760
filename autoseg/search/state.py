"""What the evaluations say at one moment: who stands where, and what each may still become."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import NormalDist, median

import numpy as np

from autoseg.core.feasibility import MIN_P_FEASIBLE, p_latency_met
from autoseg.core.pareto import Point
from autoseg.core.records import Constraints, Evaluation, Job
from autoseg.search.acquisition import Steps, probability_over
from autoseg.search.candidate_set import Ground
from autoseg.search.gp import Array
from autoseg.search.protocol import Evaluations
from autoseg.search.status import decayed, epoch_of, p50, undecayed
from autoseg.search.surrogate import MIN_ERROR, Seen, Surrogate
from autoseg.train.recipe import Recipe

MIN_P_SIGMAS = NormalDist().inv_cdf(MIN_P_FEASIBLE)
CI95_SIGMAS = 3.92  # from one end of a 95 % interval to the other


@dataclass(frozen=True)
class View:
    """The posterior, the constraints, and which evaluations are alive.

    `floor` is the IoU that a promise needs: the user's and what the pictures of val leave unsure.
    """

    ground: Ground
    recipe: Recipe
    constraints: Constraints
    evaluations: Evaluations
    running: Collection[Job]
    surrogate: Surrogate

    @cached_property
    def floor(self) -> float:
        # An interval is about as wide as the error is large.
        widths = [
            (s.iou_ci95[1] - s.iou_ci95[0]) / max(1 - s.iou, 1e-6)
            for e in self.evaluations.values()
            if (s := undecayed(e))
        ]
        share = median(widths) / CI95_SIGMAS if widths else 0.0
        margin = MIN_P_SIGMAS * share * (1 - self.constraints.min_iou)
        return min(self.constraints.min_iou + margin, 1 - 1e-9)

    @cached_property
    def ceiling_ms(self) -> float:
        """The median under which the promised statistic is expected to meet the ceiling."""
        limit_ms, statistic = self.constraints.max_latency_ms, self.constraints.statistic
        measured = [e.measurement for e in self.evaluations.values() if e.measurement]
        tails = [m.latency_ms(statistic) / m.p50_ms for m in measured]
        return limit_ms / median(tails) if tails else limit_ms

    @cached_property
    def alive(self) -> list[Evaluation]:
        """Trained, and neither stopped nor settled nor failed."""
        return [e for e in self.evaluations.values() if e.state == "scored" and self.known(e)]

    def known(self, evaluation: Evaluation) -> bool:
        return undecayed(evaluation) is not None and self.row(evaluation) is not None

    def row(self, evaluation: Evaluation) -> int | None:
        return self.ground.rows.get(evaluation.candidate.key)

    def after(self, evaluations: Sequence[Evaluation], epochs: Sequence[int]) -> Array:
        """``[2, n]``: mean and standard deviation of the log error after epochs and decay."""
        rows = [self.ground.rows[e.candidate.key] for e in evaluations]
        return np.array(self.surrogate.predict(rows, epochs)).reshape(2, -1)

    @cached_property
    def finished(self) -> dict[str, tuple[float, float]]:
        """Mean and standard deviation of the log error that finishing now would give, by key."""
        alive = [e for e in self.alive if not decayed(e)]
        mean, sd = self.after(alive, [epoch_of(e) for e in alive])
        pairs = zip(map(float, mean), map(float, sd), strict=True)
        found = {e.candidate.key: pair for e, pair in zip(alive, pairs, strict=True)}
        for e in self.evaluations.values():  # what a decay or a confirmation has shown
            if e.iou is not None and (e.state == "confirmed" or (e in self.alive and decayed(e))):
                found[e.candidate.key] = math.log(max(MIN_ERROR, 1 - e.iou)), 0.0
        return found

    @cached_property
    def now(self) -> dict[str, float]:
        """The IoU that finishing now is expected to give each that is trained, by key."""
        return {key: _iou(mean, sd) for key, (mean, sd) in self.finished.items()}

    @cached_property
    def soon(self) -> dict[str, float]:
        """The IoU that the running jobs are expected to make possible, by key."""
        jobs = [j for j in self.running if j.candidate.key in self.ground.rows]
        if not jobs:
            return {}
        rows = [self.ground.rows[j.candidate.key] for j in jobs]
        mean, sd = self.surrogate.predict(rows, [j.to_epoch for j in jobs])
        return {j.candidate.key: _iou(m, s) for j, m, s in zip(jobs, mean, sd, strict=True)}

    @cached_property
    def steps(self) -> Steps:
        """The front of what finishing now, and the jobs that run, would give."""
        best = {**self.now, **self.soon}
        return self.steps_of(
            [
                (p50(e), iou)
                for key, iou in best.items()
                if self.p_latency_met(e := self.evaluations[key]) > 0.5
            ]
        )

    def p_latency_met(self, evaluation: Evaluation) -> float:
        """P(the promised statistic is under the ceiling) of one that is measured, else 0."""
        measured = evaluation.measurement
        return p_latency_met(measured, self.constraints) if measured else 0.0

    def steps_of(self, points: Sequence[Point]) -> Steps:
        return Steps.of(points, self.ceiling_ms, self.floor)

    def gain(self, log_ms: Array, log_sd: Array, mean: Array, sd: Array) -> Array:
        """What each would add alone; while nothing meets the floor, the chance that it does."""
        if self.steps.empty:
            return probability_over(self.floor, mean, sd)
        return self.steps.expected_gain(log_ms, mean, sd, log_sd)


def observed(ground: Ground, evaluations: Evaluations) -> list[Seen]:
    """All scores that the surrogate learns from; a decayed one counts at the rung it left."""
    seen = []
    for e in evaluations.values():
        row, rung = ground.rows.get(e.candidate.key), 0
        for score in e.scores if row is not None else ():
            if score.split != "val" or score.source != "torch" or row is None:
                continue
            rung = rung if score.decayed else score.epoch
            if rung:
                seen.append(Seen(row, rung, score.decayed, score.iou))
    return seen


def _iou(mean: float, sd: float) -> float:
    return 1 - math.exp(mean + sd**2 / 2)
