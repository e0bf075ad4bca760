"""Records as JSON and back, and digests of data and files."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from autoseg.core.errors import AutosegError


def digest(data: Any) -> str:
    """12 hex digits of the SHA-256 over canonical JSON (sorted keys, no spaces)."""
    text = json.dumps(data, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def file_digest(path: Path) -> str:
    """64 hex digits of the SHA-256 over a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


Record = TypeVar("Record")


def to_json(record: Any) -> dict[str, Any]:
    """A record as JSON data (tuples become lists)."""
    return typing.cast(dict[str, Any], json.loads(json.dumps(dataclasses.asdict(record))))


def from_json(kind: type[Record], data: Mapping[str, Any]) -> Record:
    """The inverse of `to_json`: nested records and tuples are rebuilt from the type hints.

    Raises AutosegError for a field that the record does not have.
    """
    hints = typing.get_type_hints(kind)
    if unknown := sorted(set(data) - set(hints)):
        raise AutosegError(
            f"a {kind.__name__} has no field {', '.join(unknown)}: it was written by another "
            "version of autoseg; read it with that one"
        )
    return kind(**{name: _rebuild(hints[name], value) for name, value in data.items()})


def _rebuild(hint: Any, value: Any) -> Any:
    if value is None:
        return None
    origin = typing.get_origin(hint)
    if origin in (types.UnionType, typing.Union):
        inner = [arg for arg in typing.get_args(hint) if arg is not type(None)]
        return _rebuild(inner[0], value) if len(inner) == 1 else value
    if origin is tuple:
        args = typing.get_args(hint)
        each = [args[0]] * len(value) if args[-1] is Ellipsis else args
        return tuple(_rebuild(arg, item) for arg, item in zip(each, value, strict=True))
    is_record = isinstance(hint, type) and dataclasses.is_dataclass(hint)
    return from_json(hint, value) if is_record else value
