"""The protocol of a pool: where training jobs run."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from contextlib import AbstractContextManager
from typing import Protocol

from autoseg.core.errors import CandidateError
from autoseg.core.records import Job, Score

Outcome = tuple[Job, Score | CandidateError]


class Pool(Protocol):
    """Runs training jobs in slots of its own. Its verbs raise DeviceError for a machine's fault.

    A job and its outcome travel as data. No disk is shared with where a job runs, except the
    checkpoints, which `train.checkpoints` keeps.
    """

    @property
    def running(self) -> Collection[Job]:
        """Submitted jobs that have not ended: being trained, or waiting for a slot."""

    def start(self) -> None:
        """Fill the slots with idle workers, ahead of the first job."""

    def submit(self, job: Job) -> None:
        """Run a job as soon as a slot is free."""

    def wait(self, timeout_s: float) -> Iterable[Outcome]:
        """The jobs that have ended, waiting at most `timeout_s` for the first of them."""

    def paused(self) -> AbstractContextManager[None]:
        """No job uses this machine's cores meanwhile."""

    def cancel(self) -> None:
        """End all jobs; a later run of the same job goes on from its last checkpoint."""

    def close(self) -> None:
        """End the pool; closing twice is fine."""
