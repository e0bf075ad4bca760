"""ADE20K as the scene parsing challenge has it (ADEChallengeData2016): index masks, 0 = ignore.

Source: https://github.com/CSAILVision/sceneparsing. The full data set, with objects and parts, is
another format.
"""

from __future__ import annotations

from pathlib import Path

from autoseg.core.records import IGNORE_INDEX
from autoseg.data.formats.pairing import SPLIT_NAMES, lacks, lines, pairs, pictures_below
from autoseg.data.layout import Found

_NAMES = "objectInfo150.txt"
_FOLDERS = ("training", "validation")


def recognize(root: Path) -> str | None:
    """Why `root` is of this format, in words; None if it is not."""
    if (root / _NAMES).is_file() and (root / "annotations/training").is_dir():
        return f"it holds {_NAMES} and annotations/training/"
    return None


def find(root: Path) -> Found:
    """Pair images/ and annotations/ by stem; what does not fit becomes a fault."""
    found = Found(root)
    if lacks(
        found, (f"{kind}/{f}" for kind in ("images", "annotations") for f in _FOLDERS), "ADE20K"
    ):
        return found
    found.classes = _classes(found)
    if not found.classes:
        return found
    # A value beyond the names stays no class, and is reported.
    beyond = range(len(found.classes), IGNORE_INDEX)
    found.values = bytes([IGNORE_INDEX, *range(len(found.classes)), *beyond])
    for folder in _FOLDERS:
        images, masks = (
            pictures_below(found, root / kind / folder) for kind in ("images", "annotations")
        )
        found.by_split[SPLIT_NAMES[folder]] = pairs(found, images, masks, folder)
    return found


def _classes(found: Found) -> tuple[str, ...]:
    """The first of each class's names ("building, edifice"); all of them where that is taken."""
    if not (found.root / _NAMES).is_file():
        found.faults.append(f"there is no {_NAMES}, which names the classes of ADE20K")
        return ()
    rows = [line.split("\t") for line in lines(found, found.root / _NAMES)]
    names: list[str] = []
    for row in rows:
        if row[0].strip().isdecimal():
            first = row[-1].replace(";", ",").partition(",")[0].strip()
            names.append(row[-1].strip() if first in names else first)
    if not 2 <= len(set(names)) == len(names) < IGNORE_INDEX:
        found.faults.append(f"{_NAMES} must name 2 to 254 classes, it names {len(set(names))}")
        return ()
    return tuple(names)
