"""LabelMe: a JSON file for each picture, beside it or in another folder.

Source: labelme 6.3 (labelme/_label_file.py, labelme/utils/shape.py).
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from autoseg.core.errors import InputError
from autoseg.core.records import IGNORE_INDEX
from autoseg.data.dataset import Array, Sample
from autoseg.data.formats.references import (
    Pictures,
    by_splits,
    class_number,
    class_order,
    decode_base64,
    path_parts,
    pictures_below,
    read_json,
)
from autoseg.data.formats.shapes import (
    Points,
    check_size,
    decode_bitmap,
    ellipse,
    paint,
    paste,
    picture_hw,
    read_points,
)
from autoseg.data.layout import Found, listed

# Names that LabelMe's own converters treat so.
_NO_CLASS = {"__ignore__": IGNORE_INDEX, "_background_": 0}
_AREAS = ("polygon", "rectangle", "oriented_rectangle", "circle", "mask")
_TRIED = 3


def recognize(root: Path) -> str | None:
    """Why `root` is of this format, in words; None if it is not."""
    tried: dict[str, int] = {}
    for path in _json_files(root):
        folder = str(path.parent)
        tried[folder] = tried.get(folder, 0) + 1
        if tried[folder] <= _TRIED and _looks_right(path):
            return f"{path.relative_to(root).as_posix()} is a file of LabelMe"
    return None


def find(root: Path) -> Found:
    """Pair each file with its picture; what does not fit becomes a fault."""
    found = Found(root, values=bytes(range(256)))
    pictures = pictures_below(root)
    pairs: dict[Path, str] = {}
    labels: set[str] = set()
    missing: list[str] = []
    notes: set[str] = set()
    for path in _json_files(root):
        name = path.relative_to(root).as_posix()
        try:
            labelled = read_json(path)
            if not isinstance(labelled, dict) or "shapes" not in labelled:
                notes.add(f"files without shapes, ignored, such as {name}")
                continue
            shapes = list(_shapes(labelled, notes))
            picture = _picture(path, labelled, pictures)
            if picture is None:
                missing.append(name)
            elif picture in pairs:
                raise InputError(f"its picture is that of {Path(pairs[picture]).name} too")
            else:
                pairs[picture] = str(path)
                labels.update(shape["label"] for shape in shapes)
        except InputError as error:
            found.faults.append(str(error) if str(path) in str(error) else f"{name}: {error}")
    if missing:
        found.faults.append(f"files whose pictures are not below {root}: {listed(missing)}")
    if not pairs and not found.faults:
        found.faults.append(f"there is no file of LabelMe in {root}")
    found.warnings += sorted(notes)
    found.classes = class_order(found, sorted(labels - set(_NO_CLASS)))
    found.read_mask = partial(_read_mask, found.classes)
    found.by_split = by_splits(found, pairs)
    return found


def _json_files(root: Path) -> Iterator[Path]:
    for folder, folders, files in os.walk(root):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        shown = (name for name in sorted(files) if not name.startswith("."))
        yield from (Path(folder, name) for name in shown if name.lower().endswith(".json"))


def _looks_right(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            start = file.read(4096)
    except OSError:
        return False
    return start.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{") and b'"shapes"' in start


def _picture(path: Path, labelled: dict[str, Any], pictures: Pictures) -> Path | None:
    """The picture that a file names by its place beside it, or else by its name."""
    parts = path_parts(labelled.get("imagePath"))
    if not parts:
        raise InputError("its imagePath names no picture")
    beside = Path(os.path.normpath(path.parent.joinpath(*parts)))
    if beside.is_relative_to(pictures.root) and beside.is_file():
        return beside
    return pictures.find("/".join(parts), path.parent)


def _shapes(labelled: dict[str, Any], notes: set[str]) -> Iterator[dict[str, Any]]:
    """The shapes that have an area, each with its label and its shape_type."""
    shapes = labelled["shapes"]
    if not isinstance(shapes, list) or not all(isinstance(shape, dict) for shape in shapes):
        raise InputError(f"its shapes must be a list of objects, got {shapes!r:.40}")
    for shape in shapes:
        if not isinstance(shape.get("label"), str):
            raise InputError(f"a shape's label must be a text, got {shape.get('label')!r:.40}")
        kind = shape.get("shape_type") or "polygon"
        if kind in _AREAS:
            yield {**shape, "shape_type": kind}
        else:
            notes.add(f"shapes of type {kind!r:.40} have no area, ignored")


def _read_mask(classes: tuple[str, ...], sample: Sample) -> Array:
    """A file's shapes as class indices, later ones over earlier ones. Raises InputError."""
    hw = picture_hw(sample.image)
    mask = np.zeros(hw, np.uint8)
    try:
        labelled = read_json(Path(sample.mask))
        check_size(labelled, ("imageHeight", "imageWidth"), hw)
        for number, shape in enumerate(_shapes(labelled, set())):
            label = shape["label"]
            value = _NO_CLASS[label] if label in _NO_CLASS else class_number(classes, label)
            _paint(mask, value, shape, f"shape {number} ({label:.40})")
    except (LookupError, TypeError) as error:
        raise InputError(f"{sample.mask} changed while it was in use") from error
    except InputError as error:
        known = sample.mask in str(error)
        raise InputError(str(error) if known else f"{sample.mask}: {error}") from error
    return mask


def _paint(mask: Array, value: int, shape: dict[str, Any], name: str) -> None:
    kind, points = shape["shape_type"], shape.get("points")
    try:
        if kind in ("polygon", "oriented_rectangle"):
            paint(mask, value, read_points(points))
            return
        first, second = read_points(points, least=2)[:2]
        if kind == "mask":
            hw = (mask.shape[0], mask.shape[1])
            covered = decode_bitmap(decode_base64(shape.get("mask")), hw, whole=False)
            paste(mask, value, covered, *first)
        elif kind == "circle":
            paint(mask, value, _circle(first, math.dist(first, second)))
        else:
            paint(
                mask,
                value,
                np.array([first, [second[0], first[1]], second, [first[0], second[1]]]),
            )
    except InputError as error:
        raise InputError(f"{name}: {error}") from error


def _circle(centre: Points, radius: float) -> Points:
    return ellipse((float(centre[0]), float(centre[1])), (radius, radius), 0)
