"""What a data folder says of its licence."""

from __future__ import annotations

import re
from pathlib import Path

from autoseg.core.text import one_line

FILES = ("LICENSE", "LICENCE", "COPYING")
SUFFIXES = ("", ".txt", ".md")
MAX_BYTES, MAX_TEXT = 4096, 100
PARCELS = "synthetic pictures that autoseg makes itself (Apache-2.0)"


def licence_of(data: str | Path | None) -> str | None:
    """The first line of the folder's LICENSE, or what the head of its README.md names; else None.

    None as `data` are the synthetic parcels.
    """
    if data is None or (str(data) == "parcels" and not Path(data).is_dir()):
        return PARCELS
    for path in (Path(data, name + suffix) for name in FILES for suffix in SUFFIXES):
        for line in _head(path).splitlines():
            if text := line.strip(" \t#*="):
                return f"{one_line(text)[:MAX_TEXT]} ({path.name})"
    # As the cards of data sets on Hugging Face have it.
    named = re.search(r"\A---\n(?:.*\n)*?license:[ \t]*(\S.*)\n", _head(Path(data, "README.md")))
    return f"{one_line(named[1].strip())[:MAX_TEXT]} (README.md)" if named else None


def _head(path: Path) -> str:
    """How a file of the folder begins; a link may lead to anybody's file."""
    if path.is_symlink() or not path.is_file():
        return ""
    try:
        with path.open("rb") as file:
            return file.read(MAX_BYTES).decode("utf-8", errors="replace")
    except OSError:
        return ""
