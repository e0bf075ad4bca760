"""The protocol of a pool: where training jobs run."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from contextlib import AbstractContextManager
from typing import Protocol

from autoseg.core.errors import CandidateError
from autoseg.core.records import Job, SlotKind, Trained

Outcome = tuple[Job, Trained | CandidateError]
MAX_LOSSES = 3  # workers that a job may lose before it counts as the candidate's fault
MAX_SILENCE_S = 600.0  # of a worker that takes no step: it is ended, and counts as lost


class Pool(Protocol):
    """Runs training jobs in slots of its own. Its verbs raise DeviceError for a machine's fault.

    A job and its outcome travel as data. No disk is shared with where a job runs, except the
    checkpoints, which `train.checkpoints` keeps.
    """

    @property
    def capacity(self) -> int:
        """How many jobs it can run side by side at this moment."""

    @property
    def kind(self) -> SlotKind:
        """What most of its slots train on."""

    @property
    def running(self) -> Collection[Job]:
        """Submitted jobs that have not ended: being trained, or waiting for a slot."""

    def start(self) -> None:
        """Fill the slots with idle workers, ahead of the first job."""

    def submit(self, job: Job) -> None:
        """Run a job as soon as a slot is free."""

    def wait(self, timeout_s: float) -> Iterable[Outcome]:
        """The jobs that have ended, waiting at most `timeout_s` for the first of them."""

    def changes(self) -> Iterable[str]:
        """What has happened to its slots since the last call, for the ledger: a sentence each."""

    def paused(self) -> AbstractContextManager[None]:
        """No job uses this machine's cores meanwhile."""

    def cancel(self) -> None:
        """End all jobs; a later run of the same job goes on from its last checkpoint."""

    def close(self) -> None:
        """End the pool; closing twice is fine."""
