"""Find and read the JSON files of annotation tools."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

from autoseg.core.errors import InputError

# Exports are a few files in one folder; more are files of a tool that writes one per picture.
MAX_EXPORT_FILES = 20
# Enough of a file to recognize its format without parsing all of it.
_HEAD_BYTES = 4096


def export_files(folder: Path) -> list[Path]:
    """The visible JSON files directly in a folder; none if there are more than 20."""
    files = sorted(path for path in folder.glob("*.json") if path.name[0] != ".")
    return files if len(files) <= MAX_EXPORT_FILES else []


def head(path: Path, max_bytes: int = _HEAD_BYTES) -> bytes:
    """The first bytes of a file after BOM and white space; empty if it cannot be read."""
    try:
        with path.open("rb") as file:
            return file.read(max_bytes).lstrip(b"\xef\xbb\xbf \t\r\n")
    except OSError:
        return b""


def read_json(path: Path) -> Any:
    """The content of a JSON file, cached until the file changes. Raises InputError."""
    return _parsed(path, file_version(path))


def file_version(path: Path) -> tuple[int, int]:
    """Modification time in ns and size: a key for caches of the content. Raises InputError."""
    try:
        about = path.stat()
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}") from error
    return about.st_mtime_ns, about.st_size


@lru_cache(maxsize=4)
def _parsed(path: Path, _version: tuple[int, int]) -> Any:
    return parse_json(path)


def parse_json(path: Path, hook: Callable[[dict[str, Any]], object] | None = None) -> Any:
    """The content of a JSON file; `hook` replaces each parsed object. Raises InputError."""
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"), object_hook=hook)
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path} cannot be read as JSON: {str(error) or 'too deep'}") from error


def decode_base64(value: object) -> bytes:
    """Bytes written as base64, with or without the head of a data URL. Raises InputError."""
    if not isinstance(value, str):
        raise InputError(f"its bitmap must be a text, got {value!r:.40}")
    try:
        return base64.b64decode(value.rpartition("base64,")[2], validate=True)
    except ValueError as error:
        raise InputError(f"its bitmap is no base64 ({error})") from error
