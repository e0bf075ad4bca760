"""index.csv: a table in a data folder with a column `stem` and others, for splits and groups."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path

from autoseg.core.errors import InputError
from autoseg.data.layout import listed


def read_column(root: Path, column: str) -> dict[str, str]:
    """A column of index.csv by stem.

    Raises InputError for a missing file or column, and for a stem on several lines.
    """
    path = root / "index.csv"
    if not path.is_file():
        raise InputError(f"column {column!r} needs the file {path}, which does not exist")
    try:
        lines = _lines(path, column)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path} cannot be read: {error}") from error
    counts = Counter(stem for stem, _ in lines)
    if twice := sorted(stem for stem, count in counts.items() if count > 1):
        raise InputError(f"index.csv has several lines with one stem: {listed(twice)}")
    return dict(lines)


def _lines(path: Path, column: str) -> list[tuple[str, str]]:
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file)
        names = list(reader.fieldnames or ())
        if absent := [name for name in ("stem", column) if name not in names]:
            raise InputError(
                f"index.csv has no column {absent[0]!r}; it has {', '.join(map(repr, names))}"
            )
        return [((line["stem"] or "").strip(), (line[column] or "").strip()) for line in reader]
