"""The protocol of a scheduler: which steps it may choose, and what it must answer."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from autoseg.core.records import Candidate, Evaluation, Job

Evaluations = Mapping[str, Evaluation]


@dataclass(frozen=True)
class Screen:
    """Measure this candidate, untrained."""

    candidate: Candidate


@dataclass(frozen=True)
class Wait:
    """Nothing to start until a job ends."""


@dataclass(frozen=True)
class Done:
    """Nothing left that is worth starting."""


Step = Screen | Job | Wait | Done


@dataclass(frozen=True)
class Outlook:
    """Where the search stands and what going on for `horizon_s` seconds is expected to add.

    Hypervolumes are over ln(latency) x IoU above (ceiling, floor), of what finishing now would
    give. `gain_iou` is the expected gain as an average rise of the front over ln(latency);
    it is at most `gain_iou_at_most` with P = 0.9.
    """

    hypervolume: float
    horizon_s: float
    gain_hypervolume: float
    gain_iou: float
    gain_iou_at_most: float


class Scheduler(Protocol):
    """Decides what to do next from the evaluations alone, so that resuming needs no more."""

    def survey(self) -> Sequence[Candidate]: ...
    def verdict(self, evaluations: Evaluations) -> Sequence[str]: ...
    def plan(
        self, evaluations: Evaluations, left_s: float | None, spent_s: float
    ) -> Sequence[str]: ...
    def propose(
        self, evaluations: Evaluations, running: Collection[Job], remaining_s: float | None
    ) -> Step: ...
    def stops(
        self, evaluations: Evaluations, running: Collection[Job]
    ) -> Sequence[tuple[Candidate, str]]: ...
    def finalists(self, evaluations: Evaluations, remaining_s: float | None) -> Sequence[Job]: ...
    def outlook(
        self, evaluations: Evaluations, running: Collection[Job], horizon_s: float
    ) -> Outlook | None: ...
    def finish_s(self, evaluations: Evaluations, jobs: Sequence[Job]) -> float: ...
