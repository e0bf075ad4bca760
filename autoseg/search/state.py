"""Search state: the fitted models, the constraints, and each candidate's forecast."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from statistics import NormalDist, median
from typing import Generic, TypeVar

import numpy as np

from autoseg.core.feasibility import MIN_P_FEASIBLE, p_latency_met
from autoseg.core.pareto import Point
from autoseg.core.records import Candidate, Constraints, Evaluation, Job, SlotKind
from autoseg.networks.space import SearchSpace
from autoseg.search.acquisition import StepFront, p_iou_met
from autoseg.search.candidate_set import CandidateSet
from autoseg.search.gp import Array
from autoseg.search.latency import measured_model
from autoseg.search.proposers.space import known_candidates, smallest
from autoseg.search.protocol import Evaluations
from autoseg.search.status import decayed, epoch_of, p50_ms, undecayed
from autoseg.search.surrogate import MIN_ERROR, RungScore, Surrogate
from autoseg.search.training_time import TrainingTime
from autoseg.train.recipe import Recipe

T = TypeVar("T")

MAX_CANDIDATES = 4000  # that are weighed against each other; larger spaces are sampled
MAX_SURVEYED = 28  # untrained networks that are measured before anything is trained
MIN_P_SIGMAS = NormalDist().inv_cdf(MIN_P_FEASIBLE)
CI95_SIGMAS = 3.92  # from one end of a 95 % interval to the other
# Below the ceiling, in ln ms, with sd 1: the prior before six latencies are measured.
PRIOR_BELOW_CEILING = 0.1


@dataclass(frozen=True, kw_only=True)
class SearchProblem:
    """What is searched and within which limits; `budget_s` and `trials` are None without limit."""

    space: SearchSpace
    effort: str
    constraints: Constraints
    recipe: Recipe
    training_time: TrainingTime
    seed: int
    budget_s: float | None = None
    trials: int | None = None


class Latest(Generic[T]):
    """The latest result, kept with its inputs and made again when they differ.

    So dropping it costs time and changes no decision.
    """

    def __init__(self) -> None:
        self._kept: tuple[object, T] | None = None

    def get(self, inputs: object, make: Callable[[], T]) -> T:
        """The kept result if it was made from equal inputs, else a new one."""
        if self._kept is None or self._kept[0] != inputs:
            self._kept = inputs, make()
        return self._kept[1]


@dataclass(frozen=True)
class SearchCache:
    """The one place where a search keeps results between two decisions."""

    candidates: Latest[CandidateSet] = field(default_factory=Latest)
    surrogate: Latest[Surrogate] = field(default_factory=Latest)
    latency: Latest[tuple[Array, Array] | None] = field(default_factory=Latest)
    reserve_s: Latest[float] = field(default_factory=Latest)


@dataclass(frozen=True, kw_only=True)
class SearchState:
    """What the evaluations say at one moment, with forecasts made on demand.

    `surveyed` are the candidates that are measured first, `running` the jobs in training;
    `measuring` while no device is free to measure another.
    """

    problem: SearchProblem
    candidates: CandidateSet
    surveyed: Sequence[Candidate]
    evaluations: Evaluations
    running: Collection[Job]
    cache: SearchCache
    measuring: bool = False

    @property
    def recipe(self) -> Recipe:
        return self.problem.recipe

    @property
    def may_measure(self) -> bool:
        """Whether a new candidate may be measured: trials are left, and a device is free."""
        trials = self.problem.trials
        return not self.measuring and (trials is None or len(self.evaluations) < trials)

    # -- limits

    @cached_property
    def iou_floor(self) -> float:
        """The IoU that a promise with P >= 0.9 needs, given the number of pictures in val."""
        # An interval is about as wide as the error is large.
        widths = [
            (s.iou_ci95[1] - s.iou_ci95[0]) / max(1 - s.iou, 1e-6)
            for e in self.evaluations.values()
            if (s := undecayed(e))
        ]
        share = median(widths) / CI95_SIGMAS if widths else 0.0
        floor = self.problem.constraints.min_iou
        return min(floor + MIN_P_SIGMAS * share * (1 - floor), 1 - 1e-9)

    @cached_property
    def p50_ceiling_ms(self) -> float:
        """The median under which the promised statistic is expected to meet the ceiling."""
        constraints = self.problem.constraints
        limit_ms, statistic = constraints.max_latency_ms, constraints.statistic
        measured = [e.measurement for e in self.evaluations.values() if e.measurement]
        tails = [m.latency_ms(statistic) / m.p50_ms for m in measured]
        return limit_ms / median(tails) if tails else limit_ms

    # -- models

    @cached_property
    def surrogate(self) -> Surrogate:
        """The IoU model, fitted on all scores."""
        every, scores = self.candidates, rung_scores(self.candidates, self.evaluations)
        return self.cache.surrogate.get(
            (len(every.candidates), scores),
            lambda: Surrogate.fit(every.features, every.trends, self.recipe, scores),
        )

    @property
    def predicts_latency(self) -> bool:
        """Whether enough networks are measured to predict the latency of the others."""
        return self._predicted_log_ms is not None

    @property
    def predicted_log_ms(self) -> tuple[Array, Array]:
        """Mean and standard deviation of ln ms of every candidate, as if it was not measured."""
        if self._predicted_log_ms is not None:
            return self._predicted_log_ms
        count = len(self.candidates.candidates)
        mean = math.log(self.p50_ceiling_ms) - PRIOR_BELOW_CEILING
        return np.full(count, mean), np.ones(count)

    @cached_property
    def _predicted_log_ms(self) -> tuple[Array, Array] | None:
        known = {e.candidate.key: p50_ms(e) for e in self.evaluations.values() if e.measurement}
        return self.cache.latency.get((len(self.candidates.candidates), known), self._predict)

    def _predict(self) -> tuple[Array, Array] | None:
        model = measured_model(self.evaluations.values())
        return model.predict(self.candidates.costs, self.candidates.sizes) if model else None

    def forecast(self, evaluations: Sequence[Evaluation], epochs: Sequence[int]) -> Array:
        """``[2, n]``: mean and standard deviation of the log error after epochs and decay."""
        rows = [self.candidates.rows[e.candidate.key] for e in evaluations]
        return np.array(self.surrogate.predict(rows, epochs)).reshape(2, -1)

    # -- candidates

    @cached_property
    def busy(self) -> set[str]:
        """Keys of the candidates in training."""
        return {job.candidate.key for job in self.running}

    def row(self, evaluation: Evaluation) -> int | None:
        """Its row in the candidate set; None if it cannot be built."""
        return self.candidates.rows.get(evaluation.candidate.key)

    def p_latency_met(self, evaluation: Evaluation) -> float:
        """P(the promised statistic is under the ceiling) of one that is measured, else 0."""
        measured = evaluation.measurement
        return p_latency_met(measured, self.problem.constraints) if measured else 0.0

    @cached_property
    def active(self) -> list[Evaluation]:
        """Trained, and neither stopped nor settled nor failed."""
        scored = [e for e in self.evaluations.values() if e.state == "scored"]
        return [e for e in scored if undecayed(e) is not None and self.row(e) is not None]

    @cached_property
    def log_error_if_finished(self) -> dict[str, tuple[float, float]]:
        """Mean and standard deviation of the log error that finishing now would give, by key."""
        open_ = [e for e in self.active if not decayed(e)]
        mean, sd = self.forecast(open_, [epoch_of(e) for e in open_])
        pairs = zip(map(float, mean), map(float, sd), strict=True)
        found = {e.candidate.key: pair for e, pair in zip(open_, pairs, strict=True)}
        for e in self.evaluations.values():  # known after a decay or a confirmation
            if e.iou is not None and (e.state == "confirmed" or (e in self.active and decayed(e))):
                found[e.candidate.key] = math.log(max(MIN_ERROR, 1 - e.iou)), 0.0
        return found

    @cached_property
    def iou_if_finished(self) -> dict[str, float]:
        """The IoU that finishing now is expected to give each that is trained, by key."""
        return {key: _iou(mean, sd) for key, (mean, sd) in self.log_error_if_finished.items()}

    @cached_property
    def iou_of_running(self) -> dict[str, float]:
        """The IoU that finishing after the running jobs is expected to give, by key."""
        jobs = [j for j in self.running if j.candidate.key in self.candidates.rows]
        rows = [self.candidates.rows[j.candidate.key] for j in jobs]
        mean, sd = self.surrogate.predict(rows, [j.to_epoch for j in jobs])
        return {j.candidate.key: _iou(m, s) for j, m, s in zip(jobs, mean, sd, strict=True)}

    # -- front

    @cached_property
    def front(self) -> StepFront:
        """The front that finishing now, and after the running jobs, would give."""
        return self.front_of(self.points({**self.iou_if_finished, **self.iou_of_running}))

    def points(self, ious: Mapping[str, float]) -> list[Point]:
        """Latency and IoU of those that rather meet the ceiling than not, given IoUs by key."""
        known = [(self.evaluations[key], iou) for key, iou in ious.items()]
        return [(p50_ms(e), iou) for e, iou in known if self.p_latency_met(e) > 0.5]

    def front_of(self, points: Sequence[Point]) -> StepFront:
        return StepFront.of(points, self.p50_ceiling_ms, self.iou_floor)

    def expected_gain(self, log_ms: Array, log_sd: Array, mean: Array, sd: Array) -> Array:
        """Hypervolume that each would add alone; P(IoU met) while nothing meets the floor."""
        if self.front.empty:
            return p_iou_met(self.iou_floor, mean, sd)
        return self.front.expected_gain(log_ms, mean, sd, log_sd)


@dataclass(frozen=True)
class StateBuilder:
    """Makes the state of evaluations, over the candidates of the space and the evaluated ones."""

    problem: SearchProblem
    cache: SearchCache = field(default_factory=SearchCache)

    def state(
        self,
        evaluations: Evaluations,
        running: Collection[Job] = (),
        *,
        measuring: bool = False,
        workers: int = 1,
        kind: SlotKind = "cpu",
    ) -> SearchState:
        """The state of these evaluations, while these jobs are in training on `workers` slots."""
        times = replace(self.problem.training_time, workers=workers, kind=kind)
        return SearchState(
            problem=replace(self.problem, training_time=times),
            candidates=self._including(evaluations),
            surveyed=self.surveyed,
            evaluations=evaluations,
            running=running,
            cache=self.cache,
            measuring=measuring,
        )

    @cached_property
    def proposed(self) -> CandidateSet:
        """The candidates of the space, as far as it can be enumerated."""
        space, effort = self.problem.space, self.problem.effort
        known = known_candidates(space, effort, self.problem.seed, MAX_CANDIDATES)
        return CandidateSet.of(space.knobs_at(effort), known, self.problem.training_time)

    @cached_property
    def surveyed(self) -> Sequence[Candidate]:
        """The candidates that are measured first: at most half of the trials."""
        space, effort = self.problem.space, self.problem.effort
        half = max(1, (self.problem.trials or 2 * MAX_SURVEYED) // 2)
        return self.proposed.spread(
            [space.baseline, smallest(space, effort)], min(MAX_SURVEYED, half)
        )

    def _including(self, evaluations: Evaluations) -> CandidateSet:
        """The proposed candidates, and those that a sampler has named beyond them."""
        known = self.proposed.known_keys
        others = [e.candidate for key, e in evaluations.items() if key not in known]
        if not others:
            return self.proposed
        return self.cache.candidates.get(
            others, lambda: self.proposed.including(others, self.problem.training_time)
        )


def rung_scores(candidates: CandidateSet, evaluations: Evaluations) -> list[RungScore]:
    """All scores that the surrogate learns from; a decayed one counts at the rung it left."""
    found = []
    for e in evaluations.values():
        if (row := candidates.rows.get(e.candidate.key)) is None:
            continue
        rung = 0
        for score in e.scores:
            if score.split == "val" and score.source == "torch":
                rung = rung if score.decayed else score.epoch
                if rung:
                    found.append(RungScore(row, rung, score.decayed, score.iou))
    return found


def _iou(mean: float, sd: float) -> float:
    return 1 - math.exp(mean + sd**2 / 2)
