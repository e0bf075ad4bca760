"""Read the lines of large CSV tables, as annotations come in."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

from autoseg.core.errors import InputError

# Real tables have up to 300 MB; the rows of a file are held in memory.
_MAX_TABLE_BYTES = 2**30
_MAX_CELL_CHARS = 2**24


def read_rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """The lines after the head, with their numbers; empty lines are skipped. Raises InputError."""
    # The outline or the runs of one large object exceed the default limit of 128 KiB a cell.
    csv.field_size_limit(_MAX_CELL_CHARS)
    try:
        if path.stat().st_size > _MAX_TABLE_BYTES:
            raise InputError(
                f"{path} is over {_MAX_TABLE_BYTES // 2**20} MiB, too large for a table"
            )
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file)
            next(reader, None)
            yield from ((reader.line_num, row) for row in reader if row)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path} cannot be read as a table: {error}") from error
