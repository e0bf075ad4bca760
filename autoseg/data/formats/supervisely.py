"""Supervisely projects as they are downloaded: meta.json, and a folder with img/ and ann/ for each
data set.

Source: https://docs.supervisely.com/data-organization, and the SDK 6.74 (supervisely/geometry):
coordinates are whole pixels, and a polygon covers the pixels of its outline.
"""

from __future__ import annotations

import os
import zlib
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from autoseg.core.errors import InputError
from autoseg.core.units import HW
from autoseg.data.dataset import Array, Sample
from autoseg.data.formats.common import files, shapes
from autoseg.data.formats.common.files import class_index
from autoseg.data.formats.common.pairing import set_labelled
from autoseg.data.formats.common.shapes import Points
from autoseg.data.layout import Layout, counted, listed
from autoseg.data.pictures import SUFFIXES, naming

# Fewer points are a stray click; more have an area even on one line, as the pixels of an outline
# belong to it.
_MIN_POLYGON_POINTS = 3
_RECTANGLE_POINTS = (2, 4)  # opposite corners, or all
# The PNG of a mask is smaller than its pixels, apart from its head; a larger one is no mask.
_MAX_PNG_BYTES_PER_PIXEL, _MAX_PNG_HEAD_BYTES = 4, 65536


@dataclass(frozen=True)
class _Thing:
    """An object with an area: how messages name it, its outline with holes, or its bitmap."""

    what: str
    label: str
    outlines: tuple[Points, ...] = ()
    bitmap: object = None


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
    notes: dict[str, list[str]] = defaultdict(list)
    bare: list[str] = []
    images = (files.visible_files(folder / "img", deep=False) for folder in _datasets(root))
    for picture in (p for paths in images for p in paths if p.suffix.lower() in SUFFIXES):
        if (file := _annotation(picture)) is None:
            bare.append(picture.relative_to(root).as_posix())
            continue
        try:
            things = _objects(files.read_json(file), picture.name, notes)
            used.update(thing.label for thing in things)
            pairs[picture] = str(file)
        except InputError as error:
            known = str(file) in str(error)
            layout.faults.append(str(error) if known else f"{file.relative_to(root)}: {error}")
    if bare:
        layout.warnings.append(f"pictures without a file in ann/, ignored: {listed(bare)}")
    if not pairs and not layout.faults:
        layout.faults.append(f"there are no pictures with a file in ann/ in {root}")
    layout.warnings += sorted(counted(notes))
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
    names = (picture.name, f"{picture.stem}{picture.suffix.lower()}", picture.stem)
    named = (files.in_any_form(folder / f"{name}.json") for name in names)
    return next((file for file in named if file.is_file()), None)


def _objects(annotation: object, name: str, notes: dict[str, list[str]]) -> Iterator[_Thing]:
    """The objects that have an area; the picture's name is added to the notes on other parts."""
    held = annotation.get("objects") if isinstance(annotation, dict) else None
    for number, thing in enumerate(files.objects(held, "objects")):
        label = thing.get("classTitle")
        if not isinstance(label, str):
            raise InputError(f"a classTitle must be a text, got {label!r:.40}")
        likely = "bitmap" if isinstance(thing.get("bitmap"), dict) else "polygon"
        kind = thing.get("geometryType") or likely
        what = f"object {thing.get('id', number)!r:.40} ({label:.40})"
        if kind == "bitmap":
            yield _Thing(what, label, bitmap=thing.get("bitmap"))
        elif kind not in ("polygon", "rectangle"):
            notes[f"objects of type {kind!r:.40} are ignored"].append(name)
        else:
            exterior, *holes = naming(what, _outlines, kind, thing.get("points"))
            drawn = tuple(outline for outline in (exterior, *holes) if len(outline))
            if stray := 1 + len(holes) - len(drawn):
                notes[shapes.NO_AREA] += [name] * stray
            if len(exterior):
                yield _Thing(what, label, drawn)


def _outlines(kind: str, points: object) -> list[Points]:
    """The exterior, then the interior's holes; those of too few points are empty."""
    outlines = points if isinstance(points, dict) else {}
    holes = outlines.get("interior") or []
    if not isinstance(holes, list):
        raise InputError(f"its interior must be a list of outlines, got {holes!r:.40}")
    exterior = _exterior(kind, shapes.read_points(outlines.get("exterior")))
    found = [exterior, *(shapes.read_points(hole) for hole in holes)]
    return [outline if len(outline) >= _MIN_POLYGON_POINTS else outline[:0] for outline in found]


def _exterior(kind: str, points: Points) -> Points:
    if kind == "polygon" or len(points) < 2:
        return points
    if len(points) not in _RECTANGLE_POINTS:
        raise InputError(f"a rectangle has 2 or 4 points, got {len(points)}")
    return shapes.rectangle(points.min(axis=0), points.max(axis=0))


def _read_mask(classes: tuple[str, ...], sample: Sample) -> Array:
    """A picture's objects as class indices, later ones over earlier ones. Raises InputError."""
    hw = shapes.picture_hw(sample.image)
    return naming(sample.mask, _mask, classes, Path(sample.mask), hw, sample.image)


def _mask(classes: tuple[str, ...], path: Path, hw: HW, picture: str) -> Array:
    mask = np.zeros(hw, np.uint8)
    annotation = files.read_json(path)
    things = list(_objects(annotation, path.name, defaultdict(list)))
    shapes.check_size(annotation.get("size"), ("height", "width"), hw, picture)
    for thing in things:
        draw = _fill if thing.outlines else _draw_bitmap
        naming(thing.what, draw, mask, class_index(classes, thing.label), thing)
    return mask


def _fill(mask: Array, value: int, thing: _Thing) -> None:
    """Fill a polygon of whole pixels, its outline included, as the SDK does."""
    import cv2

    outer, *holes = (_pixels(outline, mask) for outline in thing.outlines)
    area = np.zeros(mask.shape, np.uint8)
    cv2.fillPoly(area, [outer], 1)
    if holes:
        cv2.fillPoly(area, holes, 0)
    mask[area > 0] = value


def _pixels(points: Points, mask: Array) -> Array:
    """Whole pixels, clipped near the picture: OpenCV's fixed-point numbers overflow far away."""
    far = max(mask.shape)
    return np.floor(np.clip(points, -far, 2 * far)).astype(np.int32)


def _draw_bitmap(mask: Array, value: int, thing: _Thing) -> None:
    held = thing.bitmap if isinstance(thing.bitmap, dict) else {}
    origin = shapes.read_points([held.get("origin")], min_points=1)[0]
    data = files.decode_base64(held.get("data"))
    max_bytes = _MAX_PNG_BYTES_PER_PIXEL * mask.size + _MAX_PNG_HEAD_BYTES
    try:
        png = zlib.decompressobj().decompress(data, max_bytes)
    except zlib.error:
        png = data  # bitmaps may be stored as plain PNG
    hw = (mask.shape[0], mask.shape[1])
    shapes.paste_bitmap(mask, value, shapes.decode_bitmap(png, hw, whole=False), *origin)
