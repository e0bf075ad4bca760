"""Reads a ledger, and folds its events into evaluations, in the view of one device.

One JSON line is one event; `docs/concepts.md` lists the kinds and their facts. Two kinds occur
only in the view of another device: `score_shared`, an IoU of the run (it holds on every device),
and `scores_withdrawn`, where the run reopened a candidate, whose state there stays.
"""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from autoseg.core.errors import AutosegError
from autoseg.core.records import Candidate, Cost, Evaluation, Measurement, Score
from autoseg.core.serialize import from_json

log = logging.getLogger(__name__)

Event = dict[str, Any]


def read_events(folder: Path) -> list[Event]:
    """The events of a run, live or finished, without locking it."""
    path = folder / "ledger.jsonl"
    lines = path.read_bytes().split(b"\n")[:-1] if path.exists() else []
    return _events(path, lines)


def _events(path: Path, lines: Iterable[bytes]) -> list[Event]:
    events = []
    for number, line in enumerate(lines, start=1):
        try:
            events.append(json.loads(line))
        except ValueError as error:
            raise AutosegError(
                f"{path}, line {number} is not an event: the file is damaged"
            ) from error
    return events


def open_ledger(path: Path) -> tuple[io.FileIO, list[Event]]:
    """The file to append events to, and its events; an incomplete last line is dropped."""
    raw = path.read_bytes() if path.exists() else b""
    whole = raw[: raw.rfind(b"\n") + 1]
    if len(whole) < len(raw):
        log.warning("the ledger's last line is torn and was dropped: %s", path)
        with path.open("r+b") as file:
            file.truncate(len(whole))
    # Unbuffered: an event that failed to be written must not appear with the next one.
    return io.FileIO(path, "a"), _events(path, whole.splitlines())


def spent_s(events: Iterable[Event], on: str | None = None) -> float:
    """Seconds over all sessions on one device."""
    return max((e["spent_s"] for e in events if e.get("on") == on), default=0.0)


def as_seen_on(on: str | None, events: Sequence[Event]) -> list[Event]:
    """The view of one device; None is the run's own.

    Another device sees the candidates of the run, each IoU that this machine's runtime has found,
    and its own events since its last `remeasure_requested`.
    """
    own = [e for e in events if e.get("on") == on]
    if on is None:
        return own
    requests = [i for i, event in enumerate(own) if event["event"] == "remeasure_requested"]
    from_run = [_shared(e) for e in events if "on" not in e]
    return [*(e for e in from_run if e), *own[requests[-1] if requests else 0 :]]


def _shared(event: Event) -> Event | None:
    """What another device sees of an event of the run's own device; None: nothing."""
    if event["event"] == "proposed":
        return event
    if event["event"] == "reopened":
        return {"event": "scores_withdrawn", "key": event["key"]}
    if "score" in event and event["score"]["source"] != "board":
        return {"event": "score_shared", "key": event["key"], "score": event["score"]}
    return None


def as_shown(events: Sequence[Event]) -> list[Event]:
    """For readers: a reopened candidate keeps the figures of its last final check.

    Until it is trained to a better IoU, or checked again: that check, and its score on test, are
    moved behind what was trained since.
    """
    checks: dict[str, list[Event]] = {}
    since: dict[str, float] = {}  # IoU of reopened candidates, 0 where there is none
    for event in (e for e in events if "key" in e and "on" not in e):
        kind, key = event["event"], event["key"]
        if kind in ("confirmed", "rejected"):
            checks[key] = [event]
            since.pop(key, None)
        elif kind == "tested":
            checks.setdefault(key, []).append(event)
        elif kind == "reopened" and key in checks:
            since[key] = 0.0
        elif key in since and kind in ("scored", "failed"):
            since[key] = event["score"]["iou"] if kind == "scored" else 0.0
    last = [
        event
        for key, iou in since.items()
        if iou < checks[key][0]["score"]["iou"]
        for event in checks[key]
    ]
    moved = {id(event) for event in last}
    return [*(event for event in events if id(event) not in moved), *last]


def fold(
    events: Iterable[Event], on: str | None = None, *, into: dict[str, Evaluation] | None = None
) -> dict[str, Evaluation]:
    """The evaluations in the view of one device, in the order in which they were proposed.

    Raises AutosegError for an unknown kind, and for a candidate that was never proposed.
    """
    evaluations = {} if into is None else into
    for event in as_seen_on(on, list(events)):
        if (key := event.get("key")) is not None:
            evaluations[key] = _after(event, evaluations.get(key))
    return evaluations


def _after(event: Event, before: Evaluation | None) -> Evaluation:
    """The evaluation after an event of its candidate."""
    kind = event["event"]
    if kind == "proposed":
        cost = from_json(Cost, event["cost"]) if event["cost"] else None
        candidate = from_json(Candidate, event["candidate"])
        return Evaluation(candidate=candidate, state="proposed", cost=cost)
    if before is None:
        raise AutosegError(
            f"the ledger names {event['key']} before it was proposed: it was edited"
        )
    match kind:
        case "measured":
            timed = replace(_timed(before, event), screened_s=event.get("took_s"))
            return replace(timed, state="too_slow" if event["too_slow"] else "measured")
        case "scored":
            jobs_s = (before.jobs_s or 0.0) + event.get("took_s", 0.0)
            return replace(_scored(before, event), state="scored", error=None, jobs_s=jobs_s)
        case "confirmed" | "rejected":
            return replace(
                _timed(_scored(before, event), event),
                state=kind,
                p_feasible=event["p_feasible"],
                error=event.get("reason"),
                agreement=event.get("agreement"),
                confirmed_s=event.get("took_s"),
            )
        case "reopened":
            open_ = _withdrawn(before)
            return replace(open_, state="scored", p_feasible=None, error=None, agreement=None)
        case "scores_withdrawn":
            return _withdrawn(before)
        case "tested" | "score_shared":
            return _scored(before, event)
        case "stopped" | "failed":
            return replace(before, state=kind, error=event["reason"])
    raise AutosegError(f"the ledger holds an event of an unknown kind {kind!r}")


def _timed(before: Evaluation, event: Event) -> Evaluation:
    measurement = from_json(Measurement, event["measurement"])
    measurements = (*before.measurements, measurement)
    return replace(before, measurements=measurements, onnx_bytes=event["onnx_bytes"])


def _scored(before: Evaluation, event: Event) -> Evaluation:
    return replace(before, scores=(*before.scores, from_json(Score, event["score"])))


def _withdrawn(before: Evaluation) -> Evaluation:
    """Without the scores of a decay and of a final check."""
    kept = tuple(s for s in before.scores if s.source == "torch" and not s.decayed)
    return replace(before, scores=kept)
