"""What the events of a ledger say of each candidate, and as which device sees it.

One JSON line is one event; `docs/concepts.md` lists the kinds and their facts.
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
            raise AutosegError(f"{path}, line {number} is no event; it was damaged") from error
    return events


def open_ledger(path: Path) -> tuple[io.FileIO, list[Event]]:
    """The file to append events to, and those that are in it; a torn last line is dropped."""
    raw = path.read_bytes() if path.exists() else b""
    whole = raw[: raw.rfind(b"\n") + 1]
    if len(whole) < len(raw):
        log.warning("the ledger's last line is torn and was dropped: %s", path)
        with path.open("r+b") as file:
            file.truncate(len(whole))
    # Unbuffered: an event that could not be written must not come back at the next one.
    return io.FileIO(path, "a"), _events(path, whole.splitlines())


def spent_s(events: Iterable[Event], on: str | None = None) -> float:
    """Seconds over all sessions on one device."""
    return max((e["spent_s"] for e in events if e.get("on") == on), default=0.0)


def as_seen_on(on: str | None, events: Sequence[Event]) -> list[Event]:
    """The events that count for one device; None is the run's own.

    Another one sees which candidates there are and what IoU they have, wherever that was found;
    its own events count since it was last asked.
    """
    own = [e for e in events if e.get("on") == on]
    if on is None:
        return own
    asked = [index for index, event in enumerate(own) if event["event"] == "asked"]
    lent = [_lent(e) for e in events if "on" not in e]
    return [*(e for e in lent if e), *own[asked[-1] if asked else 0 :]]


def _lent(event: Event) -> Event | None:
    """What holds on every device: a proposal, and IoU that this machine's runtime has found."""
    if event["event"] == "proposed":
        return event
    if "score" in event and event["score"]["source"] != "board":
        return {"event": "lent", "key": event["key"], "score": event["score"]}
    if event["event"] == "reopened":
        return {"event": "taken back", "key": event["key"]}
    return None


def fold(
    events: Iterable[Event], on: str | None = None, *, into: dict[str, Evaluation] | None = None
) -> dict[str, Evaluation]:
    """What one device knows of the candidates, in the order in which they were proposed."""
    evaluations = {} if into is None else into
    for event in as_seen_on(on, list(events)):
        key = event.get("key")
        if key is not None:
            evaluations[key] = _step(evaluations.get(key), event)
    return evaluations


def _step(before: Evaluation | None, event: Event) -> Evaluation:
    kind = event["event"]
    if kind == "proposed":
        candidate = from_json(Candidate, event["candidate"])
        counted = from_json(Cost, event["cost"]) if event["cost"] else None
        return Evaluation(candidate, "proposed", cost=counted)
    if before is None:
        raise AutosegError(
            f"the ledger tells of {event['key']} before it was proposed: it was edited"
        )
    if kind == "measured":
        measurement = from_json(Measurement, event["measurement"])
        return replace(
            before,
            state="too_slow" if event["too_slow"] else "measured",
            onnx_bytes=event["onnx_bytes"],
            measurements=(*before.measurements, measurement),
        )
    if kind == "scored":
        score = from_json(Score, event["score"])
        return replace(before, state="scored", scores=(*before.scores, score), error=None)
    if kind in ("confirmed", "rejected"):
        return replace(
            before,
            state="confirmed" if kind == "confirmed" else "rejected",
            onnx_bytes=event["onnx_bytes"],
            measurements=(*before.measurements, from_json(Measurement, event["measurement"])),
            scores=(*before.scores, from_json(Score, event["score"])),
            p_feasible=event["p_feasible"],
            error=event.get("reason"),
            agreement=event.get("agreement"),
        )
    if kind in ("reopened", "taken back"):
        undecayed = tuple(s for s in before.scores if s.source == "torch" and not s.decayed)
        if kind == "taken back":  # elsewhere: only the scores were lent, the state is its own
            return replace(before, scores=undecayed)
        return replace(
            before, state="scored", scores=undecayed, p_feasible=None, error=None, agreement=None
        )
    if kind in ("tested", "lent"):
        return replace(before, scores=(*before.scores, from_json(Score, event["score"])))
    if kind in ("stopped", "failed"):
        return replace(
            before, state="stopped" if kind == "stopped" else "failed", error=event["reason"]
        )
    raise AutosegError(f"the ledger holds an event of an unknown kind {kind!r}")
