"""Masks that are entries of a table or a JSON file, as references `file#entry`."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote, unquote


def reference(path: Path, entry: str) -> str:
    """A sample's `mask` for an entry. Dots are quoted: an entry named a.jpg is no JPEG file."""
    return f"{path}#{quote(entry).replace('.', '%2E')}"


def entry_of(mask: str) -> tuple[Path, str]:
    """The file and the entry of a `reference`."""
    name, _, entry = mask.rpartition("#")
    return Path(name), unquote(entry)
