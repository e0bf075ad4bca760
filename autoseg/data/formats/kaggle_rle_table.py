"""Read a CSV table of runs: a line for each object or class of a picture.

Sources (kaggle.com/c/NAME/data): airbus-ship-detection (ImageId, EncodedPixels),
tgs-salt-identification-challenge (id, rle_mask), carvana-image-masking-challenge (img, rle_mask),
severstal-steel-defect-detection (ImageId, ClassId, EncodedPixels; once ImageId_ClassId:
``name.jpg_4``), understanding_cloud_organization (Image_Label: ``name.jpg_Fish``),
sartorius-cell-instance-segmentation (id, annotation), hubmap-organ-segmentation (id, rle),
uw-madison-gi-tract-image-segmentation (id, class, segmentation).
"""

from __future__ import annotations

import csv
import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from autoseg.core.errors import InputError
from autoseg.data.dataset import OBJECT
from autoseg.data.formats.common.files import file_version, head
from autoseg.data.formats.common.tables import read_rows
from autoseg.data.layout import listed

# Column names in lower case, without separators.
_RUNS = ("encodedpixels", "rlemask", "rle")
# Names that other tables have too: the cells must look like runs.
_MAY_BE_RUNS = ("annotation", "segmentation")
_LOOKS_LIKE_RUNS = re.compile(r"\s*\d+ \d+( |$)")
_BOTH = ("imageidclassid", "imagelabel", "imageclassid")
_PICTURE = ("imageid", "image", "img", "id", "filename", *_BOTH)
_LABEL = ("classid", "class", "label", "classname", "celltype")
_HEIGHT, _WIDTH = ("height", "imgheight"), ("width", "imgwidth")
# How tables say that there is no object.
_NONE = ("", "-1", "nan")


@dataclass(frozen=True)
class Columns:
    """Places of columns; None where a table lacks one. With `joined`, the picture's name and the
    label share a cell: ``name_label``.
    """

    picture: int
    runs: int
    label: int | None
    joined: bool
    height: int | None
    width: int | None


@dataclass
class Table:
    """Runs by picture: the label and the text of the runs of each line that has any; and the
    height and width that the table states, if it does.

    `relative` is set where -1 marks pictures without an object: such a table has relative runs.
    """

    objects: dict[str, list[tuple[str, str]]] = field(default_factory=lambda: defaultdict(list))
    sizes: dict[str, dict[str, int]] = field(default_factory=dict)
    relative: bool = False


def columns_of(path: Path) -> Columns | None:
    """The columns of a table of runs; None for a file of another kind."""
    if "submission" in path.stem.lower():  # an example of an answer: its runs are made up
        return None
    text = head(path).decode("utf-8", "replace")
    try:
        rows = [row for row in csv.reader(text.splitlines()) if row]
    except csv.Error:
        return None
    return _columns(rows[0], rows[1:]) if rows else None


def _columns(names: Sequence[str], rows: Sequence[Sequence[str]]) -> Columns | None:
    plain = ["".join(filter(str.isalnum, name)).lower() for name in names]
    runs, picture = _place(plain, _RUNS), _place(plain, _PICTURE)
    if runs is None and (place := _place(plain, _MAY_BE_RUNS)) is not None:
        cells = [row[place] for row in rows if len(row) > place]
        runs = place if any(map(_LOOKS_LIKE_RUNS.match, cells)) else None
    if runs is None or picture is None:
        return None
    return Columns(
        picture=picture,
        runs=runs,
        label=_place(plain, _LABEL),
        joined=plain[picture] in _BOTH,
        height=_place(plain, _HEIGHT),
        width=_place(plain, _WIDTH),
    )


def _place(names: Sequence[str], wanted: Sequence[str]) -> int | None:
    return next((names.index(name) for name in wanted if name in names), None)


def read_table(path: Path) -> Table:
    """A table of runs, cached until the file changes. Raises InputError."""
    return _read(path, file_version(path))


@lru_cache(maxsize=2)
def _read(path: Path, _version: tuple[int, int]) -> Table:
    columns = columns_of(path)
    if columns is None:
        raise InputError(f"{path} is no longer a table of runs")
    table, short = Table(), []
    for number, row in read_rows(path):
        if len(row) <= max(columns.picture, columns.runs):
            short.append(str(number))
        else:
            _add(table, columns, row)
    if short:
        raise InputError(f"{path}: lines with too few columns: {listed(short)}")
    return table


def _add(table: Table, columns: Columns, row: list[str]) -> None:
    picture, label = row[columns.picture].strip(), OBJECT
    if columns.joined:
        picture, _, label = picture.rpartition("_")
    elif columns.label is not None and columns.label < len(row):
        label = row[columns.label].strip() or OBJECT
    if label.isdecimal():
        label = f"class_{label}"
    runs = row[columns.runs].strip()
    table.relative |= runs == "-1"
    objects = table.objects[picture]
    if runs.lower() not in _NONE:
        objects.append((label, runs))
    if size := _size(columns, row):
        table.sizes[picture] = size


def _size(columns: Columns, row: list[str]) -> dict[str, int]:
    places = {"height": columns.height, "width": columns.width}
    cells = {
        key: row[at].strip() for key, at in places.items() if at is not None and at < len(row)
    }
    return {key: int(cell) for key, cell in cells.items() if cell.isdecimal() and len(cell) < 10}
