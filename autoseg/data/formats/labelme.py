"""LabelMe and X-AnyLabeling: a JSON file for each picture, in its folder or in another.

Sources: labelme 6.3 (labelme/_label_file.py, labelme/utils/shape.py), and X-AnyLabeling 3
(docs/en/user_guide.md, and CVHub520/X-AnyLabeling#1262 on its rectangles of four corners).
"""

from __future__ import annotations

import math
import os
import sys
from collections import defaultdict
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from autoseg.core.errors import InputError
from autoseg.core.records import IGNORE_INDEX
from autoseg.core.units import HW
from autoseg.data.dataset import Array, Sample
from autoseg.data.formats.common import files, shapes
from autoseg.data.formats.common.pairing import PictureIndex, path_parts, set_labelled
from autoseg.data.formats.common.shapes import Points
from autoseg.data.layout import Layout, counted, listed
from autoseg.data.pictures import naming

# Labels with this meaning in LabelMe's own converters.
_RESERVED = {"__ignore__": IGNORE_INDEX, "_background_": 0}
# The numbers of points that the shapes with an area may have.
_POINTS: dict[str, Collection[int]] = {
    "polygon": range(3, sys.maxsize),
    "rectangle": (2, 4),
    "oriented_rectangle": (4,),
    "rotation": (4,),
    "quadrilateral": (4,),
    "circle": (2,),
    "mask": (2,),
}
_KEYS = ("shapes", "imagePath", "imageData", "imageHeight", "shape_type")
# Per folder, to recognize the format: files of other tools may come first.
_MAX_FILES_TRIED = 100


@dataclass(frozen=True)
class _Area:
    """A shape with an area: how messages name it, and for a mask its corners as the outline."""

    what: str
    label: str
    kind: str
    outline: Points
    bitmap: object


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
    notes: dict[str, list[str]] = defaultdict(list)
    for path in _json_files(root):
        name = path.relative_to(root).as_posix()
        try:
            labelled = files.read_json(path)
            if not isinstance(labelled, dict) or "shapes" not in labelled:
                notes["files without shapes, ignored"].append(name)
                continue
            areas = list(_areas(labelled, name, notes))
            if (picture := _picture(path, labelled, pictures)) is None:
                missing.append(name)
            elif picture in pairs:
                raise InputError(f"its picture is that of {Path(pairs[picture]).name} too")
            else:
                pairs[picture] = str(path)
                labels.update(one.label for one in areas)
        except InputError as error:
            layout.faults.append(str(error) if str(path) in str(error) else f"{name}: {error}")
    if missing:
        layout.faults.append(f"files whose pictures are not below {root}: {listed(missing)}")
    if not pairs and not layout.faults:
        layout.faults.append(f"there is no file of LabelMe in {root}")
    layout.warnings += sorted(counted(notes))
    set_labelled(layout, pairs, labels - set(_RESERVED), _read_mask)
    return layout


def _json_files(root: Path) -> Iterator[Path]:
    return (path for path in files.visible_files(root) if path.name.lower().endswith(".json"))


def _looks_right(path: Path) -> bool:
    held = files.ends(path)
    return held.startswith(b"{") and sum(f'"{key}"'.encode() in held for key in _KEYS) > 1


def _picture(path: Path, labelled: dict[str, Any], pictures: PictureIndex) -> Path | None:
    """The picture of a file: at its `imagePath` if it is there, else by name."""
    parts = path_parts(labelled.get("imagePath"))
    if not parts:
        raise InputError("its imagePath names no picture")
    beside = Path(os.path.normpath(path.parent.joinpath(*parts)))
    if beside.is_relative_to(pictures.root) and beside.is_file():
        return beside
    return pictures.find("/".join(parts), path.parent)


def _areas(labelled: dict[str, Any], name: str, notes: dict[str, list[str]]) -> Iterator[_Area]:
    """The shapes that have an area; the file's name is added to the notes on others."""
    for number, shape in enumerate(files.objects(labelled["shapes"], "shapes")):
        label, kind = shape.get("label"), shape.get("shape_type") or "polygon"
        if not isinstance(label, str):
            raise InputError(f"a shape's label must be a text, got {label!r:.40}")
        if not isinstance(kind, str) or kind not in _POINTS:
            notes[f"shapes of type {kind!r:.40} are ignored"].append(name)
            continue
        what = f"shape {number} ({label:.40})"
        outline = naming(what, _outline, kind, shape.get("points"))
        if kind == "mask" or shapes.has_area(outline):
            yield _Area(what, label, kind, outline, shape.get("mask"))
        else:
            notes[shapes.NO_AREA].append(name)


def _outline(kind: str, value: object) -> Points:
    """The outline of a shape, of a mask its corners; a shape of too few points has no area."""
    points = shapes.read_points(value)
    if len(points) > 3 and (points[0] == points[-1]).all():
        points = points[:-1]  # closed by repeating the first point
    count = len(points)
    if count not in _POINTS[kind] and (count > 2 or kind == "mask"):
        wanted = " or ".join(map(str, _POINTS[kind]))
        raise InputError(f"a {kind} has {wanted} points, got {count}")
    if kind == "circle" and count == 2:
        radius = math.dist(*points)
        return shapes.ellipse((points[0, 0], points[0, 1]), (radius, radius), 0)
    if kind == "rectangle" and count == 2:
        return shapes.rectangle(*points)
    return shapes.around(points) if kind == "rectangle" and count == 4 else points


def _read_mask(classes: tuple[str, ...], sample: Sample) -> Array:
    """A file's shapes as class indices, later ones over earlier ones. Raises InputError."""
    hw = shapes.picture_hw(sample.image)
    try:
        return naming(sample.mask, _mask, classes, Path(sample.mask), hw, sample.image)
    except (LookupError, TypeError) as error:
        raise InputError(f"{sample.mask} changed while it was in use") from error


def _mask(classes: tuple[str, ...], path: Path, hw: HW, picture: str) -> Array:
    mask = np.zeros(hw, np.uint8)
    labelled = files.read_json(path)
    shapes.check_size(labelled, ("imageHeight", "imageWidth"), hw, picture)
    for one in _areas(labelled, path.name, defaultdict(list)):
        reserved = _RESERVED.get(one.label)
        value = files.class_index(classes, one.label) if reserved is None else reserved
        naming(one.what, _draw, mask, value, one)
    return mask


def _draw(mask: Array, value: int, one: _Area) -> None:
    if one.kind != "mask":
        shapes.fill_polygon(mask, value, one.outline)
        return
    hw = (mask.shape[0], mask.shape[1])
    covered = shapes.decode_bitmap(files.decode_base64(one.bitmap), hw, whole=False)
    shapes.paste_bitmap(mask, value, covered, *one.outline[0])
