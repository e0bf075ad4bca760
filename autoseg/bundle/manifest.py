"""What bundle.json says: which model it is, what was promised, on which device, of which data."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any

from autoseg.core.records import Constraints, DeviceInfo, Evaluation
from autoseg.core.units import Choice

SCHEMA = 1  # of bundle.json, which is read back; what commands print has one of its own
READING = ("format", "remap", "split_column", "group_column", "group_pattern", "seed")


@dataclass(frozen=True)
class DataFacts:
    """The data of a run: its name and digest, pictures by split, and how the folder was read.

    `licence` is what the folder says of it; None where it says nothing. Nothing in it is a path.
    """

    name: str
    digest: str
    pictures: Mapping[str, int]
    licence: str | None = None
    reading: Mapping[str, str | int] = field(default_factory=dict)


@dataclass(frozen=True)
class Manifest:
    """One model and its promise. `device` and `data` are None where a run did not record them."""

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
    said: Mapping[str, Any],
    *,
    device: DeviceInfo | None,
    onnx_digest: str,
    onnx_bytes: int,
) -> Manifest:
    """The manifest of an evaluation; `said` is what run.yaml says, or nothing."""
    candidate = evaluation.candidate
    versions = {str(name): str(value) for name, value in said.get("versions", {}).items()}
    return Manifest(
        candidate.key,
        candidate.space,
        dict(candidate.choices),
        constraints,
        onnx_digest,
        onnx_bytes,
        evaluation.p_feasible,
        device,
        _data_facts(said),
        versions,
    )


def _data_facts(said: Mapping[str, Any]) -> DataFacts | None:
    if "data_digest" not in said:
        return None
    told = {name: said[name] for name in READING if said.get(name) not in (None, 0)}
    if "remap" in told:
        told["remap"] = _last_part(str(told["remap"]))
    data = said.get("data")
    return DataFacts(
        "parcels" if data is None else _last_part(str(data)),
        said["data_digest"],
        said.get("pictures", {}),
        said.get("licence"),
        told,
    )


def _last_part(path: str) -> str:
    """A folder's own name: where it lies is nobody else's business."""
    return PurePath(re.sub(r"[/\\]+$", "", path)).name or "data"
