"""What lies in a data folder as a format's reader finds it, the lines of its index.csv, and a
split.
"""

from __future__ import annotations

import csv
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from autoseg.core.errors import InputError
from autoseg.data.dataset import SPLITS, Sample
from autoseg.data.pictures import ReadMask, read_mask

SHARES = {"val": 0.15, "test": 0.15}
SHOWN = 5


@dataclass
class Found:
    """What a format's reader finds in a folder, before any picture is decoded.

    `by_split` has the one key "" where the folder has no splits. `read_mask` decodes a sample's
    `mask` to uint8 ``[H, W]`` of stored values, raising InputError; it can be pickled. `values`
    holds 256 bytes, the class index for each stored value (255 = ignore); None: stored values are
    class indices. `classes` are names by index; empty: the stored values tell how many there are.
    `notes` warn of stored values, where any pixel holds them.
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
        counts = Counter(stem for stem, _ in lines)
        twice = sorted(stem for stem, count in counts.items() if count > 1)
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


def seeded_split(
    samples: list[Sample], seed: int, shares: Mapping[str, float] = SHARES
) -> dict[str, list[Sample]]:
    """Splits of about these shares under the seed, the rest train, whole groups together; the same
    samples give the same split on any machine.

    A group that would make a split twice as large as wanted goes to train, unless only such are
    left; one group alone is train.
    """
    groups: dict[str, list[Sample]] = defaultdict(list)
    for sample in samples:
        groups[sample.group].append(sample)
    names = sorted(groups)
    if len(names) == 1:
        return {"train": samples, **{split: [] for split in shares}}
    order = [names[place] for place in np.random.default_rng(seed).permutation(len(names))]
    splits: dict[str, list[Sample]] = {split: [] for split in ("train", *shares)}
    wanted = {split: max(1, round(len(samples) * share)) for split, share in shares.items()}
    in_train: list[str] = []
    for name in order:
        size = len(groups[name])
        fits = (s for s in shares if len(splits[s]) < wanted[s] >= (len(splits[s]) + size) / 2)
        split = next(fits, "train")
        if split == "train":
            in_train.append(name)
        splits[split] += groups[name]
    for split in shares:
        if not splits[split] and len(in_train) > 1:
            smallest = min(in_train, key=lambda name: len(groups[name]))
            in_train.remove(smallest)
            splits[split] = groups[smallest]
    splits["train"] = [sample for name in in_train for sample in groups[name]]
    return {split: sorted(chosen, key=lambda s: s.stem) for split, chosen in splits.items()}


def listed(names: list[str]) -> str:
    """The first few names, and how many more there are."""
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
