"""The steps of a scheduler, the outlook, and the protocol of proposers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
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
class Observation:
    """One candidate of a proposer's history.

    A candidate over the ceiling is never trained and carries the floor as its IoU: 0, NaN or a
    failure would mislead a sampler.
    """

    candidate: Candidate
    latency_ms: float
    iou: float


class Proposer(Protocol):
    """Names candidates that are worth looking at; the same history gives the same candidates."""

    def propose(self, history: Sequence[Observation], count: int) -> Iterable[Candidate]:
        """At most `count`, best first. They may be made lazily: take no more than needed."""
        ...


@dataclass(frozen=True)
class Outlook:
    """The hypervolume reached, and what searching for `horizon_s` seconds more is expected to add.

    Hypervolumes are over ln(latency) x IoU above (ceiling, floor), of what finishing now would
    give. `gain_iou` is the expected gain as an average rise of the front over ln(latency);
    it is at most `gain_iou_at_most` with P = 0.9.
    """

    hypervolume: float
    horizon_s: float
    gain_hypervolume: float
    gain_iou: float
    gain_iou_at_most: float
