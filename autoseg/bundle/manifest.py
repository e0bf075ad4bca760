"""The content of bundle.json: model, constraints, device, data, versions."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Any

from autoseg.core.records import Constraints, DeviceInfo, Evaluation
from autoseg.core.serialize import file_digest
from autoseg.core.units import Choice

SCHEMA = 1  # of bundle.json, which is read back; the output of commands has its own
READING_OPTIONS = ("format", "remap", "split_column", "group_column", "group_pattern", "seed")


@dataclass(frozen=True)
class DataFacts:
    """The data of a run: its name and digest, pictures by split, and how the folder was read.

    `licence` is as the folder states it, or None. `grey_range` holds the values of grey pictures
    of 16 bits that become 0 to 255, None for all. No field contains a path.
    """

    name: str
    digest: str
    pictures: Mapping[str, int]
    licence: str | None = None
    reading: Mapping[str, str | int] = field(default_factory=dict)
    grey_range: tuple[int, int] | None = None


@dataclass(frozen=True)
class Manifest:
    """One model and its constraints. `device` and `data` are None if not recorded."""

    key: str
    space: str
    knobs: Mapping[str, Choice]
    constraints: Constraints
    onnx_digest: str
    onnx_bytes: int
    p_feasible: float | None = None
    device: DeviceInfo | None = None
    data: DataFacts | None = None
    versions: Mapping[str, str] = field(default_factory=dict)
    schema: int = SCHEMA


def manifest_of(
    evaluation: Evaluation,
    constraints: Constraints,
    declaration: Mapping[str, Any],
    device: DeviceInfo | None,
    onnx: Path,
) -> Manifest:
    """The manifest of a model and its file; `declaration` is the content of run.yaml, or empty."""
    candidate = evaluation.candidate
    versions = {str(name): str(value) for name, value in declaration.get("versions", {}).items()}
    return Manifest(
        candidate.key,
        candidate.space,
        dict(candidate.choices),
        constraints,
        file_digest(onnx),
        onnx.stat().st_size,
        evaluation.p_feasible,
        device,
        _data_facts(declaration),
        versions,
    )


def _data_facts(declaration: Mapping[str, Any]) -> DataFacts | None:
    if "data_digest" not in declaration:
        return None
    given: dict[str, Any] = {name: declaration.get(name) for name in READING_OPTIONS}
    reading = {name: value for name, value in given.items() if value not in (None, 0)}
    if "remap" in reading:
        reading["remap"] = _last_part(str(reading["remap"]))
    data, pictures = declaration.get("data"), declaration.get("pictures", {})
    name = "parcels" if data is None else _last_part(str(data))
    grey_range = declaration.get("grey_range")
    return DataFacts(
        name,
        declaration["data_digest"],
        pictures,
        declaration.get("licence"),
        reading,
        (grey_range[0], grey_range[1]) if grey_range else None,
    )


def _last_part(path: str) -> str:
    """A folder's name without its path, which may be private."""
    return PurePath(re.sub(r"[/\\]+$", "", path)).name or "data"
