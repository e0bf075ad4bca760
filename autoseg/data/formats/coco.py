"""COCO: a JSON file for each split, with objects (or stuff) as polygons and runs, or with panoptic
masks.

Source: https://cocodataset.org/#format-data.
"""

from __future__ import annotations

from collections import defaultdict
from functools import partial
from pathlib import Path

import numpy as np

from autoseg.core.errors import InputError
from autoseg.core.records import IGNORE_INDEX
from autoseg.core.units import HW
from autoseg.data.dataset import Array, Sample
from autoseg.data.formats.coco_file import CocoFile, Thing, read_coco
from autoseg.data.formats.coco_runs import decode_runs
from autoseg.data.formats.references import (
    Pictures,
    class_number,
    class_order,
    named_splits,
    path_parts,
    pictures_below,
    split_of,
)
from autoseg.data.formats.shapes import check_size, paint, picture_hw, read_numbers, read_points
from autoseg.data.layout import Found, listed
from autoseg.data.pictures import read_picture

# More than these at one place are another tool's files, one a picture.
_MAX_FILES = 20
_ENDS = 65536
_MARKS = ("images", "annotations", "categories", "file_name", "category_id", "image_id")
_SIZES = ("height", "width")


def recognize(root: Path) -> str | None:
    """Why `root` is of this format, in words; None if it is not."""
    files = _files(root)
    return f"{files[0].relative_to(root).as_posix()} is a file of COCO" if files else None


def find(root: Path) -> Found:
    """Find the picture of each entry; what does not fit becomes a fault."""
    found = Found(root, values=bytes(range(256)))
    pictures = pictures_below(root)
    splits: dict[str, list[tuple[Path, str]]] = defaultdict(list)
    names: dict[str, None] = {}
    used: dict[Path, str] = {}
    panoptic = True
    for path in _files(root):
        try:
            coco = read_coco(path)
        except InputError as error:
            found.faults.append(str(error))
            continue
        panoptic = panoptic and bool(coco.segments)
        names |= dict.fromkeys(coco.names.values())
        split = split_of(path.stem) or split_of(path.parent.name)
        splits[split] += _pairs(found, path, coco, pictures, used)
    if not used and not found.faults:
        found.faults.append(f"there is no file of COCO with pictures in {root}")
    # Every pixel of a panoptic mask has a class, or is void.
    found.classes = tuple(names) if panoptic and names else class_order(found, names)
    found.read_mask = partial(_read_mask, found.classes)
    found.by_split = named_splits(found, splits)
    return found


def _files(root: Path) -> list[Path]:
    """The files of COCO in a folder and directly below it; of several that describe the same
    pictures the objects' outlines count.
    """
    below = sorted(p for p in root.iterdir() if p.is_dir() and p.name[0] != ".")
    chosen: list[Path] = []
    for folder in (root, *below) if root.is_dir() else ():
        files = sorted(path for path in folder.glob("*.json") if path.name[0] != ".")
        coco = [p for p in files if _looks_right(p)] if len(files) <= _MAX_FILES else []
        chosen += [p for p in coco if p.name.startswith("instances")] or coco
    return chosen


