"""Formats of data sets, read in place.

Each is a module with `recognize(root)`, which gives the reason to read a folder in this format, or
None if it is of another, and `find(root)`; `common/` holds what several share.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from autoseg.core.errors import InputError
from autoseg.data.archive import folder_of
from autoseg.data.formats import telltales
from autoseg.data.formats.common.files import subfolders
from autoseg.data.layout import Layout, listed

# Each is read by the module of its name, and tried in this order: the more specific ones first.
FORMATS = (
    "voc", "cityscapes", "railsem19", "camvid", "ade20k", "oxford-pet", "nnunet", "supervisely",
    "label-studio", "yolo", "mmsegmentation", "beside", "comma10k", "plain", "dsb2018", "coco",
    "via", "labelme", "kaggle-rle",
)  # fmt: skip

# Levels of folders in which a data set is searched, and folders per level.
_MAX_LEVELS = 3
_MAX_FOLDERS = 100


def find(root: Path, name: str | None) -> tuple[Layout, str, str]:
    """The layout of a folder, the name of its format, and the reason for that format.

    A .zip is unpacked into the user's cache. If the folder itself fits no format, the only fitting
    folder up to two levels deeper is taken. Raises InputError for an unknown format, and for a
    file that is no .zip or cannot be unpacked. A folder that fits no format is read as a plain
    one, whose faults name the missing folders, and what there is instead.
    """
    if name is not None and name not in FORMATS:
        raise InputError(f"--format is one of {', '.join(FORMATS)}, got {name!r}")
    root = folder_of(root)
    level = [root] if root.is_dir() else []
    for _ in range(_MAX_LEVELS):
        fitting = list(_recognized(level, [name] if name else FORMATS))
        if fitting:
            return _chosen(root, fitting, name)
        level = [path for place in level for path in _subfolders(place)]
    fallback = name or "plain"
    why = "it was asked for" if name else "no other format fits"
    layout = _module(fallback).find(root)
    if root.is_dir() and layout.faults and not layout.samples:
        layout.faults[-1] += telltales.found(root)
    return layout, fallback, why


def _recognized(places: list[Path], names: Sequence[str]) -> Iterator[tuple[Path, str, str]]:
    """Each place that fits a format, the first of the names that fits, and the reason."""
    for place in places:
        for name in names:
            if why := _module(name).recognize(place):
                yield place, name, why
                break


def _chosen(
    root: Path, fitting: list[tuple[Path, str, str]], asked: str | None
) -> tuple[Layout, str, str]:
    place, name, why = fitting[0]
    inside = [path.relative_to(root).as_posix() for path, _, _ in fitting]
    if len(fitting) > 1:
        fault = f"several data sets lie in {root}: {listed(inside)}; give the folder of one"
        return Layout(root, faults=[fault]), name, f"{inside[0]} fits, and others do"
    if place != root:
        why = f"in {inside[0]}: {why}"
    return _module(name).find(place), name, f"it was asked for; {why}" if asked else why


def _subfolders(place: Path) -> list[Path]:
    return [place / name for name in subfolders(place)[:_MAX_FOLDERS]]


def _module(name: str) -> Any:
    return import_module(f"{__name__}.{name.replace('-', '_')}")
