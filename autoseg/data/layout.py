"""The layout of a data folder, found by a format's reader, and the columns of its index.csv."""

from __future__ import annotations

import csv
import io
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from autoseg.core.errors import InputError
from autoseg.core.files import read_bounded
from autoseg.data.dataset import Sample
from autoseg.data.pictures import ReadMask, read_mask

MAX_NAMES_SHOWN = 5
MAX_TABLE_BYTES = 64 * 2**20  # of index.csv, whose lines are held in memory
Splits = dict[str, list[Sample]]


@dataclass
class Layout:
    """The result of a format's reader, before any picture is decoded.

    `by_split` has the one key "" where the folder has no splits. `read_mask` decodes a sample's
    `mask` to uint8 ``[H, W]`` of stored values, raises InputError, and can be pickled. `values`
    holds 256 bytes, the class index of each stored value (255 = ignore); None: stored values are
    class indices. `classes` are names by index; empty: the highest stored value gives their
    number. `notes` are warnings by stored value, issued where any pixel has that value.
    """

    root: Path
    by_split: Splits = field(default_factory=dict)
    classes: tuple[str, ...] = ()
    values: bytes | None = None
    read_mask: ReadMask = read_mask
    notes: dict[int, str] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    @property
    def samples(self) -> list[Sample]:
        return [sample for samples in self.by_split.values() for sample in samples]


def listed(names: list[str]) -> str:
    """The first `MAX_NAMES_SHOWN` names, and the number of the others."""
    rest = len(names) - MAX_NAMES_SHOWN
    more = f" and {rest} more" if rest > 0 else ""
    return ", ".join(names[:MAX_NAMES_SHOWN]) + more


def read_column(root: Path, column: str) -> dict[str, str]:
    """A column of index.csv by stem. Raises InputError if it is missing, or repeats a stem."""
    path = root / "index.csv"
    if not path.is_file():
        raise InputError(f"column {column!r} needs the file {path}, which does not exist")
    try:
        text = read_bounded(path, MAX_TABLE_BYTES).decode("utf-8-sig")
        with io.StringIO(text, newline="") as file:
            reader = csv.DictReader(file)
            names = list(reader.fieldnames or ())
            if absent := [name for name in ("stem", column) if name not in names]:
                held = ", ".join(map(repr, names))
                raise InputError(f"index.csv has no column {absent[0]!r}; it has {held}")
            lines = [[(line[name] or "").strip() for name in ("stem", column)] for line in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path} cannot be read: {error}") from error
    counts = Counter(stem for stem, _ in lines)
    if twice := sorted(stem for stem, count in counts.items() if count > 1):
        raise InputError(f"index.csv has several lines with one stem: {listed(twice)}")
    return {stem: value for stem, value in lines}
