"""Draw a picture's objects in a file of COCO as a mask, or read its panoptic mask."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from autoseg.core.errors import InputError
from autoseg.core.records import IGNORE_INDEX
from autoseg.core.units import HW
from autoseg.data.dataset import Array, Sample
from autoseg.data.formats.coco.annotations import CocoFile, CocoObject, read_coco
from autoseg.data.formats.coco.rle import decode_rle
from autoseg.data.formats.common import shapes
from autoseg.data.formats.common.labels import class_index
from autoseg.data.formats.common.picture_index import path_parts
from autoseg.data.pictures import read_picture


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
            _draw(mask, _class_of(classes, coco, one.category, one.crowd), one)
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
    try:
        if isinstance(one.outline, dict):
            if one.outline.get("size") != list(hw):
                stated = one.outline.get("size")
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
    except InputError as error:
        raise InputError(f"object {one.number}: {error}") from error


def _ignore_box(mask: Array, box: object) -> None:
    """Ignore the pixels of an object whose box is known and whose outline is not."""
    sides = dict(zip(("x", "y", "w", "h"), box, strict=False)) if isinstance(box, list) else {}
    left, top, width, height = shapes.read_numbers(sides, ("x", "y", "w", "h"))
    shapes.fill_polygon(
        mask, IGNORE_INDEX, shapes.rectangle((left, top), (left + width, top + height))
    )


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
        mask[numbers == segment] = _class_of(classes, coco, category, crowd)
    return mask
