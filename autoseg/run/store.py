"""A run's folder: its declaration, and the ledger of events that all else is rebuilt from.

The ledger is append-only. Every event is one JSON line, written and flushed to the disk before any
step acts on it. An incomplete last line (power cut) is dropped when the run is opened again.
"""

from __future__ import annotations

import errno
import fcntl
import json
import logging
import os
import re
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

import yaml

from autoseg.core.errors import AutosegError, DeviceError, InputError
from autoseg.core.files import write_atomically
from autoseg.core.records import Candidate, Measurement
from autoseg.core.serialize import from_json, to_json
from autoseg.run.ledger import Event, as_seen_on, fold, open_ledger, spent_s

log = logging.getLogger(__name__)


class Run:
    """One run's folder, open for writing by this process only (it holds a lock).

    `on` names the device of a remeasurement: the recorded events are then about this device, and
    the evaluations are those of its view.
    """

    def __init__(
        self, folder: Path, declaration: Mapping[str, Any], on: str | None = None
    ) -> None:
        self.folder = folder
        self.on = on
        self.declaration = dict(declaration)
        self.listeners: list[Callable[[Event], None]] = []
        self._lock = _lock(folder, on)
        self._file, self.events = open_ledger(folder / "ledger.jsonl")
        self.evaluations = fold(self.events, on)
        self._spent_before_s = spent_s(self.events, on)
        self._began_at = time.monotonic()

    @classmethod
    def create(cls, folder: Path, declaration: Mapping[str, Any]) -> Run:
        """A new run. Raises InputError when the folder holds one already or cannot be written."""
        if (folder / "run.yaml").exists():
            raise InputError(
                f"the run {folder.name!r} exists already: continue it with --resume, "
                "or choose another --name"
            )
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for name in ("checkpoints", "artifacts", "bundles"):
                (folder / name).mkdir(exist_ok=True)
            write_atomically(
                folder / "run.yaml", yaml.safe_dump(dict(declaration), sort_keys=False)
            )
            return cls(folder, declaration)
        except OSError as error:
            raise InputError(
                f"results are written to {folder}, which is not possible: {error.strerror}; "
                "choose another folder with --results"
            ) from error

    @classmethod
    def open(cls, folder: Path, on: str | None = None) -> Run:
        """An existing run, to continue it, or to measure it on another device.

        Raises InputError for one that is not there, is being worked on, or cannot be written.
        """
        try:
            run = cls(folder, read_declaration(folder), on)
            for name in ("artifacts", "bundles"):
                (run.place / name).mkdir(parents=True, exist_ok=True)
            return run
        except OSError as error:
            raise InputError(
                f"the run {folder.name!r} cannot be written in {folder} ({error.strerror}): "
                "fix that first"
            ) from error

    @property
    def place(self) -> Path:
        """The folder for the files of this device: the run's folder for its own device."""
        return place_of(self.folder, self.on)

    @property
    def spent_s(self) -> float:
        """Seconds that this run has taken so far on this device, over all its sessions."""
        return self._spent_before_s + time.monotonic() - self._began_at

    @property
    def resumed(self) -> bool:
        """Whether an earlier session has spent time on it."""
        return self._spent_before_s > 0

    def count_from(self, began_at: float) -> None:
        """Let this session's seconds begin earlier: at a time of `time.monotonic()`."""
        self._began_at = min(self._began_at, began_at)

    def record(self, kind: str, of: Candidate | None = None, /, **facts: Any) -> Event:
        """Append one event, flushed to the disk, fold it in, and call the listeners."""
        event: Event = {"event": kind, "spent_s": round(self.spent_s, 3), **facts}
        if self.on is not None:
            event["on"] = self.on
        if of is not None:
            event["key"] = of.key
        self._append((json.dumps(event) + "\n").encode())
        self.events.append(event)
        if kind == "remeasure_requested":  # the view of this device starts again
            self.evaluations = fold(self.events, self.on)
        fold([event], self.on, into=self.evaluations)
        for listener in self.listeners:
            listener(event)
        return event

    def report_activity(self, candidate: Candidate, text: str) -> None:
        """Send the listeners what starts now; it is not written to the ledger."""
        for listener in self.listeners:
            listener({"event": "activity", "candidate": candidate.key, "text": text})

    def notify(self, text: str) -> None:
        """Send the listeners a notice about the whole run; it is not written to the ledger."""
        for listener in self.listeners:
            listener({"event": "notice", "text": text})

    def _append(self, line: bytes) -> None:
        file = self._file.fileno()
        before = os.fstat(file).st_size
        try:
            if self._file.write(line) != len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fsync(file)
        except OSError as error:
            with suppress(OSError):  # the next event must not be appended to half of this one
                os.ftruncate(file, before)
            raise DeviceError(
                f"the ledger in {self.folder} cannot be written ({error.strerror}): fix that first"
            ) from error

    def change(self, **facts: Any) -> None:
        """Replace facts in run.yaml; its time stays, which orders the runs of a folder."""
        if facts.items() <= self.declaration.items():
            return
        self.declaration |= facts
        path = self.folder / "run.yaml"
        before = path.stat()
        write_atomically(path, yaml.safe_dump(self.declaration, sort_keys=False))
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))

    def first(self, kind: str) -> Event | None:
        """The first event of a kind about this device, since its last request; or None."""
        seen = as_seen_on(self.on, self.events)
        return next((e for e in seen if e["event"] == kind and e.get("on") == self.on), None)

    def artifact(self, candidate: Candidate, suffix: str = "") -> Path:
        """The path of a candidate's ONNX file."""
        return self.place / "artifacts" / f"{candidate.key}{suffix}.onnx"

    def leave(self) -> None:
        """Say that the work is over while the last files are written: readers call it live no
        more."""
        self._lock.truncate(0)

    def close(self) -> None:
        """Close the ledger and release the lock."""
        self._file.close()
        self._lock.close()


