"""PASCAL VOC: JPEGImages/, SegmentationClass/ and the lists of ImageSets/Segmentation/.

Sources: the VOC 2012 development kit (host.robots.ox.ac.uk/pascal/VOC/voc2012), section
"Segmentation": palette PNGs, index 0 background, 1 to 20 the classes in alphabetical order, 255
for borders and difficult objects. CVAT's "Segmentation mask" and Datumaro's `voc_segmentation`
exports add labelmap.txt, lines of ``label:R,G,B:parts:actions``. labelme2voc.py of labelme adds
class_names.txt; its older versions write the masks to SegmentationClassPNG/.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from autoseg.data.dataset import SPLITS
from autoseg.data.formats.common import colour_masks
from autoseg.data.formats.common.affixes import without_affixes
from autoseg.data.formats.common.colour_masks import ColourTable, set_classes
from autoseg.data.formats.common.files import (
    class_names,
    files_with,
    holds,
    lacks,
    lines,
    picture_files,
)
from autoseg.data.formats.common.pairing import SPLIT_NAMES, by_lists, pairs
from autoseg.data.layout import Layout, listed
from autoseg.data.pictures import under

NAMES = (
    "background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair",
    "cow", "diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa",
    "train", "tvmonitor",
)  # fmt: skip
BORDER_COLOUR = (224, 224, 192)
BORDER_NAME = "ignored"  # Datumaro's name
_VOC_PICTURE = re.compile(r"\d{4}_\d{6}")


def recognize(root: Path) -> str | None:
    others = ("JPEGImages", "ImageSets/Segmentation")
    return next(filter(None, (holds(root, "SegmentationClass", other) for other in others)), None)


def find(root: Path) -> Layout:
    """Pair the pictures that the lists name; without lists, all pictures that have a mask."""
    layout = Layout(root)
    if lacks(layout, ("JPEGImages", "SegmentationClass"), "PASCAL VOC"):
        return layout
    images = picture_files(layout, root / "JPEGImages")
    older = root / "SegmentationClassPNG"
    stored = picture_files(layout, older if older.is_dir() else root / "SegmentationClass")
    masks = without_affixes(layout, images, stored, "SegmentationClass")
    if lists := _lists(layout):
        layout.by_split = by_lists(layout, lists, images, masks)
    else:
        with_mask = {name: path for name, path in images.items() if name in masks}
        if bare := [name for name in images if name not in masks]:
            layout.warnings.append(f"JPEGImages: pictures without a mask, ignored: {listed(bare)}")
        layout.by_split = {"": pairs(layout, with_mask, masks, "SegmentationClass")}
    _set_masks(layout)
    return layout


def _lists(layout: Layout) -> dict[str, list[str]]:
    """The names by split (train, val, test); without a list of train, all lists are one split."""
    folder = layout.root / "ImageSets" / "Segmentation"
    files = files_with(folder, ".txt")
    by_split: dict[str, list[str]] = {}
    others = [path.name for path in files if path.stem.lower() not in (*SPLIT_NAMES, "trainval")]
    for path in files:
        if split := SPLIT_NAMES.get(path.stem.lower()):
            by_split.setdefault(split, []).extend(lines(layout, path))
    if "train" not in by_split and files:
        return {"": [name for path in files for name in lines(layout, path)]}
    if others:
        layout.warnings.append(
            f"{under(layout.root, str(folder))}: lists of no split, ignored: {listed(others)}"
        )
    return {split: by_split[split] for split in SPLITS if split in by_split}


def _set_masks(layout: Layout) -> None:
    if path := colour_masks.find_table(layout.root):
        if (table := colour_masks.colour_table(layout, path)) is not None:
            set_classes(layout, _with_background(table), ignored=[BORDER_NAME])
        return
    names = class_names(layout)
    if not names:
        names = NAMES
        _note_names(layout)
    colours = tuple(colour_masks.palette_colour(index) for index in range(len(names)))
    table = ColourTable(names, colours, "the palette of PASCAL VOC", BORDER_COLOUR, True)
    set_classes(layout, table)


def _note_names(layout: Layout) -> None:
    """Warn if VOC's names are used for pictures that are not named as VOC's are."""
    if not all(_VOC_PICTURE.fullmatch(sample.stem) for sample in layout.samples):
        layout.warnings.append(
            "no labelmap.txt, classes.txt or class_names.txt names the classes: they are the 21 of"
            " PASCAL VOC"
        )


def _with_background(table: ColourTable) -> ColourTable:
    """Add black as the background if the map has no entry for it (as Datumaro writes it)."""
    if (0, 0, 0) in table.colours or "background" in table.names:
        return table
    return replace(table, names=("background", *table.names), colours=((0, 0, 0), *table.colours))
