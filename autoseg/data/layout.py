"""Find the pairs of a data folder, the lines of its index.csv, and a split."""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from autoseg.data.dataset import SPLITS, Sample
from autoseg.data.pictures import SUFFIXES
from autoseg.records import InputError

SHARES = {"val": 0.15, "test": 0.15}
SHOWN = 5


@dataclass
class Found:
    """What lies in a folder, as it is found; `by_split` has the one key "" where there are no
    split folders.
    """

    root: Path
    by_split: dict[str, list[Sample]] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    @property
    def has_split_folders(self) -> bool:
        return "" not in self.by_split


def find_pairs(root: Path) -> Found:
    """Pair pictures and masks by stem, in split folders or in one folder; what does not fit
    becomes a fault.
    """
    found = Found(root)
    if not root.is_dir():
        found.faults.append(f"no such folder: {root}")
        return found
    missing = [name for name in ("images", "masks") if not (root / name).is_dir()]
    if missing:
        empty = "an empty folder" if not any(root.iterdir()) else "missing"
        found.faults += [
            f"{empty}: {root} must hold images/ and masks/; there is no {name}/"
            for name in missing
        ]
        return found
    folders = sorted(
        {p.name for kind in ("images", "masks") for p in (root / kind).iterdir() if p.is_dir()}
    )
    shown = [name for name in folders if not name.startswith(".")]
    found.faults += [
        f"unknown folder {name!r} in images/ or masks/: the splits are named train, val and test"
        for name in shown
        if name not in SPLITS
    ]
    for split in [s for s in SPLITS if s in shown] or [""]:
        found.by_split[split] = _pairs(found, split)
    if not any(found.by_split.values()) and not found.faults:
        found.faults.append(
            f"an empty folder: no pictures ({', '.join(SUFFIXES)}) in {root / 'images'}"
        )
    return found


def _pairs(found: Found, split: str) -> list[Sample]:
    images = _files(found, "images", split)
    masks = _files(found, "masks", split)
    for kind, have, lack in (("mask", images, masks), ("image", masks, images)):
        folder = Path(kind + "s", split).as_posix()
        found.faults += [
            f"{path.relative_to(found.root).as_posix()} has no {kind} {folder}/{stem}.*"
            for stem, path in have.items()
            if stem not in lack
        ]
    return [
        Sample(stem, stem, str(images[stem]), str(masks[stem])) for stem in images if stem in masks
    ]


def _files(found: Found, kind: str, split: str) -> dict[str, Path]:
    """Picture files by stem, in the order of their names."""
    folder = found.root / kind / split
    if not folder.is_dir():
        found.faults.append(f"missing folder {Path(kind, split).as_posix()}/")
        return {}
    by_stem: dict[str, Path] = {}
    others: list[str] = []
    for path in sorted(p for p in folder.iterdir() if p.is_file() and p.name[0] != "."):
        if path.suffix.lower() not in SUFFIXES:
            others.append(path.name)
        elif path.stem in by_stem:
            found.faults.append(
                f"{folder.relative_to(found.root).as_posix()}: {by_stem[path.stem].name} and"
                f" {path.name} have one stem; keep one of them"
            )
        else:
            by_stem[path.stem] = path
    if others:
        found.warnings.append(
            f"{Path(kind, split).as_posix()}: not pictures, ignored: {listed(others)}"
        )
    return by_stem


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
