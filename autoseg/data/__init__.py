"""Data sets: folders of pictures and masks, and the synthetic parcels."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from autoseg.core.errors import InputError

if TYPE_CHECKING:
    from autoseg.data.dataset import Dataset, GreyRange, Reading


def load(
    data: str | Path | None,
    reading: Reading | None = None,
    *,
    cache_dir: Path | None = None,
    grey_range: GreyRange | None = None,
) -> Dataset:
    """The data set in a folder, or the synthetic parcels for None (or the word "parcels").

    `reading` holds the options for a folder. With `cache_dir`, facts of the pairs are kept there,
    and only changed files are decoded next time. `grey_range` is that of a model, for pictures of
    16 bits; None is the data's own. Raises InputError with the faults.
    """
    from autoseg.data.dataset import Reading

    reading = reading or Reading()
    if data is None or is_parcels(data):
        from autoseg.data.synthetic.parcels import parcels

        if reading != Reading(seed=reading.seed):
            options = "--format, --remap, --split-column, --group-column and --group-pattern"
            raise InputError(f"{options} say how a folder is read: give one with --data")
        return parcels()
    from autoseg.data.inspection import open_folder

    return open_folder(data, reading, cache_dir, grey_range)


def is_parcels(data: str | Path) -> bool:
    """Whether `data` is the word "parcels", and no folder of that name."""
    return str(data) == "parcels" and not Path(data).is_dir()
