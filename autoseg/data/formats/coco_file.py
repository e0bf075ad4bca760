"""Parse a JSON file of COCO: outlines become arrays during parsing, to save memory.

Its RLE holds lengths of uncovered and covered runs in turn, down the columns of a picture. Source:
pycocotools 2.0 (common/maskApi.c, rleFrString and rleDecode).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from autoseg.core.errors import InputError
from autoseg.core.units import HW
from autoseg.data.formats.common.files import file_version, parse_json
from autoseg.data.formats.common.shapes import NO_AREA, Covered, has_area
from autoseg.data.layout import counted, listed
from autoseg.data.pictures import naming

_PICTURE_KEYS = ("id", "file_name", "height", "width")
# Six characters of five bits hold the length of a run in any picture that can be decoded.
_MAX_CHARACTERS = 6
# Coordinates of a polygon that a stray click or a line may have left: four points.
_MAX_STRAY = 8


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
    return naming(str(path), _read, path, file_version(path))


@lru_cache(maxsize=4)
def _read(path: Path, _version: tuple[int, int]) -> CocoFile:
    parsed = parse_json(path, _compact)
    coco = CocoFile()
    _add_pictures(coco, _list(parsed, "images"))
    _add_categories(coco, _list(parsed, "categories"))
    for annotation in _list(parsed, "annotations"):
        _add_annotation(coco, annotation)
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
        rule = "an annotation without an image_id and a category_id"
        raise InputError(f"{rule}: {annotation!r:.80}")
    if not isinstance(annotation.get("file_name"), str):
        raise InputError("a panoptic annotation without a file_name")
    by_number = {
        segment["id"]: (str(segment.get("category_id")), bool(segment.get("iscrowd")))
        for segment in segments
        if isinstance(segment, dict) and type(segment.get("id")) is int
    }
    coco.segments[str(annotation.get("image_id"))] = (annotation["file_name"], by_number)


def _note_faults(coco: CocoFile) -> None:
    """Add objects of unknown pictures or categories to the faults, and boxes and pieces without
    an area to the warnings.
    """
    objects = [one for of_picture in coco.objects.values() for one in of_picture]
    if lost := [one.number for one in objects if one.picture not in coco.pictures]:
        coco.faults.append(f"objects of pictures that are not listed: {listed(lost)}")
    if unknown := [one.number for one in objects if one.category not in coco.names]:
        coco.faults.append(f"objects of categories that are not listed: {listed(unknown)}")
    boxes = [f"object {one.number}" for one in objects if one.outline == () and not one.crowd]
    stray = [
        f"object {one.number}" for one in objects for _ in range(_count_without_area(one.outline))
    ]
    notes = {"objects with a box only, whose pixels are ignored": boxes, NO_AREA: stray}
    coco.warnings += counted({note: names for note, names in notes.items() if names})


def _count_without_area(outline: object) -> int:
    """Polygons of an object that are left out; only small ones are examined, for speed."""
    polygons = outline if isinstance(outline, tuple) else ()
    small = (p.reshape(-1, 2) for p in polygons if p.size <= _MAX_STRAY and p.size % 2 == 0)
    return sum(not has_area(points) for points in small)


def used_categories(coco: CocoFile) -> Iterator[tuple[str, bool]]:
    """The category's name of each object and segment, and whether it is marked as a crowd."""
    held = [(one.category, one.crowd) for of in coco.objects.values() for one in of]
    held += [pair for _, segments in coco.segments.values() for pair in segments.values()]
    return ((coco.names[category], crowd) for category, crowd in held if category in coco.names)


def _compact(parsed: dict[str, Any]) -> object:
    """A JSON object in compact form as soon as it is parsed, to save memory."""
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


def decode_rle(counts: object, hw: HW) -> Covered:
    """The covered pixels, bool ``[H, W]``, from numbers or packed text. Raises InputError."""
    lengths = _unpack(counts) if isinstance(counts, str) else _numbers(counts)
    if min(lengths, default=0) < 0 or sum(lengths) != hw[0] * hw[1]:
        raise InputError(
            f"its runs (counts) do not fill a picture of {hw[1]}x{hw[0]}: damaged, or not the"
            " same picture"
        )
    covered: Covered = np.repeat(np.arange(len(lengths)) % 2 == 1, lengths)
    return covered.reshape(hw[1], hw[0]).T


def _numbers(counts: object) -> list[int]:
    if not isinstance(counts, list) or not all(type(length) is int for length in counts):
        raise InputError(f"its runs (counts) must be a list of whole numbers, got {counts!r:.40}")
    return counts


def _unpack(text: str) -> list[int]:
    """Lengths from their text: five bits per character, the lowest first; the sixth bit marks that
    another character follows. From the fourth length on, the value is the difference to the length
    two places before.
    """
    lengths: list[int] = []
    value = shift = 0
    for character in text:
        bits = ord(character) - 48
        if not 0 <= bits < 64 or shift >= 5 * _MAX_CHARACTERS:
            raise InputError("its runs (counts) are damaged")
        value |= (bits & 31) << shift
        shift += 5
        if not bits & 32:
            value -= (1 << shift) if bits & 16 else 0
            lengths.append(value + (lengths[-2] if len(lengths) > 2 else 0))
            value = shift = 0
    return lengths
