"""Parse a JSON file of COCO; outlines become arrays during parsing, to save memory."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from autoseg.core.errors import InputError
from autoseg.data.formats.common.json_files import file_version, parse_json
from autoseg.data.layout import listed

_PICTURE_KEYS = ("id", "file_name", "height", "width")
Polygon = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class CocoObject:
    """One object: its polygons (none if only its box is known), or RLE as a JSON object."""

    number: str
    picture: str
    category: str
    crowd: bool
    outline: object
    box: object


@dataclass
class CocoFile:
    """Pictures and objects by the picture's id, names by the category's id, in their order.

    `segments` are those of panoptic masks: the mask's file name, and (category, crowd) by segment.
    """

    pictures: dict[str, dict[str, Any]] = field(default_factory=dict)
    objects: dict[str, list[CocoObject]] = field(default_factory=lambda: defaultdict(list))
    segments: dict[str, tuple[str, dict[int, tuple[str, bool]]]] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def read_coco(path: Path) -> CocoFile:
    """A file of COCO, cached until it changes. Raises InputError."""
    return _read(path, file_version(path))


@lru_cache(maxsize=4)
def _read(path: Path, _version: tuple[int, int]) -> CocoFile:
    parsed = parse_json(path, _compact)
    coco = CocoFile()
    try:
        _add_pictures(coco, _list(parsed, "images"))
        _add_categories(coco, _list(parsed, "categories"))
        for annotation in _list(parsed, "annotations"):
            _add_annotation(coco, annotation)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    _note_faults(coco)
    return coco


def _list(parsed: object, key: str) -> list[Any]:
    value = parsed.get(key) if isinstance(parsed, dict) else None
    if not isinstance(value, list):
        raise InputError(f"its {key} must be a list, got {value!r:.40}")
    return value


def _add_pictures(coco: CocoFile, pictures: list[Any]) -> None:
    for picture in pictures:
        if not isinstance(picture, dict) or not isinstance(picture.get("file_name"), str):
            raise InputError(f"a picture without a file_name: {picture!r:.80}")
        if coco.pictures.setdefault(str(picture.get("id")), picture) is not picture:
            raise InputError(f"two pictures have the id {picture.get('id')!r:.40}")


def _add_categories(coco: CocoFile, categories: list[Any]) -> None:
    known = [c for c in categories if isinstance(c, dict)]
    for category in sorted(known, key=lambda c: type(c.get("id")) is int and c["id"]):
        if not isinstance(category.get("name"), str):
            raise InputError(f"a category without a name: {category!r:.80}")
        coco.names[str(category.get("id"))] = category["name"]


def _add_annotation(coco: CocoFile, annotation: object) -> None:
    if isinstance(annotation, CocoObject):
        coco.objects[annotation.picture].append(annotation)
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


def _note_faults(coco: CocoFile) -> None:
    """Add objects of unknown pictures or categories to the faults, boxes to the warnings."""
    objects = [one for of_picture in coco.objects.values() for one in of_picture]
    lost = [one.number for one in objects if one.picture not in coco.pictures]
    if lost:
        coco.faults.append(f"objects of pictures that are not listed: {listed(lost)}")
    unknown = [one.number for one in objects if one.category not in coco.names]
    if unknown:
        coco.faults.append(f"objects of categories that are not listed: {listed(unknown)}")
    boxes = [one.number for one in objects if one.outline == () and not one.crowd]
    if boxes:
        coco.warnings.append(f"objects with a box only, whose pixels are ignored: {listed(boxes)}")


def _compact(parsed: dict[str, Any]) -> object:
    """A JSON object in compact form as soon as it is parsed: the numbers of a large file would
    fill the memory.
    """
    if "image_id" in parsed and "category_id" in parsed:
        return CocoObject(
            number=str(parsed.get("id")),
            picture=str(parsed["image_id"]),
            category=str(parsed["category_id"]),
            crowd=bool(parsed.get("iscrowd")),
            outline=_polygons(parsed.get("segmentation") or []),
            box=parsed.get("bbox"),
        )
    if "file_name" in parsed and "segments_info" not in parsed:
        return {key: parsed[key] for key in _PICTURE_KEYS if key in parsed}
    return parsed


def _polygons(outline: object) -> object:
    """Polygons as arrays; other values stay as they are, and become faults when drawn."""
    if not isinstance(outline, list):
        return outline
    try:
        with np.errstate(over="ignore"):  # too large numbers become infinite, which is a fault
            return tuple(np.array(polygon, np.float32).ravel() for polygon in outline)
    except (TypeError, ValueError, OverflowError):
        return outline
