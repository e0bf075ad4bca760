"""PASCAL VOC: JPEGImages/, SegmentationClass/ and the lists of ImageSets/Segmentation/.

Sources: the VOC 2012 development kit (host.robots.ox.ac.uk/pascal/VOC/voc2012), section
"Segmentation": palette PNGs, index 0 background, 1 to 20 the classes in alphabetical order, 255
for borders and difficult objects. CVAT's "Segmentation mask" and Datumaro's `voc_segmentation`
exports add labelmap.txt, lines of ``label:R,G,B:parts:actions``.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from autoseg.data.dataset import SPLITS
from autoseg.data.formats.colours import ColourTable, colour_table, palette_colour, set_classes
from autoseg.data.formats.pairing import SPLIT_NAMES, by_lists, lacks, lines, pairs, pictures_below
from autoseg.data.formats.plain import class_names
from autoseg.data.layout import Found

NAMES = (
    "background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair",
    "cow", "diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa",
    "train", "tvmonitor",
)  # fmt: skip
BORDER_COLOUR = (224, 224, 192)
BORDER_NAME = "ignored"  # what Datumaro calls it


def recognize(root: Path) -> str | None:
    """Why `root` is of this format, in words; None if it is not."""
    if not (root / "SegmentationClass").is_dir():
        return None
    for other in ("JPEGImages", "ImageSets/Segmentation"):
        if (root / other).is_dir():
            return f"it holds SegmentationClass/ and {other}/"
    return None


def find(root: Path) -> Found:
    """Pair the pictures that the lists name, or all that have a mask where there are no lists."""
    found = Found(root)
    if lacks(found, ("JPEGImages", "SegmentationClass"), "PASCAL VOC"):
        return found
    images = pictures_below(found, root / "JPEGImages")
    masks = pictures_below(found, root / "SegmentationClass")
    lists = _lists(found)
    if lists:
        found.by_split = by_lists(found, lists, images, masks)
    else:
        with_mask = {name: path for name, path in images.items() if name in masks}
        found.by_split = {"": pairs(found, with_mask, masks, "SegmentationClass")}
    _set_masks(found)
    return found


def _lists(found: Found) -> dict[str, list[str]]:
    """The names by split: of train, val and test, or of all together where no list is of train."""
    folder = found.root / "ImageSets" / "Segmentation"
    files = sorted(folder.glob("*.txt")) if folder.is_dir() else []
    by_split: dict[str, list[str]] = {}
    for path in files:
        if split := SPLIT_NAMES.get(path.stem.lower()):
            by_split.setdefault(split, []).extend(lines(found, path))
    if "train" not in by_split and files:
        return {"": [name for path in files for name in lines(found, path)]}
    return {split: by_split[split] for split in SPLITS if split in by_split}


def _set_masks(found: Found) -> None:
    path = found.root / "labelmap.txt"
    if path.is_file():
        table = colour_table(found, path)
        if table is not None:
            set_classes(found, _with_background(table), ignored=[BORDER_NAME])
        return
    names = class_names(found) or NAMES
    colours = tuple(palette_colour(index) for index in range(len(names)))
    table = ColourTable(names, colours, "the palette of PASCAL VOC", BORDER_COLOUR, True)
    set_classes(found, table)


def _with_background(table: ColourTable) -> ColourTable:
    """What no label covers is black, also where the map has no entry for it (as in Datumaro)."""
    if (0, 0, 0) in table.colours or "background" in table.names:
        return table
    return replace(table, names=("background", *table.names), colours=((0, 0, 0), *table.colours))
