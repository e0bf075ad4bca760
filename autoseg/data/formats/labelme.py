"""LabelMe: a JSON file for each picture, in its folder or in another.

Source: labelme 6.3 (labelme/_label_file.py, labelme/utils/shape.py).
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from autoseg.core.errors import InputError
from autoseg.core.records import IGNORE_INDEX
from autoseg.core.units import HW
from autoseg.data.dataset import Array, Sample
from autoseg.data.formats.common import files, shapes
from autoseg.data.formats.common.pairing import PictureIndex, path_parts, set_labelled
from autoseg.data.layout import Layout, listed
from autoseg.data.pictures import naming

# Labels with this meaning in LabelMe's own converters.
_RESERVED = {"__ignore__": IGNORE_INDEX, "_background_": 0}
_AREA_TYPES = ("polygon", "rectangle", "oriented_rectangle", "circle", "mask")
# Per folder, to recognize the format.
_MAX_FILES_TRIED = 3


def recognize(root: Path) -> str | None:
    tried: dict[Path, int] = {}
    for path in _json_files(root):
        tried[path.parent] = tried.get(path.parent, 0) + 1
        if tried[path.parent] <= _MAX_FILES_TRIED and _looks_right(path):
            return f"{path.relative_to(root).as_posix()} is a file of LabelMe"
    return None


def find(root: Path) -> Layout:
    """Pair each file with its picture; files that cannot be used become faults."""
    layout = Layout(root, values=bytes(range(256)))
    pictures = PictureIndex(root)
    pairs: dict[Path, str] = {}
    labels: set[str] = set()
    missing: list[str] = []
    notes: set[str] = set()
    for path in _json_files(root):
        name = path.relative_to(root).as_posix()
        try:
            labelled = files.read_json(path)
            if not isinstance(labelled, dict) or "shapes" not in labelled:
                notes.add(f"files without shapes, ignored, such as {name}")
                continue
            areas = list(_areas(labelled, notes))
            if (picture := _picture(path, labelled, pictures)) is None:
                missing.append(name)
            elif picture in pairs:
                raise InputError(f"its picture is that of {Path(pairs[picture]).name} too")
            else:
                pairs[picture] = str(path)
                labels.update(shape["label"] for shape in areas)
        except InputError as error:
            layout.faults.append(str(error) if str(path) in str(error) else f"{name}: {error}")
    if missing:
        layout.faults.append(f"files whose pictures are not below {root}: {listed(missing)}")
    if not pairs and not layout.faults:
        layout.faults.append(f"there is no file of LabelMe in {root}")
    layout.warnings += sorted(notes)
    set_labelled(layout, pairs, labels - set(_RESERVED), _read_mask)
    return layout


def _json_files(root: Path) -> Iterator[Path]:
    return (path for path in files.visible_files(root) if path.name.lower().endswith(".json"))


def _looks_right(path: Path) -> bool:
    start = files.head(path)
    return start.startswith(b"{") and b'"shapes"' in start


def _picture(path: Path, labelled: dict[str, Any], pictures: PictureIndex) -> Path | None:
    """The picture of a file: at its `imagePath` if it is there, else by name."""
    parts = path_parts(labelled.get("imagePath"))
    if not parts:
        raise InputError("its imagePath names no picture")
    beside = Path(os.path.normpath(path.parent.joinpath(*parts)))
    if beside.is_relative_to(pictures.root) and beside.is_file():
        return beside
    return pictures.find("/".join(parts), path.parent)


def _areas(labelled: dict[str, Any], notes: set[str]) -> Iterator[dict[str, Any]]:
    """The shapes that have an area, each with its label and its shape_type."""
    for shape in files.objects(labelled["shapes"], "shapes"):
        if not isinstance(shape.get("label"), str):
            raise InputError(f"a shape's label must be a text, got {shape.get('label')!r:.40}")
        kind = shape.get("shape_type") or "polygon"
        if kind in _AREA_TYPES:
            yield {**shape, "shape_type": kind}
        else:
            notes.add(f"shapes of type {kind!r:.40} have no area, ignored")


def _read_mask(classes: tuple[str, ...], sample: Sample) -> Array:
    """A file's shapes as class indices, later ones over earlier ones. Raises InputError."""
    hw = shapes.picture_hw(sample.image)
    try:
        return naming(sample.mask, _mask, classes, Path(sample.mask), hw)
    except (LookupError, TypeError) as error:
        raise InputError(f"{sample.mask} changed while it was in use") from error


def _mask(classes: tuple[str, ...], path: Path, hw: HW) -> Array:
    mask = np.zeros(hw, np.uint8)
    labelled = files.read_json(path)
    shapes.check_size(labelled, ("imageHeight", "imageWidth"), hw)
    for number, shape in enumerate(_areas(labelled, set())):
        label = shape["label"]
        value = _RESERVED[label] if label in _RESERVED else files.class_index(classes, label)
        naming(f"shape {number} ({label:.40})", _draw, mask, value, shape)
    return mask


def _draw(mask: Array, value: int, shape: dict[str, Any]) -> None:
    kind, points = shape["shape_type"], shape.get("points")
    if kind in ("polygon", "oriented_rectangle"):
        shapes.fill_polygon(mask, value, shapes.read_points(points))
        return
    first, second = shapes.read_points(points, min_points=2)[:2]
    if kind == "mask":
        hw = (mask.shape[0], mask.shape[1])
        covered = shapes.decode_bitmap(files.decode_base64(shape.get("mask")), hw, whole=False)
        shapes.paste_bitmap(mask, value, covered, *first)
    elif kind == "circle":
        radius = math.dist(first, second)
        shapes.fill_polygon(mask, value, shapes.ellipse((first[0], first[1]), (radius, radius), 0))
    else:
        shapes.fill_polygon(mask, value, shapes.rectangle(first, second))
