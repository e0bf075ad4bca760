"""Label files of YOLO: a line for each object, ``class x y x y …``, in shares of the picture.

Source: docs.ultralytics.com/datasets/segment, "Label format"; ultralytics 8.4,
ultralytics/data/utils.py (verify_image_label). A line ``class x y width height`` is a box.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from autoseg.core.errors import InputError
from autoseg.core.records import IGNORE_INDEX
from autoseg.data.dataset import Array
from autoseg.data.formats.common import shapes

# What one picture may hold, so that no file takes unbounded time or memory.
MAX_FILE_BYTES = 4 * 2**20
MAX_OBJECTS = 20_000
_BOX_NUMBERS = 4
_MIN_OUTLINE_NUMBERS = 6
# Converters write outlines that pass the edge a little; pixels instead of shares go far beyond.
_LOWEST_SHARE, _HIGHEST_SHARE = -1.0, 2.0
# A hundredth of a pixel of 10,000 x 10,000; more than rounding makes of points on one line.
_MIN_AREA = 1e-10
# Ultralytics' own tolerance.
_EDGE_TOLERANCE = 0.01


@dataclass(frozen=True)
class LabelledObject:
    """An object's class id and its outline: float64 ``[n, 2]`` of x, y in shares of width and
    height. Of a box the outline is not known, only its four corners.
    """

    class_id: int
    outline: shapes.Points
    is_box: bool

    @property
    def has_area(self) -> bool:
        """Whether it can cover a pixel of any picture."""
        return self.area > _MIN_AREA

    @property
    def area(self) -> float:
        """The area as a share of the picture (shoelace formula)."""
        points = np.concatenate([self.outline, self.outline[:1]])
        x, y = points.T
        return abs(float(x[:-1] @ y[1:] - x[1:] @ y[:-1])) / 2

    @property
    def passes_edge(self) -> bool:
        """Whether it lies partly outside of the picture."""
        beyond = np.abs(self.outline - 0.5).max(initial=0) - 0.5
        return bool(beyond > _EDGE_TOLERANCE)


@dataclass
class Contents:
    """What label files hold: the number of objects, a file for each class id, files by the kind
    of object that is not drawn as it is (one entry an object), those without objects, and the
    reasons of files that are not YOLO's.
    """

    objects: int = 0
    ids: dict[int, str] = field(default_factory=dict)
    boxes: list[str] = field(default_factory=list)
    flat: list[str] = field(default_factory=list)
    beyond: list[str] = field(default_factory=list)
    empty: list[str] = field(default_factory=list)
    wrong: dict[str, str] = field(default_factory=dict)


def examine_labels(files: Mapping[str, Path]) -> Contents:
    """Read all label files, given by the names that messages show."""
    contents = Contents()
    for name, path in files.items():
        try:
            objects = read_objects(path)
        except InputError as error:
            contents.wrong[name] = str(error)
            continue
        contents.objects += len(objects)
        contents.ids |= {one.class_id: name for one in objects}
        contents.boxes += [name for one in objects if one.is_box]
        contents.flat += [name for one in objects if not one.is_box and not one.has_area]
        contents.beyond += [name for one in objects if one.passes_edge]
        contents.empty += [] if objects else [name]
    return contents


def read_objects(path: Path) -> list[LabelledObject]:
    """The objects of a label file, those without an area too; none for an empty file.

    Raises InputError with the line for numbers that are no class and outline.
    """
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise InputError(f"it is over {MAX_FILE_BYTES // 2**20} MiB, too large for labels")
        if not path.is_file():  # opening a pipe would wait for ever
            raise InputError("it is no file")
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"it cannot be read: {error}") from error
    lines = text.split("\n", MAX_OBJECTS)
    if len(lines) > MAX_OBJECTS and lines[-1].strip():
        raise InputError(f"it holds over {MAX_OBJECTS} lines, and an object is a line")
    rows = ((number, line.split()) for number, line in enumerate(lines, 1))
    return [_object(number, words) for number, words in rows if words]


def draw(mask: Array, path: Path, values: dict[int, int]) -> Array:
    """Draw the objects of a label file into a mask and return it; `values` are mask values by
    class id, and others are ignored.

    The pixels of boxes are ignored where no outline covers them. Smaller outlines cover larger
    ones, as in Ultralytics' semantic segmentation.
    Raises InputError.
    """
    objects = read_objects(path)
    scale = np.array(mask.shape[::-1], np.float64)
    for box in (one for one in objects if one.is_box):
        shapes.fill_polygon(mask, IGNORE_INDEX, box.outline * scale)
    outlined = [one for one in objects if not one.is_box and one.has_area]
    for one in sorted(outlined, key=lambda one: -one.area):
        shapes.fill_polygon(mask, values.get(one.class_id, IGNORE_INDEX), one.outline * scale)
    return mask


def _object(number: int, words: list[str]) -> LabelledObject:
    try:
        class_id, *shares = [float(word) for word in words]
    except ValueError as error:
        raise InputError(f"line {number}: {' '.join(words):.40} are not all numbers") from error
    if class_id < 0 or not class_id.is_integer():
        raise InputError(f"line {number}: a class id is 0, 1, 2 …, got {words[0]:.20}")
    if len(shares) % 2:
        raise InputError(
            f"line {number}: {len(words)} numbers; an outline is a class and pairs of x and y"
            " (a last number that is a confidence shows the output of a model, not labels)"
        )
    wrong = [share for share in shares if not _LOWEST_SHARE <= share <= _HIGHEST_SHARE]
    if wrong:
        raise InputError(
            f"line {number}: x and y are shares of the picture's width and height, 0 to 1, got"
            f" {wrong[0]:g}"
        )
    return LabelledObject(int(class_id), *_outline(shares))


def _outline(shares: list[float]) -> tuple[shapes.Points, bool]:
    """The outline of the numbers behind a class, and whether it is a box; fewer than three points
    have no area.
    """
    if len(shares) == _BOX_NUMBERS:
        x, y, width, height = shares
        corner = (x - width / 2, y - height / 2)
        return shapes.rectangle(corner, (corner[0] + width, corner[1] + height)), True
    if len(shares) < _MIN_OUTLINE_NUMBERS:
        return np.empty((0, 2)), False
    return np.array(shares, np.float64).reshape(-1, 2), False
