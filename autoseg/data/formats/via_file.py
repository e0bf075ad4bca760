"""Read the files of VIA: a project, or its annotations exported as JSON or as CSV; and find the
attribute of a region that names its class.

Source: gitlab.com/vgg/via, via-2.x.y/CodeDoc.md (``_via_img_metadata``, regions with
shape_attributes and region_attributes); version 1 holds regions by number instead of as a list.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from autoseg.core.errors import InputError
from autoseg.data.dataset import OBJECT
from autoseg.data.formats.common.files import (
    export_files,
    file_version,
    files_with,
    head,
    objects,
    parse_json,
)
from autoseg.data.formats.common.tables import read_rows
from autoseg.data.layout import listed

_HEAD_BYTES = 65536
_CSV_HEAD = (
    "filename,file_size,file_attributes,region_count,region_id,region_shape_attributes"
    ",region_attributes"
)
_MAX_CSV_FILES = 20
AREA_SHAPES = ("polygon", "rect", "circle", "ellipse")

# Of several attributes, one with such a name is the class.
_USUAL = ("class", "label", "category", "classname", "categoryname", "type", "object", "name")

Region = tuple[dict[str, Any], dict[str, Any]]


def via_files(root: Path) -> list[Path]:
    """The files of VIA in a folder and its direct subfolders."""
    if not root.is_dir():
        return []
    below = sorted(path for path in root.iterdir() if path.is_dir() and path.name[0] != ".")
    found: list[Path] = []
    for folder in (root, *below):
        tables = files_with(folder, ".csv")
        found += [path for path in export_files(folder) if _is_json_of_via(path)]
        found += [path for path in tables[:_MAX_CSV_FILES] if _is_csv_of_via(path)]
    return found


def is_project_of_via_3(path: Path) -> bool:
    """Whether a JSON file is a project of VIA 3, which stores regions in another way."""
    start = head(path, _HEAD_BYTES)
    return start.startswith(b"{") and all(key in start for key in (b'"project"', b'"pid"'))


def _is_json_of_via(path: Path) -> bool:
    start = head(path, _HEAD_BYTES)
    if not start.startswith(b"{"):
        return False
    exported = b'"filename"' in start and b'"regions"' in start
    shaped = b'"shape_attributes"' in start or b'"file_attributes"' in start
    return b'"_via_' in start or (exported and shaped) or is_project_of_via_3(path)


def _is_csv_of_via(path: Path) -> bool:
    return head(path).lstrip(b"#").startswith(_CSV_HEAD.encode())


def read_entries(path: Path) -> dict[str, dict[str, Any]]:
    """The pictures of a file by their keys, each with `filename` and `regions`; cached until the
    file changes. Raises InputError.
    """
    return _entries(path, file_version(path))


@lru_cache(maxsize=4)
def _entries(path: Path, _version: tuple[int, int]) -> dict[str, dict[str, Any]]:
    if path.suffix.lower() == ".csv":
        return _csv_entries(path)
    if is_project_of_via_3(path):
        raise InputError(
            f"{path} is a project of VIA 3, which is not read: export it as COCO, or annotate with"
            " VIA 2"
        )
    held = parse_json(path)
    entries = held.get("_via_img_metadata", held) if isinstance(held, dict) else None
    if not isinstance(entries, dict):
        raise InputError(f"{path}: its _via_img_metadata must be an object, got {entries!r:.40}")
    return {key: entry for key, entry in entries.items() if _is_entry(path, key, entry)}


def _is_entry(path: Path, key: str, entry: object) -> bool:
    if key.startswith("_via_"):  # settings beside the entries
        return False
    if not isinstance(entry, dict) or not isinstance(entry.get("filename"), str):
        raise InputError(f"{path}: {key:.80} is no picture with a filename: {entry!r:.40}")
    return True


def _csv_entries(path: Path) -> dict[str, dict[str, Any]]:
    """A line is a region, or a picture without any; pictures are told apart by name and size."""
    entries: dict[str, dict[str, Any]] = {}
    try:
        for _, (name, size, *_, shape, attributes) in read_rows(path):
            entry = entries.setdefault(name + size, {"filename": name, "regions": []})
            entry["regions"].append(
                {
                    "shape_attributes": json.loads(shape),
                    "region_attributes": json.loads(attributes),
                }
            )
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} cannot be read as a CSV of VIA: {error}") from error
    for entry in entries.values():
        entry["regions"] = [r for r in entry["regions"] if r["shape_attributes"] != {}]
    return entries


def regions_of(entry: dict[str, Any], notes: set[str]) -> Iterator[Region]:
    """The regions of a picture that have an area: shape and attributes. Others are noted.

    Raises InputError.
    """
    given = entry.get("regions") or []
    for region in objects(list(given.values()) if isinstance(given, dict) else given, "regions"):
        shape, attributes = region.get("shape_attributes"), region.get("region_attributes") or {}
        if not isinstance(shape, dict) or not isinstance(attributes, dict):
            raise InputError(f"a region without shape_attributes: {region!r:.40}")
        if shape.get("name") in AREA_SHAPES:
            yield shape, attributes
        else:
            notes.add(f"regions of the shape {shape.get('name')!r:.40} have no area, ignored")


def class_attribute(attributes: Iterable[dict[str, Any]]) -> str:
    """The attribute that names the class of a region: the only one, or the only one with a usual
    name; "" if the regions have none. Raises InputError if it is open.
    """
    counts = Counter(key for one in attributes for key in one)
    usual = [key for key in counts if _plain(key) in _USUAL]
    for keys in (list(counts), usual):
        if len(keys) == 1:
            return keys[0]
    if not counts:
        return ""
    raise InputError(
        f"the regions have several attributes, {listed(sorted(counts))}: name the one that holds"
        " the class `class`, and the others otherwise"
    )


def _plain(key: str) -> str:
    return "".join(filter(str.isalnum, key)).lower()


def label_of(attributes: dict[str, Any], key: str) -> str:
    """The class of a region: a text, a number, or the one ticked box of several; "" if it has
    none. Raises InputError for several ticked boxes and other values.
    """
    if not key:
        return OBJECT
    value = attributes.get(key)
    if isinstance(value, dict):
        ticked = [name for name, on in value.items() if on]
        if len(ticked) > 1:
            raise InputError(f"a region has several classes: {key}: {listed(ticked)}")
        value = next(iter(ticked), "")
    if isinstance(value, int | float) and not isinstance(value, bool):
        return f"class_{value}"
    if value is None or isinstance(value, str):
        return (value or "").strip()
    raise InputError(f"a region's {key} must be a text, got {value!r:.40}")
