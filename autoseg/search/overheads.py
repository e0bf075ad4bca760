"""Seconds of a run beside the epochs of its trainings, learned from the run where it has any.

Before that they are priors by the number and the size of the pictures.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from statistics import median

from autoseg.core.records import Evaluation
from autoseg.core.units import HW
from autoseg.search.status import undecayed

SCREEN_S = 2.0  # export and timing of an untrained network, before one was measured
WORKER_START_S = 2.0  # what is left of the imports when the first job is handed to a worker
JOB_S = 1.0  # checkpoint and contact sheet of one job, beside its epochs and its scoring
FILES_S = 2.5  # front, plot, study and report, and the end of the process
BUNDLE_S, PROFILE_S = 0.6, 1.5  # of each confirmed model
# Of one picture: decoded, and resized with its mask to one input size; scored at its own size.
READ_PICTURE_S, READ_PIXEL_S = 1e-3, 2.5e-8
SCORE_PICTURE_S, SCORE_PIXEL_S = 2e-3, 6e-9
NEWEST = 15  # of the run's own figures that count


@dataclass(frozen=True, kw_only=True)
class Overheads:
    """How many pictures each step reads, and their mean number of pixels.

    `train` are those of an epoch, `scored` the part of `val` that a rung is scored on.
    """

    train: int = 0
    scored: int = 0
    val: int = 0
    test: int = 0
    pixels: float = 0.0

    def prepare_s(self, hw: HW, evaluations: Iterable[Evaluation]) -> float:
        """Seconds to decode and resize what the first job of an input size reads."""
        known = any(e.candidate.input_hw == hw and e.scores for e in evaluations)
        return 0.0 if known else self._read_s(self.train + self.scored)

    def job_s(self, evaluations: Iterable[Evaluation]) -> float:
        """Seconds of a job beside its epochs: checkpoint, and its score on val."""
        observed = [s for e in evaluations if (s := _beside_epochs_s(e)) is not None]
        prior = JOB_S + self._score_s(self.scored)
        return median(observed[-NEWEST:]) if observed else prior

    def screen_s(self, evaluations: Iterable[Evaluation]) -> float:
        """Seconds of one screening: build, export, timing."""
        observed = [e.screened_s for e in evaluations if e.screened_s is not None]
        return median(observed[-NEWEST:]) if observed else SCREEN_S

    def check_s(self) -> float:
        """Seconds of the final check of one model on val, and of its score on test."""
        return self._read_s(self.val - self.scored + self.test) + self._score_s(
            self.val + self.test
        )

    def files_s(self, models: int) -> float:
        """Seconds from the last final check to the prompt."""
        return FILES_S + (BUNDLE_S + PROFILE_S) * models

    def _read_s(self, pictures: int) -> float:
        return pictures * (READ_PICTURE_S + READ_PIXEL_S * self.pixels)

    def _score_s(self, pictures: int) -> float:
        return pictures * (SCORE_PICTURE_S + SCORE_PIXEL_S * self.pixels)


def _beside_epochs_s(evaluation: Evaluation) -> float | None:
    """Mean seconds of its jobs beside the epochs; None where they are not known."""
    jobs = [s for s in evaluation.scores if s.split == "val" and s.source == "torch"]
    if not jobs or not evaluation.jobs_s or undecayed(evaluation) is None:
        return None
    return max(0.0, evaluation.jobs_s - jobs[-1].train_s) / len(jobs)
