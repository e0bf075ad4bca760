"""What is recorded of a model for people to look at, beside what decides: `<place>/diagnostics/`.

An exhibit (JSON) says which classes a confirmed model confuses and where its time goes; a contact
sheet (JPEG) shows its class maps. Nothing reads them to decide anything: where one is missing or
damaged, a reader shows less. `place` is the run's folder, or that of the device that it was
measured on (`Result.files`).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from autoseg.core.errors import AutosegError
from autoseg.core.serialize import from_json, to_json
from autoseg.core.units import HW

MAX_BYTES = 4_000_000  # 255 classes are 0.7 MB
MAX_NUMBER = 1 << 53


@dataclass(frozen=True)
class OperatorTime:
    """What all nodes of one kind take in a run on the device, the mean of a few runs."""

    op: str
    nodes: int
    ms: float


@dataclass(frozen=True)
class FrameTime:
    """A whole picture of `picture_hw`: to the model's size, through it, and back, medians.

    `where` says in words where and how it was timed.
    """

    picture_hw: HW
    resize_ms: float
    inference_ms: float
    resize_back_ms: float
    where: str


@dataclass(frozen=True)
class Diagnostics:
    """Of one exported file (`onnx_digest`): pixels of val at the pictures' own sizes, rows are
    the truth and columns the prediction; time by kind of operator, the slowest first.

    A device that cannot tell leaves `operators` empty and `frame` None.
    """

    onnx_digest: str
    confusion: tuple[tuple[int, ...], ...]
    operators: tuple[OperatorTime, ...] = ()
    frame: FrameTime | None = None


def sheet_path(place: Path, key: str) -> Path:
    """Where a candidate's contact sheet lies, if one was made."""
    return place / "diagnostics" / f"{key}.jpg"


def write_diagnostics(place: Path, key: str, exhibit: Diagnostics) -> None:
    """Write a model's exhibit; a reader never sees half of it. Raises OSError."""
    path = _path(place, key)
    path.parent.mkdir(exist_ok=True)
    temporary = path.with_name(f"{path.name}.tmp")
    temporary.write_text(json.dumps(to_json(exhibit)))
    temporary.replace(path)


def read_diagnostics(place: Path, key: str) -> Diagnostics | None:
    """A model's exhibit; None where there is none, or where its file is none of ours."""
    path = _path(place, key)
    try:
        if path.stat().st_size > MAX_BYTES:
            return None
        exhibit = from_json(Diagnostics, json.loads(path.read_text()))
        return exhibit if _sound(exhibit) else None
    except (OSError, ValueError, TypeError, AttributeError, AutosegError, RecursionError):
        return None


def _path(place: Path, key: str) -> Path:
    return place / "diagnostics" / f"{key}.json"


def _sound(exhibit: Diagnostics) -> bool:
    """Whether every value is what its field says: the file may come from anywhere."""
    rows, frame = exhibit.confusion, exhibit.frame
    square = all(len(row) == len(rows) and all(map(_count, row)) for row in rows)
    named = all(isinstance(o.op, str) and _count(o.nodes) and _ms(o.ms) for o in exhibit.operators)
    return isinstance(exhibit.onnx_digest, str) and square and named and _timed(frame)


def _timed(frame: FrameTime | None) -> bool:
    if frame is None:
        return True
    times = frame.resize_ms, frame.inference_ms, frame.resize_back_ms
    return (
        isinstance(frame.where, str)
        and all(map(_ms, times))
        and all(map(_count, frame.picture_hw))
    )


def _count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_NUMBER


def _ms(value: object) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and 0 <= value <= MAX_NUMBER  # type: ignore[operator]
