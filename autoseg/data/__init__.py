"""Data sets: folders of pictures and masks, and the synthetic parcels."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from autoseg.records import InputError

if TYPE_CHECKING:
    from autoseg.data.dataset import Dataset


def load(
    data: str | Path | None,
    *,
    format: str | None = None,
    remap: str | Path | None = None,
    split_column: str | None = None,
    group_column: str | None = None,
    group_pattern: str | None = None,
    seed: int = 0,
    cache_dir: Path | None = None,
) -> Dataset:
    """The data set in a folder, or the synthetic parcels for None (or the word "parcels").

    With `cache_dir`, what was found is kept there, and only what changed is decoded next time. The
    rest says how the folder is to be read: see `dataset.Reading`. Raises InputError with the full
    list of faults.
    """
    if data is None or (str(data) == "parcels" and not Path(data).is_dir()):
        from autoseg.data.parcels import parcels

        if format or remap or split_column or group_column or group_pattern:
            raise InputError(
                "--format, --remap, --split-column, --group-column and --group-pattern say how a"
                " folder is read: give one with --data"
            )
        return parcels()
    from autoseg.data.dataset import Reading
    from autoseg.data.folder import open_folder

    remap = None if remap is None else str(remap)
    reading = Reading(format, remap, split_column, group_column, group_pattern, seed)
    return open_folder(data, reading, cache_dir)
