"""COCO: instances, stuff and panoptic masks in JSON files (cocodataset.org/#format-data), one per
split.
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
from autoseg.data.formats.coco_file import CocoFile, CocoObject, decode_rle, read_coco
from autoseg.data.formats.common import pairing, shapes
from autoseg.data.formats.common.files import (
    class_index,
    class_order,
    export_files,
    head,
    in_any_form,
)
from autoseg.data.formats.common.pairing import Pair, PictureIndex, path_parts
from autoseg.data.layout import Layout, listed
from autoseg.data.pictures import naming, read_picture

# The keys of a file stand at either end of it.
_END_BYTES = 65536
_KEYS = ("images", "annotations", "categories", "file_name", "category_id", "image_id")
_MIN_KEYS = 3


def recognize(root: Path) -> str | None:
    files = _coco_files(root)
    return f"{files[0].relative_to(root).as_posix()} is a file of COCO" if files else None


def find(root: Path) -> Layout:
    """Find the picture of each entry; entries that cannot be used become faults."""
    layout = Layout(root, values=bytes(range(256)))
    pictures = PictureIndex(root)
    splits: dict[str, list[Pair]] = defaultdict(list)
    names: dict[str, None] = {}
    used: dict[Path, str] = {}
    panoptic = True
    for path in _coco_files(root):
        try:
            coco = read_coco(path)
        except InputError as error:
            layout.faults.append(str(error))
            continue
        panoptic = panoptic and bool(coco.segments)
        names |= dict.fromkeys(coco.names.values())
        split = pairing.split_of(path.stem) or pairing.split_of(path.parent.name)
        splits[split] += _pairs(layout, path, coco, pictures, used)
    if not used and not layout.faults:
        layout.faults.append(f"there is no file of COCO with pictures in {root}")
    # Every pixel of a panoptic mask has a class, or is void: there is no background.
    layout.classes = tuple(names) if panoptic and names else class_order(layout, names)
    layout.read_mask = partial(read_mask, layout.classes)
    layout.by_split = pairing.named_splits(layout, splits)
    return layout


def _coco_files(root: Path) -> list[Path]:
    """The files of COCO in a folder and its direct subfolders. Of several files about the same
    pictures (captions, key points), those with the outlines of objects count.
    """
    below = sorted(p for p in root.iterdir() if p.is_dir() and p.name[0] != ".")
    chosen: list[Path] = []
    for folder in (root, *below) if root.is_dir() else ():
        coco = [path for path in export_files(folder) if _looks_right(path)]
        chosen += [path for path in coco if path.name.startswith("instances")] or coco
    return chosen


def _looks_right(path: Path) -> bool:
    """Whether the ends of a file hold COCO's keys; the file is not parsed."""
    held = head(path, _END_BYTES)
    if not held.startswith(b"{"):
        return False
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - _END_BYTES))
            held += file.read(_END_BYTES)
    except OSError:
        return False
    return sum(f'"{key}"'.encode() in held for key in _KEYS) >= _MIN_KEYS


def _pairs(
    layout: Layout, path: Path, coco: CocoFile, pictures: PictureIndex, used: dict[Path, str]
) -> list[Pair]:
    """A file's pictures, each with `file#id`. Pictures in the folder of its split come first."""
    own = path.parent.name
    folder = path.stem.rpartition("_")[2] if own == "annotations" else own
    # Panoptic masks lie in the folder that has the file's name.
    place = path.with_suffix("") if coco.segments else path
    pairs: list[Pair] = []
    missing: list[str] = []
    for number, entry in coco.pictures.items():
        name = str(entry["file_name"])
        try:
            if (picture := pictures.find("/".join((folder, *path_parts(name))))) is None:
                missing.append(name)
                continue
            if picture in used:
                raise InputError(f"it is listed in {used[picture]} too; keep one")
            used[picture] = path.name
            pairs.append((picture, f"{place}#{number}"))
        except InputError as error:
            layout.faults.append(f"{path.name}, picture {number} ({name:.80}): {error}")
    if missing:
        told = f"{path.name} names pictures that are not below {layout.root}"
        layout.faults.append(f"{told}: {listed(missing)}")
    layout.faults += [f"{path.name}: {fault}" for fault in coco.faults]
    layout.warnings += [f"{path.name}: {warning}" for warning in coco.warnings]
    return pairs


def read_mask(classes: tuple[str, ...], sample: Sample) -> Array:
    """A picture's objects as class indices, later ones over earlier ones. Raises InputError."""
    name, _, number = sample.mask.rpartition("#")
    hw = shapes.picture_hw(sample.image)
    coco = read_coco(Path(name).with_suffix(".json"))
    try:
        if number not in coco.pictures:
            raise InputError("it is no longer listed")
        shapes.check_size(coco.pictures[number], ("height", "width"), hw)
        if coco.segments:
            return _panoptic(classes, coco, number, Path(name), hw)
        mask = np.zeros(hw, np.uint8)
        for one in coco.objects.get(number, ()):
            value = _class_of(classes, coco, one.category, one.crowd)
            naming(f"object {one.number}", _draw, mask, value, one)
        return mask
    except InputError as error:
        shown = coco.pictures.get(number, {}).get("file_name")
        raise InputError(f"{name}, picture {number} ({shown!r:.80}): {error}") from error


def _class_of(classes: tuple[str, ...], coco: CocoFile, category: str, crowd: bool) -> int:
    """The class of a category; crowds, drawn coarsely, are ignored as in COCO's metrics."""
    if crowd or category not in coco.names:
        return IGNORE_INDEX
    return class_index(classes, coco.names[category])


def _draw(mask: Array, value: int, one: CocoObject) -> None:
    hw = (mask.shape[0], mask.shape[1])
    if isinstance(one.outline, dict):
        if (stated := one.outline.get("size")) != list(hw):
            raise InputError(f"its runs are of the size {stated!r:.40}, not {list(hw)}")
        mask[decode_rle(one.outline.get("counts"), hw)] = value
    elif not isinstance(one.outline, tuple):
        raise InputError(f"its segmentation is no polygons or runs: {one.outline!r:.40}")
    elif one.outline:
        for polygon in one.outline:
            pairs = polygon.reshape(-1, 2) if polygon.size % 2 == 0 else None
            shapes.fill_polygon(mask, value, shapes.read_points(pairs))
    else:
        _ignore_box(mask, one.box)


def _ignore_box(mask: Array, box: object) -> None:
    """Ignore the pixels of an object whose box is known and whose outline is not."""
    sides = dict(zip(("x", "y", "w", "h"), box, strict=False)) if isinstance(box, list) else {}
    left, top, width, height = shapes.read_numbers(sides, ("x", "y", "w", "h"))
    outline = shapes.rectangle((left, top), (left + width, top + height))
    shapes.fill_polygon(mask, IGNORE_INDEX, outline)


def _panoptic(
    classes: tuple[str, ...], coco: CocoFile, number: str, folder: Path, hw: HW
) -> Array:
    """A panoptic mask, whose colours are the numbers of segments (R + 256 G + 65536 B)."""
    mask = np.full(hw, IGNORE_INDEX, np.uint8)
    if number not in coco.segments:
        raise InputError("it has no panoptic mask")
    name, segments = coco.segments[number]
    pixels = read_picture(in_any_form(folder / "".join(path_parts(name)[-1:])))
    if pixels.shape[:2] != hw:
        raise InputError(f"its panoptic mask {name:.80} has another size")
    numbers = pixels @ np.array([1, 256, 65536], np.uint32)
    for segment, (category, crowd) in segments.items():
        mask[numbers == segment] = _class_of(classes, coco, category, crowd)
    return mask
