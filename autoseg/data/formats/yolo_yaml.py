"""The data.yaml of a YOLO data set: class names, splits, and the folder of masks.

Source: ultralytics 8.4, ultralytics/data/utils.py (check_det_dataset, check_class_names) and
ultralytics/cfg/datasets/*.yaml.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from autoseg.core import yaml_files
from autoseg.core.errors import InputError
from autoseg.core.records import IGNORE_INDEX
from autoseg.data.formats.common.files import head, lines, visible_files
from autoseg.data.formats.common.pairing import PictureIndex, path_parts, split_of
from autoseg.data.layout import Layout, listed
from autoseg.data.pictures import under

# The background is one class more.
MAX_NAMES = IGNORE_INDEX - 1
_SUFFIXES = (".yaml", ".yml")
_MAX_BYTES = 2**20
_KEYS = (re.compile(rb"^(names|nc)\s*:", re.M), re.compile(rb"^(train|val)\s*:", re.M))
_SPLITS = {"train": "train", "val": "val", "validation": "val", "valid": "val", "test": "test"}


@dataclass(frozen=True)
class DataYaml:
    """What data.yaml says: class names by id (empty: none), folders or lists of pictures by split,
    each as the parts of its path, the folder of masks ("" where it gives none), and classes of
    mask values (255 = ignore).
    """

    names: tuple[str, ...] = ()
    pictures: dict[str, list[tuple[str, ...]]] = field(default_factory=dict)
    masks_folder: str = ""
    mapping: dict[int, int] = field(default_factory=dict)


def find_yaml(folder: Path) -> Path | None:
    """The file in a folder that names classes and splits: data.yaml, else another YAML file."""
    files = [
        path for path in visible_files(folder, deep=False) if path.suffix.lower() in _SUFFIXES
    ]
    for path in sorted(files, key=lambda path: (path.stem != "data", path.name)):
        start = head(path, _MAX_BYTES)
        if all(key.search(start) for key in _KEYS):
            return path
    return None


def read_yaml(layout: Layout) -> DataYaml:
    """The content of data.yaml, empty if there is none; errors become faults."""
    path = find_yaml(layout.root)
    if path is None:
        return DataYaml()
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise InputError(f"it is over {_MAX_BYTES // 2**20} MiB, too large for a data.yaml")
        return _checked(yaml_files.read(path).data)
    except InputError as error:
        shown = str(error).removeprefix(f"{path.parent}/")
        layout.faults.append(shown if path.name in shown else f"{path.name}: {shown}")
        return DataYaml()


def _checked(data: Any) -> DataYaml:
    if not isinstance(data, dict):
        raise InputError("it must be lines of `key: value`")
    if "kpt_shape" in data:
        raise InputError("it has kpt_shape: the labels are key points (a pose), not outlines")
    base = path_parts(data.get("path"))
    pictures: dict[str, list[tuple[str, ...]]] = {}
    for key, split in _SPLITS.items():
        for entry in _entries(data, key):
            inside = tuple(part for part in (*base, *path_parts(entry)) if part != "..")
            pictures.setdefault(split, []).append(inside)
    return DataYaml(_names(data), pictures, _masks_folder(data), dict(_mapping(data)))


def _entries(data: Mapping[Any, Any], key: str) -> list[str]:
    value = data.get(key)
    entries = value if isinstance(value, list) else [value] if value else []
    if wrong := [entry for entry in entries if not isinstance(entry, str)]:
        raise InputError(
            f"{key} must be a folder, a list of pictures or several, got {_shown(wrong[0])}"
        )
    return entries


def _names(data: Mapping[Any, Any]) -> tuple[str, ...]:
    given = data.get("names")
    if given is None:
        count = data.get("nc")
        given = [f"class_{number}" for number in range(_class_id(count, "nc"))] if count else []
    if not isinstance(given, list | dict):
        raise InputError(f"names must be a list, or lines of `id: name`, got {_shown(given)}")
    items = enumerate(given) if isinstance(given, list) else given.items()
    by_id = {_class_id(key, "an id of names"): _name(value) for key, value in items}
    names = tuple(
        by_id.get(number, f"class_{number}") for number in range(max(by_id, default=-1) + 1)
    )
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise InputError(f"names holds a name twice: {listed(twice)}")
    return names


def _class_id(value: object, what: str) -> int:
    text = str(value) if isinstance(value, int | str) else ""
    number = int(text) if re.fullmatch(r"\d{1,4}", text) else MAX_NAMES + 1
    if number > MAX_NAMES:
        raise InputError(f"{what} must be a number up to {MAX_NAMES}, got {_shown(value)}")
    return number


def _name(value: object) -> str:
    if not isinstance(value, str | int | float):
        raise InputError(f"a name must be a text, got {_shown(value)}")
    return str(value).strip()


def _masks_folder(data: Mapping[Any, Any]) -> str:
    given = data.get("masks_dir")
    parts = path_parts(given)
    if given is not None and (not parts or ".." in parts):
        raise InputError(f"masks_dir must be a folder in the data set, got {_shown(given)}")
    return "/".join(parts)


def _mapping(data: Mapping[Any, Any]) -> Iterator[tuple[int, int]]:
    """The class of each mask value that `label_mapping` names."""
    given = data.get("label_mapping") or {}
    if not isinstance(given, dict):
        raise InputError(f"label_mapping must be lines of `value: class`, got {_shown(given)}")
    for value, target in given.items():
        ignored = target in (None, "ignore_label", -1, IGNORE_INDEX)
        try:
            source, index = int(value), IGNORE_INDEX if ignored else int(target)
        except (TypeError, ValueError, OverflowError) as error:
            raise InputError(
                f"label_mapping: {_shown(value)}: {_shown(target)} are no numbers"
            ) from error
        if not 0 <= index <= IGNORE_INDEX:
            raise InputError(
                f"label_mapping: a class is 0 to {IGNORE_INDEX}, got {_shown(target)}"
            )
        if 0 <= source <= IGNORE_INDEX:  # -1 stands for values that no picture can hold
            yield source, index


def _shown(value: object) -> str:
    # Not the text of lists: aliases of a hostile file make it endless.
    if isinstance(value, list | dict):
        return "a list" if isinstance(value, list) else "a mapping"
    return f"{value!r:.60}"


def pictures_by_split(
    layout: Layout, about: DataYaml, index: PictureIndex, masks: Set[Path]
) -> dict[str, list[Path]]:
    """The pictures that data.yaml names by split, without `masks`; if it names none, those below
    images/ by the names of their folders. Others become a warning.
    """
    pictures = [path for path in index.paths if path not in masks]
    by_split: dict[str, list[Path]] = defaultdict(list)
    places = _places(layout.root, about)
    for split, entries in about.pictures.items():
        for parts in entries:
            place = places.get(parts)
            if place is not None and not place.is_dir():
                by_split[split] += _listed(layout, place, index)
            else:
                by_split[split] += _inside(layout, split, parts, place, pictures)
    if not about.pictures:
        for path in pictures:
            folder = path.relative_to(layout.root).parent
            if "images" in folder.parts:
                by_split[split_of(folder.as_posix())].append(path)
    used = {path for of in by_split.values() for path in of}
    if others := [under(layout.root, str(path)) for path in pictures if path not in used]:
        where = "that data.yaml does not name" if about.pictures else "outside of images/"
        layout.warnings.append(f"{len(others)} pictures {where} are not used: {listed(others)}")
    return {split: list(dict.fromkeys(of)) for split, of in by_split.items()}


def _places(root: Path, about: DataYaml) -> dict[tuple[str, ...], Path]:
    """The folder or list of each path that data.yaml names. It may be one of another machine
    (/content/set/train/images): then its end counts, unless another path has the same end.
    """
    named = {parts for entries in about.pictures.values() for parts in entries}
    found: dict[tuple[str, ...], Path] = {}
    for parts in named:
        ends = (root.joinpath(*parts[first:]) for first in range(max(1, len(parts))))
        if (place := next((path for path in ends if path.exists()), None)) is not None:
            found[parts] = place
    counts = Counter(found.values())
    return {parts: place for parts, place in found.items() if counts[place] == 1}


def _inside(
    layout: Layout,
    split: str,
    parts: tuple[str, ...],
    place: Path | None,
    pictures: list[Path],
) -> list[Path]:
    """Those of `pictures` in a folder that data.yaml names; none in it is a fault."""
    found = [path for path in pictures if place and path.is_relative_to(place)]
    if not found:
        lacks = "holds no pictures" if place else f"is not below {layout.root}"
        text = f"{split}: data.yaml names {'/'.join(parts)}, which {lacks}"
        if split == "test":
            layout.warnings.append(f"{text}: left out")
        else:
            layout.faults.append(f"{text}; correct the path, or remove the line")
    return found


def _listed(layout: Layout, path: Path, index: PictureIndex) -> list[Path]:
    """The pictures that a list names; others become a fault."""
    found, missing = [], []
    for line in lines(layout, path):
        try:
            picture = index.find(line, path.parent)
        except InputError:  # several pictures match equally
            picture = None
        if picture is None:
            missing.append(line)
        else:
            found.append(picture)
    if missing:
        layout.faults.append(
            f"{under(layout.root, str(path))} names pictures that are not below {layout.root}:"
            f" {listed(missing)}"
        )
    return found
