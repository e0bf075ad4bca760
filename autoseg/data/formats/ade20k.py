"""ADE20K of the scene parsing challenge (ADEChallengeData2016): index masks, 0 = ignore.

Source: https://github.com/CSAILVision/sceneparsing. The full data set, with objects and parts, is
another format.
"""

from __future__ import annotations

from pathlib import Path

from autoseg.core.records import IGNORE_INDEX
from autoseg.data.formats.common.files import lacks, lines, picture_files, subfolders
from autoseg.data.formats.common.pairing import SPLIT_NAMES, pairs
from autoseg.data.layout import Layout, listed

_LABELS = "objectInfo150.txt"
_KINDS = ("images", "annotations")
_FOLDERS = ("training", "validation")


def recognize(root: Path) -> str | None:
    if (root / _LABELS).is_file() and (root / "annotations/training").is_dir():
        return f"it holds {_LABELS} and annotations/training/"
    return None


def find(root: Path) -> Layout:
    """Pair images/ and annotations/ by stem; files without a partner become faults."""
    layout = Layout(root)
    if lacks(layout, (f"{kind}/{folder}" for kind in _KINDS for folder in _FOLDERS), "ADE20K"):
        return layout
    layout.classes = _classes(layout)
    if not layout.classes:
        return layout
    # A value beyond the names becomes no class, so that the inspection reports it.
    beyond = range(len(layout.classes), IGNORE_INDEX)
    layout.values = bytes([IGNORE_INDEX, *range(len(layout.classes)), *beyond])
    there = {name for kind in _KINDS for name in subfolders(root / kind)} - {*_FOLDERS}
    if there:
        layout.warnings.append(
            f"folders that ADE20K does not have, ignored: {listed(sorted(there))}"
        )
    for folder in _FOLDERS:
        images, masks = (picture_files(layout, root / kind / folder) for kind in _KINDS)
        layout.by_split[SPLIT_NAMES[folder]] = pairs(layout, images, masks, folder)
    return layout


def _classes(layout: Layout) -> tuple[str, ...]:
    """The first of each class's synonyms ("building, edifice"); all of them if it is taken."""
    if not (layout.root / _LABELS).is_file():
        layout.faults.append(f"there is no {_LABELS}, which names the classes of ADE20K")
        return ()
    rows = [line.split("\t") for line in lines(layout, layout.root / _LABELS)]
    names: list[str] = []
    for row in rows:
        if row[0].strip().isdecimal():
            first = row[-1].replace(";", ",").partition(",")[0].strip()
            names.append(row[-1].strip() if first in names else first)
    if not 2 <= len(set(names)) == len(names) < IGNORE_INDEX:
        layout.faults.append(f"{_LABELS} must name 2 to 254 classes, it names {len(set(names))}")
        return ()
    return tuple(names)
