"""Reads a bundle from an untrusted source: sizes are bounded, and none of its code is run.

Checksums detect damage and edits, not the author of a bundle: SHA256SUMS can be edited like any
other file.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from autoseg.bundle.manifest import SCHEMA, Manifest
from autoseg.core.errors import InputError
from autoseg.core.files import lfs_pointer
from autoseg.core.records import Constraints, Measurement, Score
from autoseg.core.text import one_line
from autoseg.core.units import MAX_FRAME_PIXELS
from autoseg.data.drawing.overlay import Colour

MAX_FILES, MAX_SUMS_BYTES = 64, 64_000
MAX_BYTES = {".json": 2_000_000, ".onnx": 512 << 20}
MAX_OTHER_BYTES = 16 << 20
NEEDED = (
    "model.onnx", "bundle.json", "measurement.json", "score.json", "classes.json", "predict.py",
    "card.md",
)  # fmt: skip
_SUM = re.compile(r"([0-9a-f]{64}) [ *]([\w.-]{1,100})")
_NOT_OURS = "this is not a bundle of this version of autoseg"
Record = TypeVar("Record")


@dataclass(frozen=True)
class Bundle:
    """A bundle whose files match SHA256SUMS. `model` is a private copy of its model.

    `strays` are unchecked files in the folder that SHA256SUMS does not list.
    """

    folder: Path
    model: Path
    manifest: Manifest
    measurement: Measurement
    scores: Mapping[str, Score]
    classes: tuple[str, ...]
    colours: tuple[Colour | None, ...]
    files: int
    strays: tuple[str, ...]


@dataclass(frozen=True)
class _ClassesFile:
    """The content of classes.json."""

    classes: tuple[str, ...]
    colours: tuple[tuple[int, int, int] | None, ...]
    ignore_index: int


@contextmanager
def open_bundle(folder: Path) -> Iterator[Bundle]:
    """Read and check the bundle in a folder; its copy of the model exists within the context.

    Raises InputError for missing or changed files, which it names, and for inconsistent values.
    """
    if not folder.is_dir():
        raise InputError(f"there is no bundle at {folder}: give the folder that holds SHA256SUMS")
    with ExitStack() as stack:
        try:
            place = stack.enter_context(tempfile.TemporaryDirectory(prefix="autoseg-bundle-"))
            found = _open(folder, Path(place))
        except OSError as error:
            raise InputError(f"{folder} cannot be read ({error.strerror or error})") from error
        yield found


def _open(folder: Path, place: Path) -> Bundle:
    sums = _sums(folder)
    _check_all(folder, sums, place)
    manifest = _read(place / "bundle.json", Manifest)
    measurement = _read(place / "measurement.json", Measurement)
    scores = _read(place / "score.json", dict[str, Score | None])
    named = _read(place / "classes.json", _ClassesFile)
    found = {split: score for split, score in scores.items() if score is not None}
    _check_values(manifest, measurement, found, named)
    if sums["model.onnx"] != manifest.onnx_digest:
        raise InputError(f"{folder}: bundle.json has the digest of another model.onnx")
    names = {path.name for path in folder.iterdir()}
    strays = tuple(sorted(one_line(name) for name in names - sums.keys() - {"SHA256SUMS"}))
    return Bundle(
        folder, place / "model.onnx", manifest, measurement, found, named.classes, named.colours,
        len(sums), strays[:MAX_FILES],
    )  # fmt: skip


def _sums(folder: Path) -> dict[str, str]:
    """The digest of each file, by name. Names cannot lead out of the folder."""
    path = folder / "SHA256SUMS"
    if path.is_symlink() or not path.is_file():
        raise InputError(f"{folder} is not a bundle: it has no file SHA256SUMS")
    if path.stat().st_size > MAX_SUMS_BYTES:
        raise InputError(f"{path} is too large for the checksums of a bundle")
    sums = {}
    for line in path.read_bytes().decode("utf-8", errors="replace").splitlines():
        match = _SUM.fullmatch(line)
        if match is None or match[2] in (".", "..") or match[2] in sums:
            raise InputError(
                f"{path} has a line that is not a checksum of a file in its folder: "
                f"{one_line(line[:120])!r}"
            )
        sums[match[2]] = match[1]
    lacking = [name for name in NEEDED if name not in sums]
    if lacking or len(sums) > MAX_FILES:
        what = f"names no {', '.join(lacking)}" if lacking else f"names {len(sums)} files"
        raise InputError(f"{path} {what}: {_NOT_OURS}")
    return sums


def _check_all(folder: Path, sums: Mapping[str, str], place: Path) -> None:
    """Copy every file and compare the copy with its digest: the checked copy is used."""
    faults = []
    for name, expected in sums.items():
        path = folder / name
        if path.is_symlink():
            faults.append(f"{name} is a link, not a file")
        elif not path.is_file():
            faults.append(f"{name} is missing")
        elif fault := lfs_pointer(path):
            raise InputError(fault)
        elif _copied(path, place / name) != expected:
            faults.append(f"{name} does not match its checksum")
    if faults:
        raise InputError(
            f"{folder} has changed since it was written: {'; '.join(faults)}. Write it again from "
            "its run with `autoseg bundle`"
        )


def _copied(path: Path, copy: Path) -> str:
    """Copy a file and return its SHA-256. Raises InputError for a file that is too large.

    Never more than the limit is read, also where the file grows meanwhile.
    """
    most = MAX_BYTES.get(path.suffix, MAX_OTHER_BYTES)
    if path.stat().st_size > most:
        limit = f"{most >> 20} MiB, the limit for a file of a bundle"
        raise InputError(f"{path} is larger than {limit}")
    seen = hashlib.sha256()
    with path.open("rb") as source, copy.open("wb") as target:
        for _ in range(0, most + 1, 1 << 20):
            block = source.read(1 << 20)
            seen.update(block)
            target.write(block)
    shutil.copymode(path, copy)
    return seen.hexdigest()


def _read(path: Path, kind: type[Record]) -> Record:
    """A JSON file as a record. Raises InputError."""
    try:
        data = json.loads(path.read_bytes(), parse_constant=_refuse_constant, parse_float=_finite)
        return TypeAdapter(kind).validate_python(data)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = one_line(".".join(map(str, first["loc"])))[:100]
        text = f"{path.name}: {where}: {first['msg'][:200]}; {_NOT_OURS}"
        raise InputError(text) from error
    except (ValueError, RecursionError) as error:
        text = f"{path.name} is not a valid JSON file of a bundle ({str(error)[:200]})"
        raise InputError(text) from error


def _refuse_constant(word: str) -> Any:
    raise ValueError(f"{word} is not a number")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError("a number is too large")
    return value


def _is_size(constraints: Constraints) -> bool:
    if constraints.frame_hw is None:
        return constraints.latency == "model"
    height, width = constraints.frame_hw
    return min(height, width) > 0 and height * width <= MAX_FRAME_PIXELS


def _check_values(
    manifest: Manifest, measurement: Measurement, scores: Mapping[str, Score], named: _ClassesFile
) -> None:
    """Check the values that types do not constrain. Raises InputError."""
    constraints = manifest.constraints
    later_ms = (measurement.p90_ms, measurement.p95_ms, measurement.p99_ms)
    each_ms = (measurement.p50_ms, measurement.mean_ms, *later_ms)
    intervals = [measurement.p50_ci_ms, *(score.iou_ci95 for score in scores.values())]
    rules = {
        f"bundle.json: schema {manifest.schema}; this version reads {SCHEMA}": (
            manifest.schema == SCHEMA
        ),
        "bundle.json: the ceiling must be over zero, the floor between 0 and 1": (
            0 < constraints.max_latency_ms < math.inf and 0 <= constraints.min_iou <= 1
        ),
        f"bundle.json: a frame has 1 to {MAX_FRAME_PIXELS:,} pixels, and its size is known where "
        "its latency is promised": _is_size(constraints),
        "measurement.json: it is of another latency than bundle.json promises": (
            measurement.latency == constraints.latency
        ),
        "measurement.json: latencies and runs must be over zero": (
            measurement.runs > 0 and all(0 < ms < math.inf for ms in each_ms if ms is not None)
        ),
        "measurement.json, score.json: intervals must run from low to high": all(
            -math.inf < low <= high < math.inf
            for low, high in (*intervals, measurement.p90_ci_ms or (0, 0))
        ),
        "score.json: it needs a score on val, of val and test only, with IoU between 0 and 1": (
            "val" in scores
            and all(s in ("val", "test") and score.split == s for s, score in scores.items())
            and all(0 <= score.iou <= 1 for score in scores.values())
        ),
        "classes.json: it needs 2 to 255 classes, each with a colour or null": (
            2 <= len(named.classes) <= 255
            and len(named.colours) == len(named.classes)
            and all(0 <= part <= 255 for colour in named.colours for part in colour or ())
        ),
    }
    for rule, holds in rules.items():
        if not holds:
            raise InputError(f"{rule}; {_NOT_OURS}")
