"""Data sets: folders of pictures and masks, and the synthetic parcels."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from autoseg.data.dataset import Dataset


def load(
    data: str | Path | None,
    *,
    seed: int = 0,
    split_column: str | None = None,
    group_column: str | None = None,
) -> Dataset:
    """The data set in a folder, or the synthetic parcels for None (or the word "parcels").

    `seed` makes the split of a folder without splits. Columns are those of the folder's index.csv.
    Raises InputError with the full list of faults.
    """
    if data is None or (str(data) == "parcels" and not Path(data).is_dir()):
        from autoseg.data.parcels import parcels

        return parcels()
    from autoseg.data.folder import open_folder

    return open_folder(data, seed=seed, split_column=split_column, group_column=group_column)
