"""The layout of a data folder, found by a format's reader, and the columns of its index.csv."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from autoseg.core.errors import InputError
from autoseg.core.files import read_bounded
from autoseg.core.text import one_form
from autoseg.data.dataset import Sample
from autoseg.data.pictures import ReadMask, read_mask

MAX_NAMES_SHOWN, MAX_TEXTS = 5, 30
MAX_TABLE_BYTES = 64 * 2**20  # of index.csv, whose lines are held in memory
INDEX = "index.csv"
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


def bounded(texts: list[str], kind: str) -> list[str]:
    """The first `MAX_TEXTS` faults or warnings, and the number of the others."""
    if len(texts) <= MAX_TEXTS:
        return texts
    return [*texts[:MAX_TEXTS], f"and {len(texts) - MAX_TEXTS} more {kind}"]


def gathered(faults: Iterable[str]) -> list[str]:
    """Faults or warnings ``file: rule`` in one line for each rule, with the first files."""
    by_rule: dict[str, list[str]] = {}
    for fault in faults:
        file, _, rule = fault.partition(": ")
        by_rule.setdefault(rule or fault, []).append(file)
    return [f"{listed(names)}: {r}" if names[0] != r else r for r, names in by_rule.items()]


def listed(names: list[str]) -> str:
    """The first `MAX_NAMES_SHOWN` names, and the number of the others."""
    rest = len(names) - MAX_NAMES_SHOWN
    more = f" and {rest} more" if rest > 0 else ""
    return ", ".join(names[:MAX_NAMES_SHOWN]) + more


def counted(notes: Mapping[str, Sequence[str]]) -> list[str]:
    """A line for each note, with the number of its names and the first of them; a name that
    occurs again counts again.
    """
    return [
        f"{note} ({len(names)}): {listed([*dict.fromkeys(names)])}"
        for note, names in notes.items()
    ]


def read_column(root: Path, column: str) -> dict[str, str]:
    """A column of index.csv by stem. Raises InputError if it is missing, or repeats a stem."""
    path = root / INDEX
    if not path.is_file():
        raise InputError(f"column {column!r} needs the file {path}, which does not exist")
    columns = read_columns(root)
    if column not in columns:
        held = ", ".join(map(repr, ("stem", *columns)))
        raise InputError(f"{INDEX} has no column {column!r}; it has {held}")
    return columns[column]


def read_columns(root: Path) -> dict[str, dict[str, str]]:
    """The columns of index.csv by name, their values by stem. Raises InputError if the file or
    its column `stem` is missing, or repeats a stem.
    """
    path = root / INDEX
    try:
        text = read_bounded(path, MAX_TABLE_BYTES).decode("utf-8-sig")
        with io.StringIO(text, newline="") as file:
            reader = csv.DictReader(file)
            names = list(dict.fromkeys(reader.fieldnames or ()))
            if "stem" not in names:
                held = ", ".join(map(repr, names))
                raise InputError(f"{INDEX} has no column 'stem'; it has {held}")
            lines = [{name: (line[name] or "").strip() for name in names} for line in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path} cannot be read: {error}") from error
    stems = [one_form(line["stem"]) for line in lines]
    if twice := sorted(stem for stem, count in Counter(stems).items() if count > 1):
        raise InputError(f"{INDEX} has several lines with one stem: {listed(twice)}")
    columns = {name: [line[name] for line in lines] for name in names if name != "stem"}
    return {name: dict(zip(stems, column, strict=True)) for name, column in columns.items()}
