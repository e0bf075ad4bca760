"""Supervisely projects as they are downloaded: meta.json, and a folder with img/ and ann/ for each
data set.

Source: https://docs.supervisely.com/data-organization, and the SDK 6.74 (supervisely/geometry):
coordinates are whole pixels, and a polygon covers the pixels of its outline.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from autoseg.core.errors import InputError
from autoseg.core.units import HW
from autoseg.data.dataset import Array, Sample
from autoseg.data.formats.common import files, shapes
from autoseg.data.formats.common.files import class_index
from autoseg.data.formats.common.pairing import set_labelled
from autoseg.data.formats.common.shapes import Points
from autoseg.data.layout import Layout, listed
from autoseg.data.pictures import SUFFIXES, naming

_AREA_TYPES = ("polygon", "rectangle", "bitmap")
# The PNG of a mask is smaller than its pixels, apart from its head; a larger one is no mask.
_MAX_PNG_BYTES_PER_PIXEL, _MAX_PNG_HEAD_BYTES = 4, 65536


def recognize(root: Path) -> str | None:
    folder = next(_datasets(root), None) if (root / "meta.json").is_file() else None
    if folder is None:
        return None
    name = folder.relative_to(root).as_posix()
    return f"it holds meta.json, {name}/img/ and {name}/ann/"


def find(root: Path) -> Layout:
    """Pair the files of img/ and ann/; files that cannot be used become faults."""
    layout = Layout(root, values=bytes(range(256)))
    pairs: dict[Path, str] = {}
    used: set[str] = set()
    notes: set[str] = set()
    bare: list[str] = []
    images = (files.visible_files(folder / "img", deep=False) for folder in _datasets(root))
    for picture in (p for paths in images for p in paths if p.suffix.lower() in SUFFIXES):
        if (file := _annotation(picture)) is None:
            bare.append(picture.relative_to(root).as_posix())
            continue
        try:
            used.update(thing["classTitle"] for thing in _objects(files.read_json(file), notes))
            pairs[picture] = str(file)
        except InputError as error:
            known = str(file) in str(error)
            layout.faults.append(str(error) if known else f"{file.relative_to(root)}: {error}")
    if bare:
        layout.warnings.append(f"pictures without a file in ann/, ignored: {listed(bare)}")
    if not pairs and not layout.faults:
        layout.faults.append(f"there are no pictures with a file in ann/ in {root}")
    layout.warnings += sorted(notes)
    set_labelled(layout, pairs, used, _read_mask)
    return layout


def _datasets(root: Path) -> Iterator[Path]:
    """Folders with img/ and ann/; data sets may be nested, in a folder datasets/."""
    for folder, folders, _ in os.walk(root):
        if "img" in folders and "ann" in folders:
            yield Path(folder)
        hidden = {name for name in folders if name.startswith(".")}
        folders[:] = sorted(set(folders) - hidden - {"img", "ann"})


def _annotation(picture: Path) -> Path | None:
    """ann/<name with suffix>.json; old projects leave the suffix out."""
    folder = picture.parent.parent / "ann"
    named = (files.in_any_form(folder / f"{name}.json") for name in (picture.name, picture.stem))
    return next((file for file in named if file.is_file()), None)


def _objects(annotation: object, notes: set[str]) -> Iterator[dict[str, Any]]:
    """The objects that have an area, each with its classTitle and its geometryType."""
    held = annotation.get("objects") if isinstance(annotation, dict) else None
    for thing in files.objects(held, "objects"):
        if not isinstance(thing.get("classTitle"), str):
            raise InputError(f"a classTitle must be a text, got {thing.get('classTitle')!r:.40}")
        likely = "bitmap" if isinstance(thing.get("bitmap"), dict) else "polygon"
        kind = thing.get("geometryType") or likely
        if kind in _AREA_TYPES:
            yield {**thing, "geometryType": kind}
        else:
            notes.add(f"objects of type {kind!r:.40} have no area, ignored")


def _read_mask(classes: tuple[str, ...], sample: Sample) -> Array:
    """A picture's objects as class indices, later ones over earlier ones. Raises InputError."""
    hw = shapes.picture_hw(sample.image)
    return naming(sample.mask, _mask, classes, Path(sample.mask), hw)


def _mask(classes: tuple[str, ...], path: Path, hw: HW) -> Array:
    mask = np.zeros(hw, np.uint8)
    annotation = files.read_json(path)
    things = list(_objects(annotation, set()))
    shapes.check_size(annotation.get("size"), ("height", "width"), hw)
    for number, thing in enumerate(things):
        label = thing["classTitle"]
        name = f"object {thing.get('id', number)!r:.40} ({label:.40})"
        naming(name, _draw, mask, class_index(classes, label), thing)
    return mask


def _draw(mask: Array, value: int, thing: dict[str, Any]) -> None:
    kind = thing["geometryType"]
    if kind == "bitmap":
        _draw_bitmap(mask, value, thing.get("bitmap"))
        return
    points = thing.get("points")
    outlines = points if isinstance(points, dict) else {}
    min_points = 2 if kind == "rectangle" else 3
    outer = shapes.read_points(outlines.get("exterior"), min_points)
    if kind == "rectangle":
        outer = shapes.rectangle(outer.min(axis=0), outer.max(axis=0))
    holes = outlines.get("interior") or []
    if not isinstance(holes, list):
        raise InputError(f"its interior must be a list of outlines, got {holes!r:.40}")
    _fill(mask, value, outer, [shapes.read_points(hole) for hole in holes])


def _fill(mask: Array, value: int, outer: Points, holes: list[Points]) -> None:
    """Fill a polygon of whole pixels, its outline included, as the SDK does."""
    import cv2

    area = np.zeros(mask.shape, np.uint8)
    cv2.fillPoly(area, [_pixels(outer, mask)], 1)
    if holes:
        cv2.fillPoly(area, [_pixels(hole, mask) for hole in holes], 0)
    mask[area > 0] = value


def _pixels(points: Points, mask: Array) -> Array:
    """Whole pixels, clipped near the picture: OpenCV's fixed-point numbers overflow far away."""
    far = max(mask.shape)
    return np.floor(np.clip(points, -far, 2 * far)).astype(np.int32)


def _draw_bitmap(mask: Array, value: int, bitmap: object) -> None:
    held = bitmap if isinstance(bitmap, dict) else {}
    origin = shapes.read_points([held.get("origin")], min_points=1)[0]
    data = files.decode_base64(held.get("data"))
    max_bytes = _MAX_PNG_BYTES_PER_PIXEL * mask.size + _MAX_PNG_HEAD_BYTES
    try:
        png = zlib.decompressobj().decompress(data, max_bytes)
    except zlib.error:
        png = data  # bitmaps may be stored as plain PNG
    hw = (mask.shape[0], mask.shape[1])
    shapes.paste_bitmap(mask, value, shapes.decode_bitmap(png, hw, whole=False), *origin)
