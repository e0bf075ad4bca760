"""Reads a ledger, and folds its events into evaluations, in the view of one device.

One JSON line is one event; `docs/concepts.md` lists the kinds and their facts.
"""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterable, Sequence
from pathlib import Path

from autoseg.core.errors import AutosegError
from autoseg.core.records import Evaluation
from autoseg.run.events import Event, apply, read, shared

log = logging.getLogger(__name__)


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

    Another device sees the candidates of the run and their IoU (`events.shared`), and its own
    events since its last `remeasure_requested`.
    """
    own = [e for e in events if e.get("on") == on]
    if on is None:
        return own
    requests = [i for i, event in enumerate(own) if event["event"] == "remeasure_requested"]
    from_run = [shared(e) for e in events if "on" not in e]
    return [*(e for e in from_run if e), *own[requests[-1] if requests else 0 :]]


def fold(
    events: Iterable[Event], on: str | None = None, *, into: dict[str, Evaluation] | None = None
) -> dict[str, Evaluation]:
    """The evaluations in the view of one device, in the order in which they were proposed."""
    evaluations = {} if into is None else into
    for event in as_seen_on(on, list(events)):
        if (key := event.get("key")) is None:
            continue
        after = apply(read(event), evaluations.get(key))
        if after is None:
            raise AutosegError(f"the ledger names {key} before it was proposed: it was edited")
        evaluations[key] = after
    return evaluations
