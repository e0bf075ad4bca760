"""Seconds of training and finishing, from the counted cost and the seconds that this run took."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from statistics import median

import numpy as np

from autoseg.core.errors import CandidateError
from autoseg.core.records import Candidate, Cost, Evaluation, Job, MeasurePlan
from autoseg.core.units import Choice
from autoseg.device.timing import MAX_CI_WIDTH
from autoseg.networks.cost import Uninitialized, cost
from autoseg.networks.space import SearchSpace
from autoseg.search.gp import Array
from autoseg.search.overheads import Overheads
from autoseg.search.protocol import Evaluations
from autoseg.search.status import decayed
from autoseg.train.recipe import Recipe
from autoseg.train.task import build_candidate

# Seconds of one training step per picture before anything was observed: augmentation, and memory
# traffic, which ranks small networks better than MACs do.
PRIOR_PICTURE_S = 1.5e-3
PRIOR_BYTE_S = 4e-10
CONFIRM_S = 1.0  # export and check of one finalist, beside its training, timing and scores
TIMING_OVERHEAD = 1.3  # factor: the reference's blocks, and those that are timed again
# A confirming measurement takes place in so many processes: each is started and loads the model,
# about half of what a screening takes, and warms up.
CONFIRM_PROCESSES, SCREEN_SHARE, WARM_UP_S = 3, 0.5, 0.5
# The interval of the p90 over the median's, for normally distributed runs.
P90_INTERVAL_RATIO = 1.4
USEFUL_RUNG = 2  # index of the rung from which a finish makes sense: 27 epochs by default


@dataclass(frozen=True, kw_only=True)
class TrainingTime:
    """Predicts the seconds of an epoch, of a finish, and counts the cost that they depend on.

    Each network is counted once, at the baseline's size: MACs and traffic go with the area.
    `outputs` are the network's output channels, `pictures` those of one epoch, `overheads` the
    seconds of all else.
    """

    space: SearchSpace
    recipe: Recipe
    outputs: int
    pictures: int
    workers: int
    channel_step: int = 1
    overheads: Overheads = Overheads()
    _counted: dict[tuple[tuple[str, Choice], ...], Cost | CandidateError] = field(
        default_factory=dict
    )

    def cost(self, candidate: Candidate) -> Cost:
        """The counted cost of its network at the candidate's resolution.

        Raises CandidateError where its network cannot be built.
        """
        rest = tuple((name, value) for name, value in candidate.choices if name != "resolution")
        if rest not in self._counted:
            try:
                with Uninitialized():
                    net = build_candidate(self.space, candidate, self.outputs, self.channel_step)
                self._counted[rest] = cost(net, self.space.baseline.input_hw)
            except CandidateError as error:
                self._counted[rest] = error
        base = self._counted[rest]
        if isinstance(base, CandidateError):
            raise base
        area = math.prod(candidate.input_hw) / math.prod(self.space.baseline.input_hw)
        return base.at(area)

    def buildable(self, candidate: Candidate) -> bool:
        """Whether its network can be built and counted: a user's own may refuse some knobs."""
        try:
            self.cost(candidate)
        except CandidateError:
            return False
        return True

    def epoch_s(self, candidate: Candidate, evaluations: Evaluations) -> float:
        """Seconds of one epoch of training."""
        known = evaluations.get(candidate.key)
        counted = (known.cost if known else None) or self.cost(candidate)
        return float(self.epochs_s([counted], evaluations)[0])

    def epochs_s(self, costs: Sequence[Cost], evaluations: Evaluations) -> Array:
        """Seconds of one epoch of each; ``[n]``."""
        ratio = observed_ratio(self.pictures, evaluations.values())
        return ratio * np.array([prior_epoch_s(cost, self.pictures) for cost in costs])

    def affordable(
        self, candidate: Candidate, evaluations: Evaluations, left_s: float | None
    ) -> bool:
        """Whether it can be trained, in the time left, to a rung that is worth a finish."""
        if left_s is None:
            return True
        useful = useful_rung(self.recipe)
        epochs = useful + self.recipe.decay_epochs(useful)
        return epochs * self.epoch_s(candidate, evaluations) < left_s

    def finish_s(self, jobs: Sequence[Job], evaluations: Evaluations) -> float:
        """Seconds to decay, export, time and score these: trained side by side, timed in turn."""
        train_s = [
            self.job_s(job, evaluations)
            for job in jobs
            if not decayed(evaluations[job.candidate.key])
        ]
        together_s = max(sum(train_s) / self.workers, max(train_s, default=0.0))
        confirms_s = sum(self._confirm_s(evaluations[j.candidate.key], evaluations) for j in jobs)
        return 1.1 * together_s + self._confirm_ratio(evaluations) * confirms_s

    def job_s(self, job: Job, evaluations: Evaluations) -> float:
        """Seconds of one job, with its score and with what it reads for the first time."""
        known, hw = evaluations.values(), job.candidate.input_hw
        epochs_s = (job.to_epoch - job.from_epoch) * self.epoch_s(job.candidate, evaluations)
        return epochs_s + self.overheads.job_s(known) + self.overheads.prepare_s(hw, known)

    def _confirm_s(self, evaluation: Evaluation, evaluations: Evaluations) -> float:
        """Seconds of the final check of one model, before any was seen."""
        process_s = SCREEN_SHARE * self.overheads.screen_s(evaluations.values()) + WARM_UP_S
        timing_s = CONFIRM_PROCESSES * process_s + _timing_s(evaluation)
        return CONFIRM_S + timing_s + self.overheads.check_s()

    def _confirm_ratio(self, evaluations: Evaluations) -> float:
        """Seconds of final checks that this run took, divided by those that were expected."""
        ratios = [
            e.confirmed_s / self._confirm_s(e, evaluations)
            for e in evaluations.values()
            # One that misses the floor is timed for a moment only.
            if e.confirmed_s and e.measurement and e.measurement.phase == "confirm"
        ]
        return median(ratios) if ratios else 1.0


def useful_rung(recipe: Recipe) -> int:
    """The epochs from which a finish makes sense; the longest rung where there are few."""
    return recipe.rungs[min(USEFUL_RUNG, len(recipe.rungs) - 1)]


def _timing_s(evaluation: Evaluation) -> float:
    """Seconds of the runs of a confirming measurement, from the noise of the screening."""
    plan = MeasurePlan.confirm()
    if not evaluation.measurements:
        return plan.max_s
    screened = evaluation.measurements[0]
    low, high = screened.p50_ci_ms
    width = P90_INTERVAL_RATIO * (high - low) / screened.p50_ms
    runs = screened.runs * (width / MAX_CI_WIDTH) ** 2
    runs = min(max(runs, plan.min_runs), plan.max_runs)
    timed_s = min(max(runs * screened.mean_ms / 1e3, plan.min_s), plan.max_s)
    return TIMING_OVERHEAD * timed_s


def observed_ratio(pictures: int, evaluations: Iterable[Evaluation]) -> float:
    """Seconds of training that this run took, divided by those that the prior predicts."""
    ratios = []
    for evaluation in evaluations:
        score = evaluation.score("val", source="torch")
        if score and evaluation.cost and score.epoch:
            ratios.append(score.train_s / score.epoch / prior_epoch_s(evaluation.cost, pictures))
    return median(ratios[-15:]) if ratios else 1.0


def prior_epoch_s(cost: Cost, pictures: int) -> float:
    """Seconds of one epoch, predicted before anything was observed."""
    return pictures * (PRIOR_PICTURE_S + PRIOR_BYTE_S * cost.activation_bytes)
