"""A folder of pictures and masks: what is understood of it, every fault in it, and the data set it
makes.
"""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from autoseg.data.dataset import SPLITS, Dataset, Sample
from autoseg.data.layout import Found, by_column, find_pairs, listed, read_column, seeded_split
from autoseg.data.pictures import PairFacts, examine, read_pair
from autoseg.records import HW, IGNORE_INDEX, InputError, digest

MIN_TRAIN = 2


@dataclass(frozen=True)
class Inspection:
    """What was understood of a folder. `class_share` are shares of all pixels, `ignore_share` of
    value 255.
    """

    root: str
    layout: str = ""
    split_source: str = ""
    mask_encoding: str = ""
    classes: tuple[str, ...] = ()
    class_share: tuple[float, ...] = ()
    ignore_share: float = 0.0
    sizes: tuple[tuple[HW, int], ...] = ()
    splits: Mapping[str, tuple[Sample, ...]] = field(default_factory=dict)
    digest: str = ""
    warnings: tuple[str, ...] = ()
    faults: tuple[str, ...] = ()

    @property
    def pairs(self) -> dict[str, int]:
        """Pairs by split."""
        return {split: len(samples) for split, samples in self.splits.items()}

    @property
    def binary(self) -> bool:
        """Whether 255 in the files means class 1 (and not: ignore)."""
        return self.mask_encoding == "0/255 binary"


def inspect(
    root: str | Path,
    *,
    seed: int = 0,
    split_column: str | None = None,
    group_column: str | None = None,
) -> Inspection:
    """Read a folder to the last pixel and say what it holds; faults are listed, never raised.

    `split_column` and `group_column` are columns of its index.csv; `seed` splits a folder that has
    no splits.
    """
    root = Path(root)
    found = find_pairs(root)
    if not found.by_split or not any(found.by_split.values()):
        return Inspection(str(root), faults=tuple(found.faults))
    if group_column:
        _set_groups(found, group_column)
    splits = _splits(found, split_column, seed)
    _check_splits(found, splits)
    facts = _examine_all(found, splits)
    understood = Inspection(
        str(root),
        layout="split folders" if found.has_split_folders else "one folder",
        split_source=_split_source(found, split_column, seed),
        sizes=tuple(Counter(fact.hw for fact in facts if all(fact.hw)).most_common()),
        splits={split: tuple(samples) for split, samples in splits.items()},
    )
    understood = _with_classes(understood, found, facts)
    return replace(
        understood,
        digest=_content(understood, facts),
        warnings=tuple(found.warnings),
        faults=tuple(found.faults),
    )


def open_folder(
    root: str | Path,
    *,
    seed: int = 0,
    split_column: str | None = None,
    group_column: str | None = None,
) -> Dataset:
    """The data set in a folder. Raises InputError with every fault that `inspect` finds."""
    seen = inspect(root, seed=seed, split_column=split_column, group_column=group_column)
    if seen.faults:
        many = "1 fault" if len(seen.faults) == 1 else f"{len(seen.faults)} faults"
        raise InputError(
            f"the data in {root} has {many}:\n" + "\n".join(f"  - {f}" for f in seen.faults)
        )
    read = partial(read_pair, seen.binary)
    return Dataset(Path(root).resolve().name, seen.classes, seen.splits, seen.digest, read)


def _set_groups(found: Found, column: str) -> None:
    groups = _column(found, column)
    for split, samples in found.by_split.items():
        found.by_split[split] = [replace(s, group=groups.get(s.stem) or s.stem) for s in samples]


def _column(found: Found, column: str) -> dict[str, str]:
    """A column of index.csv; its faults, and pictures that it lacks, are noted."""
    try:
        values = read_column(found.root, column)
    except InputError as error:
        found.faults.append(str(error))
        return {}
    stems = [sample.stem for samples in found.by_split.values() for sample in samples]
    for fault in (f"{stem}: has no line in index.csv" for stem in stems if stem not in values):
        if fault not in found.faults:
            found.faults.append(fault)
    unused = sorted(set(values) - set(stems))
    warning = f"index.csv has lines without a pair: {listed(unused)}"
    if unused and warning not in found.warnings:
        found.warnings.append(warning)
    return values


def _splits(found: Found, split_column: str | None, seed: int) -> dict[str, list[Sample]]:
    if split_column:
        return by_column(found, split_column, _column(found, split_column))
    if found.has_split_folders:
        return {split: found.by_split.get(split, []) for split in SPLITS}
    return seeded_split(found.by_split[""], seed)


def _split_source(found: Found, split_column: str | None, seed: int) -> str:
    if split_column:
        return f"index.csv, column {split_column}"
    return "folders" if found.has_split_folders else f"made 70/15/15 under seed {seed}"


