"""Draw the regions of a Label Studio task as a mask.

Units and anchors of regions: their serializers in Label Studio's editor (src/regions).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from autoseg.core.errors import InputError
from autoseg.core.units import HW
from autoseg.data.dataset import Array, Sample
from autoseg.data.formats.common import shapes
from autoseg.data.formats.common.json_files import decode_base64, read_json
from autoseg.data.formats.common.labels import class_index
from autoseg.data.formats.common.shapes import Points
from autoseg.data.formats.label_studio.rle import decode_rle
from autoseg.data.formats.label_studio.tasks import Region, labelled_areas

# A scaled picture has the stated aspect ratio up to rounding: its width may differ by this much.
_MAX_WIDTH_ERROR_PX, _MAX_WIDTH_ERROR_SHARE = 1.5, 0.02


def read_mask(classes: tuple[str, ...], sample: Sample) -> Array:
    """A task's regions as class indices, later ones over earlier ones. Raises InputError."""
    path, _, place = sample.mask.rpartition("#")
    hw = shapes.picture_hw(sample.image)
    mask = np.zeros(hw, np.uint8)
    number, _, name = place.partition(" ")
    try:
        for region in labelled_areas(read_json(Path(path))[int(number)]).regions or ():
            _draw(mask, class_index(classes, region.label), region)
    except (LookupError, TypeError, InputError) as error:
        raise InputError(f"{path}, {name.strip('()')}: {error}") from error
    return mask


def _draw(mask: Array, index: int, region: Region) -> None:
    """One region: bitmaps are in pixels, outlines in percent of the picture's size."""
    value, hw = region.value, (mask.shape[0], mask.shape[1])
    if "rle" in value:
        mask[decode_rle(value["rle"], hw)] = index
    elif "imageDataURL" in value:
        mask[shapes.decode_bitmap(decode_base64(value["imageDataURL"]), hw)] = index
    else:
        _check_aspect(hw, region.drawn_on)
        shapes.fill_polygon(mask, index, _outline(value, hw))


def _outline(value: dict[str, Any], hw: HW) -> Points:
    """A region's corners in pixels. Rectangles turn about their corner, ellipses about their
    centre; both turn in pixels, not in percentages.
    """
    percent = np.array([hw[1], hw[0]]) / 100
    if "points" in value:
        points: Points = shapes.read_points(value["points"]) * percent
        return points
    angle = shapes.read_numbers({"rotation": 0, **value}, ["rotation"])[0]
    is_ellipse = "radiusX" in value
    keys = ("x", "y", "radiusX", "radiusY") if is_ellipse else ("x", "y", "width", "height")
    x, y, across, along = np.array(shapes.read_numbers(value, keys)) * np.tile(percent, 2)
    if is_ellipse:
        return shapes.ellipse((x, y), (across, along), angle)
    return shapes.rotate(shapes.rectangle((0, 0), (across, along)), angle, (x, y))


def _check_aspect(hw: HW, drawn_on: tuple[object, object]) -> None:
    """Raise InputError for another aspect ratio: percentages hold for a picture that was scaled,
    not for one that was cropped or turned.
    """
    if drawn_on == (None, None):
        return
    keys = ("original_width", "original_height")
    width, height = shapes.read_numbers(dict(zip(keys, drawn_on, strict=True)), keys)
    max_error_px = _MAX_WIDTH_ERROR_PX + _MAX_WIDTH_ERROR_SHARE * hw[1]
    if min(width, height) <= 0 or abs(width * hw[0] / height - hw[1]) > max_error_px:
        raise InputError(
            f"it was labelled on a picture of {width:.0f}x{height:.0f}, and this one is"
            f" {hw[1]}x{hw[0]}: not the same picture"
        )
