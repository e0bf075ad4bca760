"""The layout of a data folder: its pairs, classes and encoding, found by a format's reader."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from autoseg.data.dataset import Sample
from autoseg.data.pictures import ReadMask, read_mask

MAX_NAMES_SHOWN = 5


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
    by_split: dict[str, list[Sample]] = field(default_factory=dict)
    classes: tuple[str, ...] = ()
    values: bytes | None = None
    read_mask: ReadMask = read_mask
    notes: dict[int, str] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    @property
    def has_splits(self) -> bool:
        return "" not in self.by_split


def listed(names: list[str]) -> str:
    """The first `MAX_NAMES_SHOWN` names, and the number of the others."""
    rest = len(names) - MAX_NAMES_SHOWN
    more = f" and {rest} more" if rest > 0 else ""
    return ", ".join(names[:MAX_NAMES_SHOWN]) + more
