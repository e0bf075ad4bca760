"""Draw the areas of annotation files into masks: polygons, ellipses, bitmaps.

A pixel belongs to an area that covers its centre; pixel (row, column) covers y in [row, row + 1)
and x in [column, column + 1). No memory is allocated from a size that a file states.
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from autoseg.core.errors import InputError
from autoseg.core.units import HW
from autoseg.data.dataset import Array
from autoseg.data.pictures import PILLOW_FORMATS, TURNED, is_turned, orientation, read_bytes

Points = npt.NDArray[np.float64]
Covered = npt.NDArray[np.bool_]
# Bounds of the scratch memory of filling: of one band of rows, and of the edges in one step.
_MAX_BAND_ROWS, _MAX_BAND_PIXELS, _MAX_EDGES = 1024, 1 << 22, 4096
# Beyond any picture, and small enough that products of coordinates stay exact.
_MAX_COORDINATE_PX = 1e7
_ELLIPSE_POINTS = 1024
# The warning about pieces that draw nothing.
NO_AREA = "outlines without an area (a point or a line), left out"


def picture_hw(path: str) -> HW:
    """Height and width of a picture after EXIF rotation, not decoded. Raises InputError."""
    if not Path(path).is_file():  # opening a pipe would wait for ever
        raise InputError(f"{path}: not a readable picture (no file)")
    try:
        with Image.open(path, formats=PILLOW_FORMATS) as picture:
            width, height = picture.size
            turned = orientation(picture) in TURNED
    # Decoders raise many types for damaged bytes: OSError, SyntaxError, struct.error, ...
    except Exception as error:
        raise InputError(f"{path}: not a readable picture ({type(error).__name__})") from error
    return (width, height) if turned else (height, width)


def read_points(value: object, min_points: int = 0) -> Points:
    """``[[x, y], …]`` as float64 ``[n, 2]``, `min_points` or more. Raises InputError."""
    try:
        points = np.array(value, np.float64)
        if isinstance(value, list | np.ndarray) and not points.size:
            points = points.reshape(0, 2)
    except (TypeError, ValueError, OverflowError) as error:
        raise InputError("its points are not pairs of numbers") from error
    if points.ndim != 2 or points.shape[1] != 2 or not np.isfinite(points).all():
        raise InputError("its points are not pairs of numbers")
    if len(points) < min_points:
        raise InputError(f"it needs {min_points} points or more, got {len(points)}")
    return np.clip(points, -_MAX_COORDINATE_PX, _MAX_COORDINATE_PX)


def has_area(outline: Points) -> bool:
    """Whether an outline encloses anything: three points or more, and not all on one line.

    A stray click or a model's output leaves pieces without one; readers count and skip them.
    """
    if len(outline) < 3:
        return False
    sides = outline[1:] - outline[0]
    longest = sides[np.abs(sides).sum(axis=1).argmax()]
    with np.errstate(invalid="ignore", over="ignore"):  # `read_points` refuses them
        return bool((sides[:, 0] * longest[1] != sides[:, 1] * longest[0]).any())


def read_numbers(value: object, keys: Iterable[str]) -> list[float]:
    """The finite numbers of a JSON object under `keys`. Raises InputError for other values."""
    numbers = []
    for key in keys:
        number = value.get(key) if isinstance(value, dict) else None
        if isinstance(number, bool) or not isinstance(number, int | float):
            raise InputError(f"its {key} must be a number, got {number!r:.40}")
        if not abs(number) <= _MAX_COORDINATE_PX:
            raise InputError(f"its {key} is out of any picture: {number!r:.40}")
        numbers.append(float(number))
    return numbers


def rectangle(first: Sequence[float], second: Sequence[float]) -> Points:
    """The polygon of an upright rectangle between two opposite corners (x, y)."""
    (x, y), (other_x, other_y) = first, second
    return np.array([[x, y], [other_x, y], [other_x, other_y], [x, other_y]], np.float64)


def around(corners: Points) -> Points:
    """The corners of a convex outline in their order around its centre, given in any order."""
    sides = corners - corners.mean(axis=0)
    return corners[np.argsort(np.arctan2(sides[:, 1], sides[:, 0]), kind="stable")]


def ellipse(centre: tuple[float, float], radii: tuple[float, float], degrees: float) -> Points:
    """An ellipse turned clockwise about its centre, as a polygon of 1,024 points (off by less than
    0.1 px up to a radius of 20,000 px).
    """
    angles = np.linspace(0, 2 * math.pi, _ELLIPSE_POINTS, endpoint=False)
    points = np.stack([radii[0] * np.cos(angles), radii[1] * np.sin(angles)], 1)
    return rotate(points, degrees, centre)


def rotate(points: Points, degrees: float, shift: tuple[float, float]) -> Points:
    """Points turned about the origin, clockwise as pictures show it (y goes down), then moved."""
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    placed: Points = points @ np.array([[cos, sin], [-sin, cos]]) + np.array(shift)
    return placed


def fill_polygon(mask: Array, value: int, outline: Points) -> None:
    """Set the pixels inside a polygon, by the non-zero winding rule as browsers do; a polygon
    without an area has none.
    """
    if len(outline) < 3:
        return
    ends = np.stack([outline.min(axis=0), outline.max(axis=0)])
    (left, top), (right, bottom) = _first_centres(ends, 0, mask.shape[::-1]).tolist()
    rows = min(_MAX_BAND_ROWS, max(1, _MAX_BAND_PIXELS // max(1, right - left)))
    for row in range(top, bottom, rows):
        box = _Box(row, left, min(row + rows, bottom), right)
        mask[box.top : box.bottom, left:right][_inside(outline, box)] = value


class _Box(NamedTuple):
    top: int
    left: int
    bottom: int
    right: int


def _inside(points: Points, box: _Box) -> Covered:
    """The pixels of a box whose centres a polygon winds around: each edge adds its direction where
    it crosses a row of centres, and the cumulative sum along the row counts the windings.
    """
    end = np.roll(points, -1, axis=0)
    windings = np.zeros((box.bottom - box.top, box.right - box.left + 1), np.int16)
    for first in range(0, len(points), _MAX_EDGES):
        part = slice(first, first + _MAX_EDGES)
        _add_crossings(windings, points[part], end[part], box)
    np.cumsum(windings, axis=1, out=windings)
    inside: Covered = windings[:, :-1] != 0
    return inside


def _add_crossings(windings: npt.NDArray[np.int16], start: Points, end: Points, box: _Box) -> None:
    """Add +1 (downwards) or -1 where edges cross the rows of pixel centres."""
    down = end[:, 1] >= start[:, 1]
    high, low = np.where(down[:, None], start, end), np.where(down[:, None], end, start)
    first = _first_centres(high[:, 1], box.top, box.bottom)
    counts = _first_centres(low[:, 1], box.top, box.bottom) - first
    edge = np.repeat(np.arange(len(start)), counts)
    row = np.arange(len(edge)) + np.repeat(first - np.cumsum(counts) + counts, counts)
    share = (row + 0.5 - high[edge, 1]) / (low[edge, 1] - high[edge, 1])
    column = high[edge, 0] + share * (low[edge, 0] - high[edge, 0])
    place = (row - box.top, _first_centres(column, box.left, box.right) - box.left)
    np.add.at(windings, place, np.where(down[edge], 1, -1).astype(np.int16))


def _first_centres(values: Points, low: int, high: int | tuple[int, ...]) -> npt.NDArray[np.int64]:
    """The first pixels whose centres lie at or behind coordinates, clipped to bounds."""
    return np.clip(np.ceil(values - 0.5), low, high).astype(np.int64)


def decode_bitmap(data: bytes, hw: HW, *, whole: bool = True) -> Covered:
    """The covered pixels of a PNG inside an annotation: its alpha, else its brightest channel,
    from half of the strongest value on.

    It has the size `hw` of the picture; without `whole` it may be smaller. Raises InputError.
    """
    try:
        with Image.open(io.BytesIO(data), formats=("PNG",)) as picture:
            width, height = picture.size
            if (whole and (height, width) != hw) or height > hw[0] or width > hw[1]:
                raise InputError(f"its bitmap is {width}x{height}, the picture {hw[1]}x{hw[0]}")
            alpha = "A" in picture.getbands() or "transparency" in picture.info
            values = np.asarray(picture.convert("RGBA" if alpha else "RGB"))
    except InputError:
        raise
    # Pillow raises many types for damaged bytes.
    except Exception as error:
        raise InputError(f"its bitmap is not a readable PNG ({type(error).__name__})") from error
    return from_half(values[..., 3] if alpha else values.max(axis=2))


def paste_bitmap(mask: Array, value: int, covered: Covered, left: float, top: float) -> None:
    """Set the pixels that a small bitmap covers. Raises InputError where it passes the edge."""
    row, column = int(top), int(left)
    bottom, right = row + covered.shape[0], column + covered.shape[1]
    if row < 0 or column < 0 or bottom > mask.shape[0] or right > mask.shape[1]:
        raise InputError(
            f"its bitmap covers x {column}..{right - 1}, y {row}..{bottom - 1} of a picture of"
            f" {mask.shape[1]}x{mask.shape[0]}"
        )
    mask[row:bottom, column:right][covered] = value


def check_size(stated: object, keys: tuple[str, str], hw: HW, picture: str) -> None:
    """Raise InputError if a JSON object states another height or width than the picture's."""
    height, width = (stated.get(key) if isinstance(stated, dict) else None for key in keys)
    if height not in (None, hw[0]) or width not in (None, hw[1]):
        raise other_size(height, width, hw, picture)


def other_size(height: object, width: object, hw: HW, picture: str) -> InputError:
    """The error of a picture of the size `hw` that was labelled at another one.

    Tools differ in whether the EXIF orientation turns the picture before its outlines are drawn
    and before its size is written, so a picture that it turned may be read in two ways.
    """
    rule = f"it was labelled on a picture of {width!r:.20}x{height!r:.20}, and this one is"
    if (width, height) != hw or not is_turned(read_bytes(picture)):
        return InputError(f"{rule} {hw[1]}x{hw[0]}: not the same picture")
    return InputError(
        f"{rule} {hw[1]}x{hw[0]} once its EXIF orientation has turned it: if the outlines fit the"
        " turned picture, correct the size in the file; if they fit the unturned one, remove the"
        " orientation from the picture (exiftool -Orientation= FILE)"
    )


def from_half(values: Array) -> Covered:
    """The pixels of half the strongest value or more: a blurred rim must not widen an area."""
    return (values > 0) & (values >= (int(values.max(initial=0)) + 1) // 2)
