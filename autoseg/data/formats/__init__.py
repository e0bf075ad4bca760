"""Formats of data sets, read in place: each module recognizes a folder and finds its pairs."""

from __future__ import annotations

import os
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

from autoseg.core.errors import InputError
from autoseg.data.layout import Found, listed

# In the order in which they are tried: the more particular first. Each names a module of this
# package with `recognize(root) -> str | None` (why, in words) and `find(root) -> Found`.
FORMATS = {
    "voc": "voc",
    "cityscapes": "cityscapes",
    "railsem19": "railsem19",
    "camvid": "camvid",
    "ade20k": "ade20k",
    "supervisely": "supervisely",
    "label-studio": "label_studio",
    "plain": "plain",
    "coco": "coco",
    "labelme": "labelme",
}

# How deep a data set may lie in what was unpacked, and how many folders are looked into.
_LEVELS = 3
_MAX_FOLDERS = 100


def find(root: Path, name: str | None) -> tuple[Found, str, str]:
    """What lies in a folder, the name of its format, and why it was taken for that.

    Where the folder itself fits no format, one that lies alone up to two levels deeper is taken.
    Raises InputError for an unknown format. A folder that no format fits is read as a plain one,
    whose faults say what is missing.
    """
    if name is not None and name not in FORMATS:
        raise InputError(f"--format is one of {', '.join(FORMATS)}, got {name!r}")
    level = [root] if root.is_dir() else []
    for _ in range(_LEVELS):
        fitting = list(_recognized(level, [name] if name else list(FORMATS)))
        if fitting:
            return _taken(root, fitting, name)
        level = [path for place in level for path in _folders(place)]
    known = name or "plain"
    why = "it was asked for" if name else "no other format fits"
    return _module(known).find(root), known, why


def _recognized(places: list[Path], names: list[str]) -> Iterator[tuple[Path, str, str]]:
    """Each place that fits a format, the first of the names that fits, and why."""
    for place in places:
        for name in names:
            if why := _module(name).recognize(place):
                yield place, name, why
                break


def _taken(
    root: Path, fitting: list[tuple[Path, str, str]], asked: str | None
) -> tuple[Found, str, str]:
    place, name, why = fitting[0]
    inside = [path.relative_to(root).as_posix() for path, _, _ in fitting]
    if len(fitting) > 1:
        fault = f"several data sets lie in {root}: {listed(inside)}; give the folder of one"
        return Found(root, faults=[fault]), name, f"{inside[0]} fits, and others do"
    if place != root:
        why = f"in {inside[0]}: {why}"
    return _module(name).find(place), name, f"it was asked for; {why}" if asked else why


def _folders(place: Path) -> list[Path]:
    with os.scandir(place) as entries:
        found = sorted(e.name for e in entries if e.is_dir() and not e.name.startswith("."))
    return [place / name for name in found[:_MAX_FOLDERS]]


def _module(name: str) -> Any:
    return import_module(f"{__name__}.{FORMATS[name]}")
