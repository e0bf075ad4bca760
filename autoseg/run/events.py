"""The events of a ledger that are about one candidate, one frozen record per kind.

`docs/concepts.md` lists all kinds and their facts. `read` parses the JSON of a line, `apply` gives
the candidate's evaluation after the event.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from autoseg.core.errors import AutosegError
from autoseg.core.records import Candidate, Cost, Evaluation, Measurement, Score
from autoseg.core.serialize import from_json

Event = dict[str, Any]


@dataclass(frozen=True)
class Proposed:
    """A candidate was chosen; `cost` is None where its network could not be built."""

    candidate: Candidate
    cost: Cost | None


@dataclass(frozen=True)
class Measured:
    """Its network was timed with random weights."""

    measurement: Measurement
    onnx_bytes: int
    too_slow: bool


@dataclass(frozen=True)
class Scored:
    """Its training reached a rung, or ended its decay."""

    score: Score


@dataclass(frozen=True, kw_only=True)
class Checked:
    """The final check of the exported, trained file: confirmed, or rejected with a `reason`."""

    confirmed: bool
    measurement: Measurement
    score: Score
    onnx_bytes: int
    p_feasible: float
    agreement: float | None
    reason: str | None


@dataclass(frozen=True)
class Reopened:
    """A rejected candidate may be trained further; the scores of its final check are void."""


@dataclass(frozen=True)
class Tested:
    """Its IoU on test."""

    score: Score


@dataclass(frozen=True)
class Ended:
    """Stopped early, or failed."""

    failed: bool
    reason: str


@dataclass(frozen=True)
class ScoreShared:
    """In the view of another device: a score of the run (an IoU holds on every device)."""

    score: Score


@dataclass(frozen=True)
class ScoresWithdrawn:
    """In the view of another device: the run reopened the candidate; its state here stays."""


CandidateEvent = (
    Proposed | Measured | Scored | Checked | Reopened | Tested | Ended
    | ScoreShared | ScoresWithdrawn
)  # fmt: skip


def read(event: Mapping[str, Any]) -> CandidateEvent:
    """The record of an event that has a `key`. Raises AutosegError for an unknown kind."""
    match event["event"]:
        case "proposed":
            cost = from_json(Cost, event["cost"]) if event["cost"] else None
            return Proposed(from_json(Candidate, event["candidate"]), cost)
        case "measured":
            return Measured(_measurement(event), event["onnx_bytes"], event["too_slow"])
        case "scored":
            return Scored(_score(event))
        case "confirmed" | "rejected" as kind:
            return Checked(
                confirmed=kind == "confirmed",
                measurement=_measurement(event),
                score=_score(event),
                onnx_bytes=event["onnx_bytes"],
                p_feasible=event["p_feasible"],
                agreement=event.get("agreement"),
                reason=event.get("reason"),
            )
        case "reopened":
            return Reopened()
        case "tested":
            return Tested(_score(event))
        case "stopped" | "failed" as kind:
            return Ended(kind == "failed", event["reason"])
        case "score_shared":
            return ScoreShared(_score(event))
        case "scores_withdrawn":
            return ScoresWithdrawn()
    raise AutosegError(f"the ledger holds an event of an unknown kind {event['event']!r}")


def shared(event: Event) -> Event | None:
    """What another device sees of an event of the run's own device; None: nothing.

    That is each proposal, and each IoU that this machine's runtime has found. The kinds
    `score_shared` and `scores_withdrawn` are never written to a ledger.
    """
    if event["event"] == "proposed":
        return event
    if event["event"] == "reopened":
        return {"event": "scores_withdrawn", "key": event["key"]}
    if "score" in event and event["score"]["source"] != "board":
        return {"event": "score_shared", "key": event["key"], "score": event["score"]}
    return None


def apply(event: CandidateEvent, before: Evaluation | None) -> Evaluation | None:
    """The evaluation after an event; None for one whose candidate was never proposed."""
    if isinstance(event, Proposed):
        return Evaluation(candidate=event.candidate, state="proposed", cost=event.cost)
    if before is None:
        return None
    match event:
        case Measured():
            return replace(
                before,
                state="too_slow" if event.too_slow else "measured",
                onnx_bytes=event.onnx_bytes,
                measurements=(*before.measurements, event.measurement),
            )
        case Scored(score):
            return replace(before, state="scored", scores=(*before.scores, score), error=None)
        case Checked():
            return replace(
                before,
                state="confirmed" if event.confirmed else "rejected",
                onnx_bytes=event.onnx_bytes,
                measurements=(*before.measurements, event.measurement),
                scores=(*before.scores, event.score),
                p_feasible=event.p_feasible,
                error=event.reason,
                agreement=event.agreement,
            )
        case Reopened():
            scores = _undecayed(before)
            return replace(
                before, state="scored", scores=scores, p_feasible=None, error=None, agreement=None
            )
        case ScoresWithdrawn():
            return replace(before, scores=_undecayed(before))
        case Tested(score) | ScoreShared(score):
            return replace(before, scores=(*before.scores, score))
        case Ended(failed, reason):
            return replace(before, state="failed" if failed else "stopped", error=reason)


def _measurement(event: Mapping[str, Any]) -> Measurement:
    return from_json(Measurement, event["measurement"])


def _score(event: Mapping[str, Any]) -> Score:
    return from_json(Score, event["score"])


def _undecayed(evaluation: Evaluation) -> tuple[Score, ...]:
    return tuple(s for s in evaluation.scores if s.source == "torch" and not s.decayed)
