"""VGG Image Annotator (VIA), versions 1 and 2: projects and exports as JSON or CSV.

Source: gitlab.com/vgg/via, via-2.x.y/CodeDoc.md.
"""

from __future__ import annotations

import math
from collections import defaultdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from autoseg.core.errors import InputError
from autoseg.core.records import IGNORE_INDEX
from autoseg.core.units import HW
from autoseg.data.dataset import Array, Sample
from autoseg.data.formats.common import shapes
from autoseg.data.formats.common.entries import entry_of, reference
from autoseg.data.formats.common.files import class_index, class_order
from autoseg.data.formats.common.pairing import Pair, PictureIndex, named_splits, split_of
from autoseg.data.formats.common.shapes import Points
from autoseg.data.formats.via_file import (
    class_attribute,
    label_of,
    read_entries,
    regions_of,
    via_files,
)
from autoseg.data.layout import Layout, counted, listed
from autoseg.data.pictures import naming, under

# A picture, and the file and key of its entry.
_Found = dict[Path, tuple[Path, str]]


def recognize(root: Path) -> str | None:
    files = via_files(root)
    return f"{files[0].relative_to(root).as_posix()} is a file of VIA" if files else None


def find(root: Path) -> Layout:
    """Find the picture of each entry; entries that cannot be used become faults."""
    layout = Layout(root, values=bytes(range(256)))
    pictures = PictureIndex(root)
    found: _Found = {}
    for path in via_files(root):
        try:
            _add_entries(layout, path, pictures, found)
        except InputError as error:
            layout.faults.append(str(error).replace(f"{root}/", ""))
    if not found and not layout.faults:
        layout.faults.append(f"there is no file of VIA with regions in {root}")
    try:
        key, labels = _labels(layout, found)
    except InputError as error:
        layout.faults.append(str(error).replace(f"{root}/", ""))
        return layout
    layout.classes = class_order(layout, labels)
    layout.read_mask = partial(read_mask, layout.classes, key)
    splits: dict[str, list[Pair]] = defaultdict(list)
    for picture, (path, entry) in found.items():
        folder = picture.relative_to(root).parent.as_posix()
        split = split_of(path.stem) or split_of(folder)
        splits[split].append((picture, reference(path, entry)))
    layout.by_split = named_splits(layout, splits)
    return layout


def _add_entries(layout: Layout, path: Path, pictures: PictureIndex, found: _Found) -> None:
    """The entries of a file that have regions and a picture."""
    missing: list[str] = []
    bare: list[str] = []
    wrong: list[str] = []
    for key, entry in read_entries(path).items():
        try:
            picture = pictures.find(entry["filename"], path.parent)
        except InputError as error:
            wrong.append(str(error))
            continue
        if picture is None:
            missing.append(entry["filename"])
        elif picture in found:
            wrong.append(f"{picture.name} is listed in {found[picture][0].name} too; keep one")
        elif not entry.get("regions"):
            bare.append(picture.name)
        else:
            found[picture] = (path, key)
    if missing:
        layout.faults.append(
            f"{path.name} names pictures that are not below {layout.root}: {listed(missing)}"
        )
    if wrong:
        layout.faults.append(f"{path.name}: {listed(wrong)}")
    if bare:
        layout.warnings.append(
            f"{path.name}: pictures without a region, left out: {listed(bare)}; if they show no"
            " object, draw a region of the class background"
        )


def _labels(layout: Layout, found: _Found) -> tuple[str, list[str]]:
    """The attribute that names the class, and the classes; regions without one are warned of.

    Raises InputError where the attribute is open.
    """
    notes: set[str] = set()
    wrong: list[str] = []
    stray: list[str] = []
    by_picture: dict[str, list[dict[str, Any]]] = {}
    for picture, (path, key) in found.items():
        try:
            regions = list(regions_of(read_entries(path)[key], notes))
            name = under(layout.root, str(picture))
            by_picture[name] = [of for _, of in regions]
            stray += [name for shape, _ in regions if _is_stray(shape)]
        except InputError as error:
            wrong.append(f"{picture.name}: {error}")
    attribute = class_attribute(one for of_picture in by_picture.values() for one in of_picture)
    labels: dict[str, set[str]] = {}
    for name, of_picture in by_picture.items():
        try:
            labels[name] = {label_of(one, attribute) for one in of_picture}
        except InputError as error:
            wrong.append(f"{name}: {error}")
    if wrong:
        layout.faults.append(f"regions that cannot be used: {listed(wrong)}")
    if unnamed := [name for name, used in labels.items() if "" in used]:
        notes.add(
            f"regions without a {attribute}, whose pixels are ignored, in: {listed(unnamed)}"
        )
    if stray:
        notes |= {*counted({shapes.NO_AREA: stray})}
    layout.warnings += sorted(notes)
    return attribute, sorted(set().union(*labels.values()) - {""})


def read_mask(classes: tuple[str, ...], attribute: str, sample: Sample) -> Array:
    """A picture's regions as class indices, later ones over earlier ones. Raises InputError."""
    path, key = entry_of(sample.mask)
    hw = shapes.picture_hw(sample.image)
    where = f"{path}, picture {Path(sample.image).name}"
    return naming(where, _mask, classes, attribute, read_entries(path).get(key), hw)


def _mask(classes: tuple[str, ...], attribute: str, entry: dict[str, Any] | None, hw: HW) -> Array:
    if entry is None:
        raise InputError("it is no longer listed")
    mask = np.zeros(hw, np.uint8)
    for number, (shape, attributes) in enumerate(regions_of(entry, set())):
        label = label_of(attributes, attribute)
        value = class_index(classes, label) if label else IGNORE_INDEX
        outline = naming(f"region {number} ({shape['name']})", _outline, shape)
        shapes.fill_polygon(mask, value, outline)
    return mask


def _is_stray(shape: dict[str, Any]) -> bool:
    try:
        return not shapes.has_area(_outline(shape))
    except InputError:
        return False  # a fault when it is drawn


def _outline(shape: dict[str, Any]) -> Points:
    kind = shape["name"]
    if kind == "polygon":
        return shapes.read_points(_pairs(shape.get("all_points_x"), shape.get("all_points_y")))
    if kind == "rect":
        left, top, width, height = shapes.read_numbers(shape, ("x", "y", "width", "height"))
        return shapes.rectangle((left, top), (left + width, top + height))
    if kind == "circle":
        x, y, radius = shapes.read_numbers(shape, ("cx", "cy", "r"))
        return shapes.ellipse((x, y), (radius, radius), 0)
    x, y, across, down, radians = shapes.read_numbers(
        {"theta": 0, **shape}, ("cx", "cy", "rx", "ry", "theta")
    )
    return shapes.ellipse((x, y), (across, down), math.degrees(radians))


def _pairs(xs: object, ys: object) -> list[tuple[object, object]]:
    if not isinstance(xs, list) or not isinstance(ys, list) or len(xs) != len(ys):
        raise InputError("its all_points_x and all_points_y must be lists of one length")
    return list(zip(xs, ys, strict=True))
