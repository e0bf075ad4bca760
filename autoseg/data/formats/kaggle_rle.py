"""Tables of runs (run-length encoded masks), as Kaggle's competitions ship them."""

from __future__ import annotations

from collections import defaultdict
from functools import partial
from pathlib import Path

import numpy as np

from autoseg.core.errors import InputError
from autoseg.core.text import one_form
from autoseg.data.dataset import Array, Sample
from autoseg.data.formats.common import shapes
from autoseg.data.formats.common.entries import entry_of, reference
from autoseg.data.formats.common.files import class_index, class_order, files_with
from autoseg.data.formats.common.pairing import Pair, PictureIndex, named_splits, split_of
from autoseg.data.formats.kaggle_rle_runs import decode_runs, go_by_rows, neighbours
from autoseg.data.formats.kaggle_rle_table import Table, columns_of, read_table
from autoseg.data.layout import Layout, listed
from autoseg.data.pictures import SUFFIXES

_MAX_TABLES = 20
# Objects whose runs are tried for the order of their pixels.
_MAX_TRIED = 50


def recognize(root: Path) -> str | None:
    tables = _tables(root)
    return f"{tables[0].name} is a table of run-length encoded masks" if tables else None


def find(root: Path) -> Layout:
    """Find the picture of each entry; entries that cannot be used become faults."""
    layout = Layout(root, values=bytes(range(256)))
    pictures = PictureIndex(root)
    splits: dict[str, list[Pair]] = defaultdict(list)
    labels: set[str] = set()
    used: dict[Path, str] = {}
    try:
        for path in _tables(root):
            table = read_table(path)
            _check_relative(path, table)
            labels |= {label for objects in table.objects.values() for label, _ in objects}
            splits[split_of(path.stem)] += _pairs(layout, path, table, pictures, used)
        pairs = [pair for of_split in splits.values() for pair in of_split]
        by_rows = _order(layout, pairs)
    except InputError as error:
        layout.faults.append(str(error).replace(f"{root}/", ""))
        return layout
    if not pairs and not layout.faults:
        layout.faults.append(f"there is no table of runs, such as train.csv, in {root}")
    _note_bare(layout, pictures, {picture for picture, _ in pairs})
    layout.classes = class_order(layout, sorted(labels, key=_by_number))
    layout.read_mask = partial(read_mask, layout.classes, by_rows)
    layout.by_split = named_splits(layout, splits)
    return layout


def read_mask(classes: tuple[str, ...], by_rows: bool, sample: Sample) -> Array:
    """A picture's objects as class indices, later ones over earlier ones. Raises InputError."""
    path, entry = entry_of(sample.mask)
    hw = shapes.picture_hw(sample.image)
    mask = np.zeros(hw, np.uint8)
    try:
        table = read_table(path)
        shapes.check_size(table.sizes.get(entry), ("height", "width"), hw, sample.image)
        for label, runs in table.objects.get(entry, ()):
            mask[decode_runs(runs, hw, by_rows=by_rows)] = class_index(classes, label)
    except InputError as error:
        raise InputError(f"{path}, picture {entry:.80}: {error}") from error
    return mask


def _tables(root: Path) -> list[Path]:
    files = files_with(root, ".csv")
    return [path for path in files[:_MAX_TABLES] if path.is_file() and columns_of(path)]


def _pairs(
    layout: Layout, path: Path, table: Table, pictures: PictureIndex, used: dict[Path, str]
) -> list[Pair]:
    """A table's pictures, each with `file#entry`; `used` are those of the tables before."""
    by_stem = _by_stem(pictures)
    pairs: list[Pair] = []
    missing: list[str] = []
    doubtful: list[str] = []
    for entry in table.objects:
        try:
            picture = _picture(entry, split_of(path.stem), pictures, by_stem)
        except InputError as error:
            doubtful.append(str(error))
            continue
        if picture is None:
            missing.append(entry)
        elif picture in used:
            doubtful.append(f"{picture.name} is listed in {used[picture]} too; keep one")
        else:
            used[picture] = path.name
            pairs.append((picture, reference(path, entry)))
    if missing:
        layout.faults.append(
            f"{path.name} names pictures that are not below {layout.root}: {listed(missing)}"
        )
    if doubtful:
        layout.faults.append(f"{path.name}: {listed(doubtful)}")
    return pairs


def _by_stem(pictures: PictureIndex) -> dict[str, set[str]]:
    names: dict[str, set[str]] = defaultdict(set)
    for path in pictures.paths:
        names[one_form(path.stem)].add(path.name)
    return names


def _picture(
    entry: str, split: str, pictures: PictureIndex, by_stem: dict[str, set[str]]
) -> Path | None:
    """The picture of an entry, named with its suffix or without."""
    names = (
        [entry] if entry.lower().endswith(SUFFIXES) else sorted(by_stem.get(one_form(entry), ()))
    )
    if len(names) > 1:
        raise InputError(f"the picture {entry!r:.80} may be {listed(names)}")
    # Of several pictures of one name, that in the folder of the table's split counts.
    return pictures.find(f"{split}/{names[0]}") if names else None


def _order(layout: Layout, pairs: list[Pair]) -> bool:
    """Whether the runs go along the rows; a warning says it where the pictures do not show it.

    Raises InputError where none of the first runs can be read: it is another kind of table.
    """
    seen: list[tuple[int, int]] = []
    faults: list[InputError] = []
    for picture, mask in pairs:
        path, entry = entry_of(mask)
        for _, runs in read_table(path).objects[entry]:
            try:
                seen.append(neighbours(runs, shapes.picture_hw(str(picture))))
            except InputError as error:
                faults.append(InputError(f"{path}, picture {entry:.80}: {error}"))
        if len(seen) + len(faults) >= _MAX_TRIED:
            break
    if faults and not seen:
        raise faults[0]
    by_rows = go_by_rows(sum(rows for rows, _ in seen), sum(columns for _, columns in seen))
    if by_rows is None and seen:
        layout.warnings.append(
            "the runs are read down the columns, as in most competitions: the pictures, square or"
            " evenly covered, do not show it; look at them with `autoseg data preview`"
        )
    return bool(by_rows)


def _check_relative(path: Path, table: Table) -> None:
    if table.relative:
        raise InputError(
            f"{path.name} marks pictures without an object with -1, as SIIM-ACR does, whose runs"
            " start relative to the run before: they are not read; write pairs of start and"
            " length, and leave the cell empty where there is no object"
        )


def _note_bare(layout: Layout, pictures: PictureIndex, used: set[Path]) -> None:
    bare = sorted(path.name for path in pictures.paths if path not in used)
    if bare:
        layout.warnings.append(
            f"pictures without a line in a table of runs, left out: {listed(bare)}; if they show"
            " no object, give each a line without runs"
        )


def _by_number(label: str) -> tuple[int, str]:
    """class_2 before class_10."""
    number = label.rpartition("_")[2]
    return (len(number) if number.isdecimal() else 0), label
