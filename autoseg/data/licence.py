"""Find the licence of a data folder."""

from __future__ import annotations

import re
from pathlib import Path

from autoseg.core.text import one_line
from autoseg.data import is_parcels
from autoseg.data.archive import folder_of

FILE_STEMS = ("LICENSE", "LICENCE", "COPYING")
SUFFIXES = ("", ".txt", ".md")
MAX_HEAD_BYTES, MAX_CHARS = 4096, 100
PARCELS_LICENCE = "synthetic pictures that autoseg makes itself (Apache-2.0)"


def licence_of(data: str | Path | None) -> str | None:
    """The first line of the folder's LICENSE, or `license:` in the head of its README.md, or None.

    `data` is a folder or a .zip; None are the synthetic parcels.
    """
    if data is None or is_parcels(data):
        return PARCELS_LICENCE
    folder = folder_of(Path(data))
    for path in (folder / (name + suffix) for name in FILE_STEMS for suffix in SUFFIXES):
        for line in _head(path).splitlines():
            if text := line.strip(" \t#*="):
                return f"{one_line(text)[:MAX_CHARS]} ({path.name})"
    # The head of data set cards on Hugging Face.
    named = re.search(r"\A---\n(?:.*\n)*?license:[ \t]*(\S.*)\n", _head(folder / "README.md"))
    return f"{one_line(named[1].strip())[:MAX_CHARS]} (README.md)" if named else None


def _head(path: Path) -> str:
    """The first bytes of a file; empty for a link, which may lead to a file outside the folder."""
    if path.is_symlink() or not path.is_file():
        return ""
    try:
        with path.open("rb") as file:
            return file.read(MAX_HEAD_BYTES).decode("utf-8", errors="replace")
    except OSError:
        return ""