def place_of(folder: Path, on: str | None) -> Path:
    """The folder of a device's files in a run; `on` is None for the run's own device."""
    if on is None:
        return folder
    return folder / "devices" / re.sub(r"[^\w@.:+-]|^\.", "_", on)


def read_declaration(folder: Path) -> dict[str, Any]:
    """The content of a run.yaml. Raises InputError when the folder holds no run."""
    path = folder / "run.yaml"
    if not path.exists():
        runs = sorted(p.parent.name for p in folder.parent.glob("*/run.yaml"))
        there = f"; there are: {', '.join(runs)}" if runs else ""
        raise InputError(f"there is no run at {folder}{there}")
    data: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return data


def is_running(folder: Path, on: str | None = None) -> bool:
    """Whether a process works on the run now, for its own device or for that of `on`."""
    try:
        with (folder / "lock").open() as file:
            named = file.read()
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return named == _view(on)
    except OSError:  # a copy of a run, without the file
        return False
    return False


def _view(on: str | None) -> str:
    """What the lock's file says while a run is worked on."""
    return f"for {on}\n" if on else "for its own device\n"


def _lock(folder: Path, on: str | None) -> IO[str]:
    file = (folder / "lock").open("a")
    for last in (False, False, False, True):
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except OSError as error:
            if last:
                raise InputError(
                    f"another autoseg is working on the run {folder.name!r}; wait for it to end"
                ) from error
            time.sleep(0.05)  # `is_running` holds it for an instant
    file.truncate(0)
    file.write(_view(on))
    file.flush()
    return file


class MeasurementCache:
    """Measurements by (graph, device, runtime, threads): latency does not depend on the weights.

    One file of JSON lines, shared by the runs of a results folder; only screening measurements.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._known: dict[str, Measurement] = {}
        for line in self._lines():
            try:
                row = json.loads(line)
                self._known[row["id"]] = from_json(Measurement, row["measurement"])
            except (AutosegError, ValueError, KeyError, TypeError):
                log.warning("%s: an unreadable line was skipped", path)

    def get(self, identity: str) -> Measurement | None:
        return self._known.get(identity)

    def put(self, identity: str, measurement: Measurement) -> None:
        self._known[identity] = measurement
        row = json.dumps({"id": identity, "measurement": to_json(measurement)})
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a") as file:
                file.write(row + "\n")
        except OSError as error:
            log.warning("%s: a measurement is not kept for other runs (%s)", self.path, error)

    def _lines(self) -> list[str]:
        try:
            return self.path.read_text().splitlines() if self.path.exists() else []
        except OSError as error:
            log.warning("%s: measurements of other runs are not reused (%s)", self.path, error)
            return []