def _looks_right(path: Path) -> bool:
    """By what both ends of a file hold; it is not parsed."""
    try:
        with path.open("rb") as file:
            held = file.read(_ENDS)
            file.seek(max(0, path.stat().st_size - _ENDS))
            held += file.read(_ENDS)
    except OSError:
        return False
    begins = held.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{")
    return begins and sum(f'"{mark}"'.encode() in held for mark in _MARKS) >= 3


def _pairs(
    found: Found, path: Path, coco: CocoFile, pictures: Pictures, used: dict[Path, str]
) -> list[tuple[Path, str]]:
    """A file's pictures with their places in it. Those of its split's folder come first."""
    own = path.parent.name
    folder = path.stem.rpartition("_")[2] if own == "annotations" else own
    # Panoptic masks lie in the folder of the file's name.
    place = path.with_suffix("") if coco.segments else path
    pairs: list[tuple[Path, str]] = []
    missing: list[str] = []
    for number, entry in coco.pictures.items():
        name = str(entry["file_name"])
        try:
            picture = pictures.find("/".join((folder, *path_parts(name))))
            if picture is None:
                missing.append(name)
                continue
            if picture in used:
                raise InputError(f"it is listed in {used[picture]} too; keep one")
            used[picture] = path.name
            pairs.append((picture, f"{place}#{number}"))
        except InputError as error:
            found.faults.append(f"{path.name}, picture {number} ({name:.80}): {error}")
    if missing:
        found.faults.append(
            f"{path.name} names pictures that are not below {found.root}: {listed(missing)}"
        )
    found.faults += [f"{path.name}: {fault}" for fault in coco.faults]
    found.warnings += [f"{path.name}: {warning}" for warning in coco.warnings]
    return pairs


def _read_mask(classes: tuple[str, ...], sample: Sample) -> Array:
    """A picture's objects as class indices, later ones over earlier ones. Raises InputError."""
    name, _, number = sample.mask.rpartition("#")
    hw = picture_hw(sample.image)
    coco = read_coco(Path(name).with_suffix(".json"))
    try:
        if number not in coco.pictures:
            raise InputError("it is no longer listed")
        check_size(coco.pictures[number], _SIZES, hw)
        if coco.segments:
            return _panoptic(classes, coco, number, Path(name), hw)
        mask = np.zeros(hw, np.uint8)
        for thing in coco.things.get(number, ()):
            _paint(mask, _number(classes, coco, thing.category, thing.crowd), thing)
        return mask
    except InputError as error:
        shown = coco.pictures.get(number, {}).get("file_name")
        raise InputError(f"{name}, picture {number} ({shown!r:.80}): {error}") from error


def _number(classes: tuple[str, ...], coco: CocoFile, category: str, crowd: bool) -> int:
    """Crowds are drawn coarsely and evaluated by nobody: they are ignored."""
    if crowd or category not in coco.names:
        return IGNORE_INDEX
    return class_number(classes, coco.names[category])


def _paint(mask: Array, value: int, thing: Thing) -> None:
    hw = (mask.shape[0], mask.shape[1])
    try:
        if isinstance(thing.outline, dict):
            if thing.outline.get("size") != list(hw):
                stated = thing.outline.get("size")
                raise InputError(f"its runs are of the size {stated!r:.40}, not {list(hw)}")
            mask[decode_runs(thing.outline.get("counts"), hw)] = value
        elif not isinstance(thing.outline, tuple):
            raise InputError(f"its segmentation is no polygons or runs: {thing.outline!r:.40}")
        elif thing.outline:
            for polygon in thing.outline:
                pairs = polygon.reshape(-1, 2) if polygon.size % 2 == 0 else None
                paint(mask, value, read_points(pairs))
        else:
            _ignore_box(mask, thing.box)
    except InputError as error:
        raise InputError(f"object {thing.number}: {error}") from error


def _ignore_box(mask: Array, box: object) -> None:
    """Of an object without an outline nothing is known but where it is."""
    sides = dict(zip(("x", "y", "w", "h"), box, strict=False)) if isinstance(box, list) else {}
    left, top, width, height = read_numbers(sides, ("x", "y", "w", "h"))
    corners = [
        [left, top],
        [left + width, top],
        [left + width, top + height],
        [left, top + height],
    ]
    paint(mask, IGNORE_INDEX, np.array(corners))


def _panoptic(
    classes: tuple[str, ...], coco: CocoFile, number: str, folder: Path, hw: HW
) -> Array:
    """A panoptic mask, whose colours are the numbers of segments (R + 256 G + 65536 B)."""
    mask = np.full(hw, IGNORE_INDEX, np.uint8)
    if number not in coco.segments:
        raise InputError("it has no panoptic mask")
    name, segments = coco.segments[number]
    pixels = read_picture(folder / "".join(path_parts(name)[-1:]))
    if pixels.shape[:2] != hw:
        raise InputError(f"its panoptic mask {name:.80} has another size")
    numbers = pixels @ np.array([1, 256, 65536], np.uint32)
    for segment, (category, crowd) in segments.items():
        mask[numbers == segment] = _number(classes, coco, category, crowd)
    return mask
