"""Supervisely projects as they are downloaded: meta.json, and a folder with img/ and ann/ for each
data set.

Source: https://docs.supervisely.com/data-organization, and the SDK 6.74 (supervisely/geometry):
its files hold whole pixels, and what a polygon runs through belongs to it.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from autoseg.core.errors import InputError
from autoseg.data.dataset import Array, Sample
from autoseg.data.formats.references import (
    by_splits,
    class_number,
    class_order,
    decode_base64,
    read_json,
)
from autoseg.data.formats.shapes import (
    Points,
    check_size,
    decode_bitmap,
    paste,
    picture_hw,
    read_points,
)
from autoseg.data.layout import Found, listed
from autoseg.data.pictures import SUFFIXES

_AREAS = ("polygon", "rectangle", "bitmap")


def recognize(root: Path) -> str | None:
    """Why `root` is of this format, in words; None if it is not."""
    if not (root / "meta.json").is_file():
        return None
    folder = next(_datasets(root), None)
    if folder is None:
        return None
    name = folder.relative_to(root).as_posix()
    return f"it holds meta.json, {name}/img/ and {name}/ann/"


def find(root: Path) -> Found:
    """Pair the files of img/ and ann/; what does not fit becomes a fault."""
    found = Found(root, values=bytes(range(256)))
    pairs: dict[Path, str] = {}
    used: set[str] = set()
    notes: set[str] = set()
    bare: list[str] = []
    for picture in (path for folder in _datasets(root) for path in _pictures(folder / "img")):
        file = _annotation(picture)
        if file is None:
            bare.append(picture.relative_to(root).as_posix())
            continue
        try:
            used.update(thing["classTitle"] for thing in _objects(read_json(file), notes))
            pairs[picture] = str(file)
        except InputError as error:
            known = str(file) in str(error)
            found.faults.append(str(error) if known else f"{file.relative_to(root)}: {error}")
    if bare:
        found.warnings.append(f"pictures without a file in ann/, ignored: {listed(bare)}")
    if not pairs and not found.faults:
        found.faults.append(f"there are no pictures with a file in ann/ in {root}")
    found.warnings += sorted(notes)
    found.classes = class_order(found, sorted(used))
    found.read_mask = partial(_read_mask, found.classes)
    found.by_split = by_splits(found, pairs)
    return found


def _datasets(root: Path) -> Iterator[Path]:
    """Folders with img/ and ann/; data sets may lie in others' datasets/."""
    for folder, folders, _ in os.walk(root):
        if "img" in folders and "ann" in folders:
            yield Path(folder)
        hidden = {name for name in folders if name.startswith(".")}
        folders[:] = sorted(set(folders) - hidden - {"img", "ann"})


def _pictures(folder: Path) -> list[Path]:
    files = sorted(path for path in folder.iterdir() if path.name[0] != ".")
    return [path for path in files if path.suffix.lower() in SUFFIXES]


def _annotation(picture: Path) -> Path | None:
    """ann/<name with suffix>.json; projects of old have no suffix in it."""
    folder = picture.parent.parent / "ann"
    files = (folder / f"{name}.json" for name in (picture.name, picture.stem))
    return next((file for file in files if file.is_file()), None)


def _objects(annotation: object, notes: set[str]) -> Iterator[dict[str, Any]]:
    """The objects that have an area, each with its classTitle and its geometryType."""
    objects = annotation.get("objects") if isinstance(annotation, dict) else None
    if not isinstance(objects, list) or not all(isinstance(thing, dict) for thing in objects):
        raise InputError(f"its objects must be a list of objects, got {objects!r:.40}")
    for thing in objects:
        if not isinstance(thing.get("classTitle"), str):
            raise InputError(f"a classTitle must be a text, got {thing.get('classTitle')!r:.40}")
        held = "bitmap" if isinstance(thing.get("bitmap"), dict) else "polygon"
        kind = thing.get("geometryType") or held
        if kind in _AREAS:
            yield {**thing, "geometryType": kind}
        else:
            notes.add(f"objects of type {kind!r:.40} have no area, ignored")


def _read_mask(classes: tuple[str, ...], sample: Sample) -> Array:
    """A picture's objects as class indices, later ones over earlier ones. Raises InputError."""
    hw = picture_hw(sample.image)
    mask = np.zeros(hw, np.uint8)
    try:
        annotation = read_json(Path(sample.mask))
        things = list(_objects(annotation, set()))
        check_size(annotation.get("size"), ("height", "width"), hw)
        for number, thing in enumerate(things):
            name = f"object {thing.get('id', number)!r:.40} ({thing['classTitle']:.40})"
            _paint(mask, class_number(classes, thing["classTitle"]), thing, name)
    except InputError as error:
        known = sample.mask in str(error)
        raise InputError(str(error) if known else f"{sample.mask}: {error}") from error
    return mask


def _paint(mask: Array, value: int, thing: dict[str, Any], name: str) -> None:
    kind = thing["geometryType"]
    try:
        if kind == "bitmap":
            _paint_bitmap(mask, value, thing.get("bitmap"))
            return
        points = thing.get("points")
        outlines = points if isinstance(points, dict) else {}
        outer = read_points(outlines.get("exterior"), least=2 if kind == "rectangle" else 3)
        if kind == "rectangle":
            (left, top), (right, bottom) = outer.min(axis=0), outer.max(axis=0)
            outer = np.array([[left, top], [right, top], [right, bottom], [left, bottom]])
        holes = outlines.get("interior") or []
        if not isinstance(holes, list):
            raise InputError(f"its interior must be a list of outlines, got {holes!r:.40}")
        _fill(mask, value, outer, [read_points(hole) for hole in holes])
    except InputError as error:
        raise InputError(f"{name}: {error}") from error


def _fill(mask: Array, value: int, outer: Points, holes: list[Points]) -> None:
    """Fill a polygon of whole pixels, its outline included, as the SDK does."""
    import cv2

    area = np.zeros(mask.shape, np.uint8)
    cv2.fillPoly(area, [_pixels(outer, mask)], 1)
    if holes:
        cv2.fillPoly(area, [_pixels(hole, mask) for hole in holes], 0)
    mask[area > 0] = value


def _pixels(points: Points, mask: Array) -> Array:
    """Whole pixels, kept near the picture: OpenCV computes with few bits beyond it."""
    far = max(mask.shape)
    return np.floor(np.clip(points, -far, 2 * far)).astype(np.int32)


def _paint_bitmap(mask: Array, value: int, bitmap: object) -> None:
    held = bitmap if isinstance(bitmap, dict) else {}
    origin = read_points([held.get("origin")], least=1)[0]
    data = decode_base64(held.get("data"))
    # A PNG of a mask is smaller than its pixels, save for the head; more is no mask.
    most = 4 * mask.size + 65536
    unpack = zlib.decompressobj()
    try:
        png = unpack.decompress(data, most)
    except zlib.error:
        png = data  # bitmaps may be stored as plain PNG
    hw = (mask.shape[0], mask.shape[1])
    paste(mask, value, decode_bitmap(png, hw, whole=False), *origin)
