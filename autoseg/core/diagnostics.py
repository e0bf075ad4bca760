"""Diagnostics of models, for reporting only: confusion matrix, time by operator, contact sheet.

They are JSON and JPEG files in `<place>/diagnostics/`; where one is missing or damaged, a report
shows less. `place` is the run's folder, or that of the remeasured device (`Result.files`).
"""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from pathlib import Path

from autoseg.core.errors import AutosegError
from autoseg.core.files import write_atomically
from autoseg.core.serialize import from_json, to_json

log = logging.getLogger(__name__)

MAX_BYTES = 4_000_000  # 255 classes are 0.7 MB
MAX_NUMBER = 1 << 53


@dataclass(frozen=True)
class OperatorTime:
    """The time of all nodes of one kind in a run on the device, the mean of a few runs."""

    op: str
    nodes: int
    ms: float


@dataclass(frozen=True)
class Diagnostics:
    """Diagnostics of one exported file (`onnx_digest`).

    `confusion` counts pixels of val at the pictures' own sizes: rows are the truth, columns the
    prediction. `operators` has the slowest kind first; a device without profiling leaves it empty.
    """

    onnx_digest: str
    confusion: tuple[tuple[int, ...], ...]
    operators: tuple[OperatorTime, ...] = ()


def sheet_path(place: Path, key: str) -> Path:
    """The path of a candidate's contact sheet, which may be missing."""
    return place / "diagnostics" / f"{key}.jpg"


def write_sheet(place: Path, key: str, sheet: bytes | None) -> None:
    """Write a candidate's contact sheet, if there is one; a fault is logged, never raised."""
    if sheet is None:
        return
    path = sheet_path(place, key)
    try:
        path.parent.mkdir(exist_ok=True)
        write_atomically(path, sheet)
    except OSError as error:
        log.warning("%s: its contact sheet was not written (%s)", key, error)


def write_diagnostics(place: Path, key: str, found: Diagnostics) -> None:
    """Write a model's diagnostics; a reader never sees half of them. Raises OSError."""
    path = _path(place, key)
    path.parent.mkdir(exist_ok=True)
    write_atomically(path, json.dumps(to_json(found)))


def read_diagnostics(place: Path, key: str) -> Diagnostics | None:
    """A model's diagnostics; None where they are missing or damaged."""
    path = _path(place, key)
    try:
        if path.stat().st_size > MAX_BYTES:
            return None
        found = from_json(Diagnostics, json.loads(path.read_text()))
        return found if _valid(found) else None
    except (OSError, ValueError, TypeError, AttributeError, AutosegError, RecursionError):
        return None


def _path(place: Path, key: str) -> Path:
    return place / "diagnostics" / f"{key}.json"


def _valid(found: Diagnostics) -> bool:
    """Whether every value has the type and range of its field: the file may come from anywhere."""
    rows = found.confusion
    square = all(len(row) == len(rows) and all(map(_count, row)) for row in rows)
    named = all(isinstance(o.op, str) and _count(o.nodes) and _ms(o.ms) for o in found.operators)
    return isinstance(found.onnx_digest, str) and square and named


def _count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_NUMBER


def _ms(value: object) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and 0 <= value <= MAX_NUMBER  # type: ignore[operator]
