"""What lies in a data folder as a format's reader finds it, the lines of its index.csv, and a
split.
"""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from autoseg.data.dataset import SPLITS, Sample
from autoseg.data.pictures import ReadMask, read_mask
from autoseg.records import InputError

SHARES = {"val": 0.15, "test": 0.15}
SHOWN = 5


@dataclass
class Found:
    """What a format's reader finds in a folder, before any picture is decoded.

    `by_split` has the one key "" where the folder has no splits. `read_mask` decodes a sample's
    `mask` to uint8 ``[H, W]`` of stored values, raising InputError; it can be pickled. `values`
    holds 256 bytes, the class index for each stored value (255 = ignore); None: stored values are
    class indices. `classes` are names by index; empty: the stored values tell how many there are.
    """

    root: Path
    by_split: dict[str, list[Sample]] = field(default_factory=dict)
    classes: tuple[str, ...] = ()
    values: bytes | None = None
    read_mask: ReadMask = read_mask
    faults: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    @property
    def has_splits(self) -> bool:
        return "" not in self.by_split


def read_column(root: Path, column: str) -> dict[str, str]:
    """A column of index.csv by stem. Raises InputError for a missing file or column, or a stem
    given twice.
    """
    path = root / "index.csv"
    if not path.is_file():
        raise InputError(f"the column {column!r} is looked for in {path}, which is not there")
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            names = list(reader.fieldnames or ())
            absent = [name for name in ("stem", column) if name not in names]
            if absent:
                raise InputError(
                    f"index.csv has no column {absent[0]!r}; it has {', '.join(map(repr, names))}"
                )
            lines = [
                tuple((line[name] or "").strip() for name in ("stem", column)) for line in reader
            ]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path} cannot be read: {error}") from error
    values = {stem: value for stem, value in lines}
    if len(values) < len(lines):
        stems = [stem for stem, _ in lines]
        twice = sorted({stem for stem in stems if stems.count(stem) > 1})
        raise InputError(f"index.csv has lines with one stem: {listed(twice)}")
    return values


def by_column(found: Found, column: str, values: Mapping[str, str]) -> dict[str, list[Sample]]:
    """The samples of all folders, put into the splits that a column of index.csv gives."""
    splits: dict[str, list[Sample]] = {split: [] for split in SPLITS}
    seen: set[str] = set()
    for sample in (s for samples in found.by_split.values() for s in samples):
        split = values.get(sample.stem)
        if sample.stem in seen:
            found.faults.append(f"{sample.stem}: in two folders, and index.csv names it once")
        elif split not in SPLITS and split is not None:
            found.faults.append(
                f"index.csv: {column} of {sample.stem} must be train, val or test, got {split!r}"
            )
        elif split is not None:
            splits[split].append(sample)
        seen.add(sample.stem)
    return splits


def seeded_split(samples: list[Sample], seed: int) -> dict[str, list[Sample]]:
    """70/15/15 under the seed, whole groups together; the same samples give the same split on any
    machine.
    """
    groups: dict[str, list[Sample]] = defaultdict(list)
    for sample in samples:
        groups[sample.group].append(sample)
    names = sorted(groups)
    order = [names[place] for place in np.random.default_rng(seed).permutation(len(names))]
    splits: dict[str, list[Sample]] = {split: [] for split in SPLITS}
    wanted = {split: max(1, round(len(samples) * share)) for split, share in SHARES.items()}
    for name in order:
        split = next((s for s in SHARES if len(splits[s]) < wanted[s]), "train")
        splits[split] += groups[name]
    return {split: sorted(chosen, key=lambda s: s.stem) for split, chosen in splits.items()}


def listed(names: list[str]) -> str:
    """The first few names, and how many more there are."""
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
