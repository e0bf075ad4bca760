"""Data sets: folders of pictures and masks, and the synthetic parcels."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from autoseg.core.errors import InputError

if TYPE_CHECKING:
    from autoseg.data.dataset import Dataset, Reading


def load(
    data: str | Path | None, reading: Reading | None = None, *, cache_dir: Path | None = None
) -> Dataset:
    """The data set in a folder, or the synthetic parcels for None (or the word "parcels").

    `reading` says how the folder is to be read. With `cache_dir`, what was found is kept there,
    and only what changed is decoded next time. Raises InputError with the full list of faults.
    """
    from autoseg.data.dataset import Reading

    reading = reading or Reading()
    if data is None or (str(data) == "parcels" and not Path(data).is_dir()):
        from autoseg.data.synthetic.parcels import parcels

        if reading != Reading(seed=reading.seed):
            raise InputError(
                "--format, --remap, --split-column, --group-column and --group-pattern say how a"
                " folder is read: give one with --data"
            )
        return parcels()
    from autoseg.data.inspection import open_folder

    return open_folder(data, reading, cache_dir)
