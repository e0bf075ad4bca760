"""What a JSON file of COCO says, kept small: its outlines become arrays while it is parsed."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from autoseg.core.errors import InputError
from autoseg.data.formats.references import parse_json, stamp
from autoseg.data.layout import listed

_KEPT = ("id", "file_name", "height", "width")
Polygon = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Thing:
    """One object: polygons (none: only its box is known), or runs as a JSON object."""

    number: str
    picture: str
    category: str
    crowd: bool
    outline: object
    box: object


@dataclass
class CocoFile:
    """Pictures and objects by the picture's id, names by the category's id, in their order.

    `segments` are those of panoptic masks: the file's name, and (category, crowd) by segment.
    """

    pictures: dict[str, dict[str, Any]] = field(default_factory=dict)
    things: dict[str, list[Thing]] = field(default_factory=lambda: defaultdict(list))
    segments: dict[str, tuple[str, dict[int, tuple[str, bool]]]] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def read_coco(path: Path) -> CocoFile:
    """A file of COCO, kept as long as it does not change. Raises InputError."""
    return _read(path, stamp(path))


@lru_cache(maxsize=4)
def _read(path: Path, _stamp: tuple[int, int]) -> CocoFile:
    parsed = parse_json(path, _shrunk)
    coco = CocoFile()
    try:
        for picture in _list(parsed, "images"):
            if not isinstance(picture, dict) or not isinstance(picture.get("file_name"), str):
                raise InputError(f"a picture without a file_name: {picture!r:.80}")
            if coco.pictures.setdefault(str(picture.get("id")), picture) is not picture:
                raise InputError(f"two pictures have the id {picture.get('id')!r:.40}")
        categories = [c for c in _list(parsed, "categories") if isinstance(c, dict)]
        for category in sorted(categories, key=lambda c: type(c.get("id")) is int and c["id"]):
            if not isinstance(category.get("name"), str):
                raise InputError(f"a category without a name: {category!r:.80}")
            coco.names[str(category.get("id"))] = category["name"]
        for annotation in _list(parsed, "annotations"):
            _add(coco, annotation)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    _note(coco)
    return coco


def _list(parsed: object, key: str) -> list[Any]:
    value = parsed.get(key) if isinstance(parsed, dict) else None
    if not isinstance(value, list):
        raise InputError(f"its {key} must be a list, got {value!r:.40}")
    return value


def _add(coco: CocoFile, annotation: object) -> None:
    if isinstance(annotation, Thing):
        coco.things[annotation.picture].append(annotation)
        return
    segments = annotation.get("segments_info") if isinstance(annotation, dict) else None
    if not isinstance(annotation, dict) or not isinstance(segments, list):
        raise InputError(
            f"an annotation without an image_id and a category_id: {annotation!r:.80}"
        )
    if not isinstance(annotation.get("file_name"), str):
        raise InputError("a panoptic annotation without a file_name")
    by_number = {
        segment["id"]: (str(segment.get("category_id")), bool(segment.get("iscrowd")))
        for segment in segments
        if isinstance(segment, dict) and type(segment.get("id")) is int
    }
    coco.segments[str(annotation.get("image_id"))] = (annotation["file_name"], by_number)


def _note(coco: CocoFile) -> None:
    """What does not fit together, and what is left out."""
    things = [thing for of_picture in coco.things.values() for thing in of_picture]
    lost = [t.number for t in things if t.picture not in coco.pictures]
    if lost:
        coco.faults.append(f"objects of pictures that are not listed: {listed(lost)}")
    odd = [t.number for t in things if t.category not in coco.names]
    if odd:
        coco.faults.append(f"objects of categories that are not listed: {listed(odd)}")
    boxes = [t.number for t in things if t.outline == () and not t.crowd]
    if boxes:
        coco.warnings.append(f"objects with a box only, whose pixels are ignored: {listed(boxes)}")


def _shrunk(parsed: dict[str, Any]) -> object:
    """A JSON object as soon as it is parsed: a large file would fill the memory with numbers."""
    if "image_id" in parsed and "category_id" in parsed:
        return Thing(
            str(parsed.get("id")),
            str(parsed["image_id"]),
            str(parsed["category_id"]),
            bool(parsed.get("iscrowd")),
            _polygons(parsed.get("segmentation") or []),
            parsed.get("bbox"),
        )
    if "file_name" in parsed and "segments_info" not in parsed:
        return {key: parsed[key] for key in _KEPT if key in parsed}
    return parsed


def _polygons(outline: object) -> object:
    """Polygons as arrays; what is none stays what it is, and becomes a fault when it is read."""
    if not isinstance(outline, list):
        return outline
    try:
        with np.errstate(over="ignore"):  # what is too large becomes infinite, and a fault
            return tuple(np.array(polygon, np.float32).ravel() for polygon in outline)
    except (TypeError, ValueError, OverflowError):
        return outline
