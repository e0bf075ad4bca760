"""Find and read the files of a data folder; faults are added to its layout."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from autoseg.data.layout import Layout, listed
from autoseg.data.pictures import SUFFIXES, under

# Lists of a million names fit; a larger file is no list, and is not read into memory.
MAX_TEXT_BYTES = 64 * 2**20


def visible_files(folder: Path, *, deep: bool = True) -> Iterator[Path]:
    """All entries that are no folders, sorted by folder, without hidden ones (`.name`); with
    `deep` those of subfolders too. Links to folders are not followed.
    """
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(f for f in folders if deep and not f.startswith("."))
        yield from (Path(place, name) for name in sorted(names) if not name.startswith("."))


def picture_files(layout: Layout, folder: Path, *, deep: bool = True) -> dict[str, Path]:
    """Picture files by their path below `folder` without its suffix, sorted; with `deep` those of
    subfolders too.

    Two files with one stem and broken links become faults, other files a warning.
    """
    by_name: dict[str, Path] = {}
    others: list[str] = []
    for path in visible_files(folder, deep=deep):
        name = path.relative_to(folder).with_suffix("").as_posix()
        if path.suffix.lower() not in SUFFIXES:
            others.append(path.name)
        elif not path.is_file():
            layout.faults.append(f"{under(layout.root, str(path))} is no file that can be read")
        elif name in by_name:
            layout.faults.append(
                f"{under(layout.root, str(folder))}: {by_name[name].name} and {path.name} have one"
                " stem; keep one of them"
            )
        else:
            by_name[name] = path
    if others:
        layout.warnings.append(
            f"{under(layout.root, str(folder))}: not pictures, ignored: {listed(others)}"
        )
    return by_name


def lines(layout: Layout, path: Path, *, comments: bool = False) -> list[str]:
    """The stripped lines of a text file, with `comments` (#) or without; errors become faults."""
    name = under(layout.root, str(path))
    try:
        if path.stat().st_size > MAX_TEXT_BYTES:
            layout.faults.append(
                f"{name} is over {MAX_TEXT_BYTES // 2**20} MiB, too large for a list"
            )
            return []
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        layout.faults.append(f"{name} cannot be read: {error}")
        return []
    stripped = (line.strip() for line in text.splitlines())
    return [line for line in stripped if line and (comments or not line.startswith("#"))]


def lacks(layout: Layout, folders: Iterable[str], format_name: str) -> bool:
    """Whether a required folder of a format is missing, which becomes one fault."""
    missing = [name for name in folders if not (layout.root / name).is_dir()]
    if missing:
        them = "it" if len(missing) == 1 else "them"
        no = "/ and no ".join(missing)
        layout.faults.append(f"there is no {no}/, as {format_name} has {them}")
    return bool(missing)