def _check_splits(found: Found, splits: dict[str, list[Sample]]) -> None:
    if not any(splits.values()):
        # What kept the pictures out of the splits is already a fault.
        splits["train"] = [sample for samples in found.by_split.values() for sample in samples]
        return
    if not splits["val"]:
        found.faults.append("missing split: there are no pairs in val, which decides the search")
    if len(splits["train"]) < MIN_TRAIN:
        found.faults.append(
            f"too few pictures: train needs {MIN_TRAIN} pairs or more, got {len(splits['train'])}"
        )
    if not splits["test"]:
        found.warnings.append("there are no pairs in test: the report will have no figure for it")
    where: dict[str, set[str]] = defaultdict(set)
    for split, samples in splits.items():
        for sample in samples:
            if sample.group != sample.stem:  # without groups each picture is its own
                where[sample.group].add(split)
    leaking = sorted(group for group, in_splits in where.items() if len(in_splits) > 1)
    if leaking:
        found.warnings.append(
            "groups in more than one split make scores look better than they are: "
            + listed(leaking)
        )


def _examine_all(found: Found, splits: dict[str, list[Sample]]) -> list[PairFacts]:
    samples = [sample for split in SPLITS for sample in splits[split]]
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as threads:
        facts = list(threads.map(partial(examine, root=found.root), samples))
    found.faults += [fault for fact in facts for fault in fact.faults]
    return facts


def _with_classes(understood: Inspection, found: Found, facts: list[PairFacts]) -> Inspection:
    """Names and encoding from classes.txt and from the values of all masks together."""
    counts = np.sum([fact.counts for fact in facts], axis=0)
    names = _class_names(found)
    values = np.flatnonzero(counts).tolist()
    if len(names) <= 2 and values and set(values) <= {0, IGNORE_INDEX} and values[-1]:
        encoding, counts = "0/255 binary", _as_binary(counts)
    else:
        encoding = "class indices, 255 = ignore" if counts[IGNORE_INDEX] else "class indices"
    highest = max((v for v in np.flatnonzero(counts).tolist() if v != IGNORE_INDEX), default=0)
    if len(names) > 1:
        _note_illegal(found, facts, len(names), encoding)
    else:
        names = _default_names(max(2, highest + 1))
        _note_gaps(found, facts, counts, highest)
    shares = counts / max(int(counts.sum()), 1)
    _note_unused(found, names, shares)
    return replace(
        understood,
        mask_encoding=encoding,
        classes=names,
        class_share=tuple(float(share) for share in shares[: len(names)]),
        ignore_share=float(shares[IGNORE_INDEX]),
    )


def _class_names(found: Found) -> tuple[str, ...]:
    path = found.root / "classes.txt"
    if not path.is_file():
        return ()
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        found.faults.append(f"classes.txt cannot be read: {error}")
        return ()
    names = tuple(line.strip() for line in text.splitlines() if line.strip())
    if not 2 <= len(names) <= IGNORE_INDEX:
        found.faults.append(
            f"classes.txt must name 2 to 255 classes, one a line, the background's first if there"
            f" is one; it names {len(names)}"
        )
    if len(set(names)) < len(names):
        found.faults.append("classes.txt names a class twice")
    return names


def _default_names(count: int) -> tuple[str, ...]:
    if count == 2:
        return ("background", "object")
    return ("background", *(f"class_{number}" for number in range(1, count)))


def _as_binary(counts: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    merged = np.zeros_like(counts)
    merged[:2] = counts[0], counts[IGNORE_INDEX]
    return merged


def _note_illegal(found: Found, facts: list[PairFacts], classes: int, encoding: str) -> None:
    if encoding == "0/255 binary":
        return
    for fact in facts:
        illegal = [v for v in np.flatnonzero(fact.counts[:IGNORE_INDEX]).tolist() if v >= classes]
        if illegal:
            found.faults.append(
                f"{Path(fact.sample.mask).relative_to(found.root).as_posix()}: mask values"
                f" {listed([str(v) for v in illegal])} are not among the {classes} classes of"
                f" classes.txt (0..{classes - 1}, 255 = ignore)"
            )


def _note_gaps(
    found: Found, facts: list[PairFacts], counts: npt.NDArray[np.int64], highest: int
) -> None:
    """Without classes.txt, values such as 0 and 128 are far more likely grey levels than 129
    classes.
    """
    used = int(np.count_nonzero(counts[:IGNORE_INDEX]))
    if used * 2 >= highest + 1:
        return
    names = [
        Path(f.sample.mask).relative_to(found.root).as_posix() for f in facts if f.counts[highest]
    ]
    found.faults.append(
        f"mask values go up to {highest} and only {used} of them occur: store class indices 0, 1,"
        f" 2 …, or name all {highest + 1} classes in classes.txt; see {listed(names)}"
    )


def _note_unused(found: Found, names: tuple[str, ...], shares: npt.NDArray[np.float64]) -> None:
    unused = [name for name, share in zip(names, shares, strict=False) if not share]
    if len(names) - len(unused) < 2:
        found.faults.append("the masks hold fewer than two classes: there is nothing to learn")
    elif unused:
        found.warnings.append(f"classes without any pixel: {listed(unused)}")


def _content(understood: Inspection, facts: list[PairFacts]) -> str:
    """What training depends on: names, groups, splits, classes and every byte; not where the
    folder lies.
    """
    files = {fact.sample: fact.digest for fact in facts}
    splits = {
        split: [(s.stem, s.group, files.get(s)) for s in samples]
        for split, samples in understood.splits.items()
    }
    return digest([understood.classes, understood.mask_encoding, splits])
