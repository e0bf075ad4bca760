"""Masks beside their pictures: NAME.jpg and NAME_mask.png in one folder, or in one for each split.

- Roboflow's "Semantic Segmentation Masks": train/, valid/ and test/, each with _classes.csv,
  lines of ``Pixel Value, Class``. Source: https://docs.roboflow.com/datasets/download-a-dataset.
- DeepGlobe's: NAME_sat.jpg and NAME_mask.png, with class_dict.csv. Source: deepglobe.org.
- Others, with classes.txt or a table of colours, or without.
"""

from __future__ import annotations

import os
from pathlib import Path

from autoseg.core.records import IGNORE_INDEX
from autoseg.core.text import one_form
from autoseg.data.dataset import Sample
from autoseg.data.formats.common.colour_masks import use_table
from autoseg.data.formats.common.files import (
    class_names,
    head,
    lines,
    picture_files,
    subfolders,
    visible_files,
)
from autoseg.data.formats.common.pairing import KNOWN_SPLITS, SPLIT_NAMES, pairs
from autoseg.data.layout import Layout, listed
from autoseg.data.pictures import SUFFIXES, under

_CLASSES = "_classes.csv"
_MASK, _PICTURE = "_mask", "_sat"
# The CSV of Roboflow's classification data sets has the same name, and other columns.
_HEADER = b"pixel value"
_MAX_DIGITS = 3


def recognize(root: Path) -> str | None:
    for folder in _folders(root):
        shown = f"{folder.relative_to(root).as_posix()}/" if folder != root else "it"
        if _is_roboflow(folder / _CLASSES):
            return f"{shown} holds {_CLASSES} of Roboflow"
        if _holds_pairs(folder):
            return f"{shown} holds pictures, each with NAME{_MASK}.png beside it"
    return None


def find(root: Path) -> Layout:
    """Pair the pictures of each folder with their masks; files without a partner become faults."""
    layout = Layout(root)
    for folder in _folders(root):
        split = SPLIT_NAMES.get(folder.name.lower(), "") if folder != root else ""
        if samples := _samples(layout, folder):
            layout.by_split.setdefault(split, []).extend(samples)
    others = [name for name in subfolders(root) if root / name not in _folders(root)]
    if others := [f"{n}/" for n in others if _holds_pairs(root / n)]:
        rule = f"splits are named {KNOWN_SPLITS}"
        layout.faults.append(f"folders of masks that are no split: {listed(others)}; {rule}")
    if "" in layout.by_split and len(layout.by_split) > 1:
        stray = [Path(sample.image).name for sample in layout.by_split.pop("")]
        layout.faults.append(f"pictures beside the folders of splits: {listed(stray)}")
    if not layout.by_split and not layout.faults:
        layout.faults.append(f"there are no pictures with NAME{_MASK}.png beside them in {root}")
    layout.classes = class_names(layout)
    if not use_table(layout):
        _use_values(layout)
    return layout


def _folders(root: Path) -> list[Path]:
    """The folders of splits, and `root` itself."""
    with os.scandir(root) as entries:
        names = sorted(entry.name for entry in entries if entry.name.lower() in SPLIT_NAMES)
    return [root / name for name in names if (root / name).is_dir()] + [root]


def _is_roboflow(path: Path) -> bool:
    return head(path).lower().startswith(_HEADER)


def _holds_pairs(folder: Path) -> bool:
    files = visible_files(folder, deep=False)
    stems = {one_form(path.stem) for path in files if path.suffix.lower() in SUFFIXES}
    masked = {stem.removesuffix(_MASK) for stem in stems if stem.endswith(_MASK)}
    return any(f"{stem}{ending}" in stems for stem in masked for ending in ("", _PICTURE))


def _samples(layout: Layout, folder: Path) -> list[Sample]:
    where = under(layout.root, str(folder))
    found = Layout(layout.root)
    files = picture_files(found, folder, deep=False)
    layout.faults += found.faults  # not its warning, which would name _classes.csv
    masks = {
        name.removesuffix(_MASK): path for name, path in files.items() if name.endswith(_MASK)
    }
    pictures = {
        name.removesuffix(_PICTURE): path
        for name, path in files.items()
        if not name.endswith(_MASK)
    }
    if pictures and not masks:
        layout.warnings.append(
            f"{where}: none of its {len(pictures)} pictures has a mask NAME{_MASK}.png: left out"
        )
        return []
    return pairs(layout, pictures, masks, where)


def _use_values(layout: Layout) -> None:
    """Set the classes by the values in _classes.csv; those of all folders must agree."""
    files = [folder / _CLASSES for folder in _folders(layout.root)]
    tables = {path: _table(layout, path) for path in files if path.is_file()}
    if not tables or layout.faults:
        return
    first = next(iter(tables))
    if others := [path for path in tables if tables[path] != tables[first]]:
        names = [under(layout.root, str(path)) for path in (first, *others)]
        layout.faults.append(f"they do not name the same classes: {listed(names)}")
        return
    by_value = dict(sorted(tables[first].items()))
    layout.classes = tuple(by_value.values())
    # A value that is not named becomes no class, so that the inspection reports it.
    values = [len(by_value)] * IGNORE_INDEX + [IGNORE_INDEX]
    for index, value in enumerate(by_value):
        values[value] = index
    layout.values = bytes(values)


def _table(layout: Layout, path: Path) -> dict[int, str]:
    """Class names by pixel value; errors become faults."""
    shown = under(layout.root, str(path))
    by_value: dict[int, str] = {}
    wrong: list[str] = []
    for line in lines(layout, path)[1:]:
        value, _, name = (part.strip().strip('"') for part in line.partition(","))
        if (
            value.isdecimal()
            and len(value) <= _MAX_DIGITS
            and int(value) <= IGNORE_INDEX
            and name
            and int(value) not in by_value
        ):
            by_value[int(value)] = name
        else:
            wrong.append(repr(line[:60]))
    if wrong:
        layout.faults.append(f"{shown}: lines that are no new `value, class`: {listed(wrong)}")
    elif not 2 <= len(set(by_value.values())) == len(by_value) < IGNORE_INDEX:
        layout.faults.append(
            f"{shown} must name 2 to {IGNORE_INDEX - 1} classes, each once, it names"
            f" {len(set(by_value.values()))}"
        )
    return by_value
