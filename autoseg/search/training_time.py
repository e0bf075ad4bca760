"""Seconds of training and finishing, from the counted cost and the seconds that this run took."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median

import numpy as np

from autoseg.core.errors import CandidateError
from autoseg.core.records import Candidate, Cost, Evaluation, Job, MeasurePlan, SlotKind
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

# Seconds of one training step before anything was observed, by the kind of slot: for each picture,
# and for each byte of its activations, whose traffic ranks small networks better than MACs do.
# On a CPU a picture costs its augmentation. On a GPU the launches bound a small net's step: on an
# H200, eight trainings side by side make 2,652 pictures/s at 128 px in batches of 8, 331 each. The
# baseline at 512 px makes 225 alone, 4.4 ms a picture: 1.4 ms more, for 151 MB.
PRIORS: Mapping[SlotKind, tuple[float, float]] = {
    "cpu": (1.5e-3, 4e-10),
    "cuda": (3.0e-3, 9.5e-12),
}
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
    seconds of all else. `workers` jobs run side by side on slots of a `kind`, at the moment that
    it predicts for: both may change during a run.
    """

    space: SearchSpace
    recipe: Recipe
    outputs: int
    pictures: int
    workers: int = 1
    kind: SlotKind = "cpu"
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
        ratio = observed_ratio(self.pictures, evaluations.values(), self.kind)
        return ratio * np.array([prior_epoch_s(cost, self.pictures, self.kind) for cost in costs])

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


def observed_ratio(
    pictures: int, evaluations: Iterable[Evaluation], kind: SlotKind = "cpu"
) -> float:
    """Seconds of training that this run took on slots of a kind, over those that were expected."""
    ratios = []
    for evaluation in evaluations:
        epoch_s = _observed_epoch_s(evaluation, kind)
        if epoch_s and evaluation.cost:
            ratios.append(epoch_s / prior_epoch_s(evaluation.cost, pictures, kind))
    return median(ratios[-15:]) if ratios else 1.0


def _observed_epoch_s(evaluation: Evaluation, kind: SlotKind) -> float | None:
    """Mean seconds of the epochs that it was trained on slots of a kind."""
    seconds, epochs = 0.0, 0
    before_s, before = 0.0, 0
    for score in evaluation.scores:
        if score.split == "val" and score.source == "torch":
            if score.trained_on == kind:
                seconds, epochs = seconds + score.train_s - before_s, epochs + score.epoch - before
            if not score.decayed:  # what is trained on goes on from before the decay
                before_s, before = score.train_s, score.epoch
    return seconds / epochs if epochs > 0 else None


def prior_epoch_s(cost: Cost, pictures: int, kind: SlotKind = "cpu") -> float:
    """Seconds of one epoch, predicted before anything was observed."""
    picture_s, byte_s = PRIORS[kind]
    return pictures * (picture_s + byte_s * cost.activation_bytes)
