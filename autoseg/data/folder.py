"""A folder of pictures and masks: what is understood of it, every fault in it, and the data set it
makes.
"""

from __future__ import annotations

import logging
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from autoseg.data import duplicates, formats
from autoseg.data.dataset import SPLITS, Dataset, Read, Reading, Sample
from autoseg.data.inspected import examine_all
from autoseg.data.layout import Found, by_column, listed, read_column, seeded_split
from autoseg.data.pictures import PairFacts, read_pair, under
from autoseg.data.subset import strata
from autoseg.records import HW, IGNORE_INDEX, InputError, digest

log = logging.getLogger(__name__)

MIN_TRAIN = 2


@dataclass(frozen=True)
class Inspection:
    """What was understood of a folder, and `read` for its pairs.

    `class_share` are shares of all pixels, `ignore_share` of those without a class.
    """

    root: str
    format: str
    why: str
    split_source: str = ""
    mask_encoding: str = ""
    classes: tuple[str, ...] = ()
    class_share: tuple[float, ...] = ()
    ignore_share: float = 0.0
    sizes: tuple[tuple[HW, int], ...] = ()
    splits: Mapping[str, tuple[Sample, ...]] = field(default_factory=dict)
    digest: str = ""
    read: Read | None = None
    warnings: tuple[str, ...] = ()
    faults: tuple[str, ...] = ()

    @property
    def pairs(self) -> dict[str, int]:
        """Pairs by split."""
        return {split: len(samples) for split, samples in self.splits.items()}


def inspect(
    root: str | Path,
    reading: Reading = Reading(),  # noqa: B008 (frozen)
    cache_dir: Path | None = None,
) -> Inspection:
    """Read a folder to the last pixel and say what it holds; faults are listed.

    With a cache folder, only what changed since the last time is decoded. Raises InputError only
    for an unknown format.
    """
    root = Path(root)
    found, name, why = formats.find(root, reading.format)
    if not any(found.by_split.values()):
        return Inspection(str(root), name, why, faults=tuple(found.faults))
    if reading.group_column:
        _set_groups(found, reading.group_column)
    splits = _splits(found, reading)
    _check_splits(found, splits)
    samples = [sample for split in SPLITS for sample in splits[split]]
    facts = examine_all(samples, found.root, found.read_mask, cache_dir)
    found.faults += [fault for fact in facts for fault in fact.faults]
    understood = Inspection(
        str(root),
        name,
        why,
        split_source=_split_source(found, reading),
        sizes=tuple(Counter(fact.hw for fact in facts if all(fact.hw)).most_common()),
    )
    understood = _with_classes(understood, found, facts)
    understood = replace(understood, splits=_inspected(found, splits, facts, understood.classes))
    if near := duplicates.warning(splits, [fact.thumbnail for fact in facts]):
        found.warnings.append(near)
    return replace(
        understood,
        digest=_digest(understood),
        read=partial(read_pair, found.read_mask, found.values),
        warnings=tuple(found.warnings),
        faults=tuple(found.faults),
    )


def open_folder(
    root: str | Path,
    reading: Reading = Reading(),  # noqa: B008 (frozen)
    cache_dir: Path | None = None,
) -> Dataset:
    """The data set in a folder; warnings are logged. Raises InputError with every fault that
    `inspect` finds.
    """
    seen = inspect(root, reading, cache_dir)
    if seen.faults or seen.read is None:
        many = "1 fault" if len(seen.faults) == 1 else f"{len(seen.faults)} faults"
        raise InputError(
            f"the data in {root} has {many}:\n" + "\n".join(f"  - {f}" for f in seen.faults)
        )
    for warning in seen.warnings:
        log.warning("%s: %s", root, warning)
    return Dataset(Path(root).resolve().name, seen.classes, seen.splits, seen.digest, seen.read)


def _inspected(
    found: Found, splits: Mapping[str, list[Sample]], facts: list[PairFacts], names: Sequence[str]
) -> dict[str, tuple[Sample, ...]]:
    """The samples, which now know what they hold; `facts` are in the order of the splits."""
    table = found.values or bytes(range(256))
    held = [Counter[int]() for _ in facts]
    for classes, fact in zip(held, facts, strict=True):
        for value, count in fact.counts.items():
            classes[table[value]] += count  # a remap gives several values one class
    rarest = strata(held, len(splits["train"]), names)
    known = iter(zip(facts, rarest, strict=True))
    return {
        split: tuple(
            replace(sample, content=fact.content, stratum=stratum)
            for sample, (fact, stratum) in zip(splits[split], known, strict=False)
        )
        for split in SPLITS
    }


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


def _splits(found: Found, reading: Reading) -> dict[str, list[Sample]]:
    if column := reading.split_column:
        return by_column(found, column, _column(found, column))
    if found.has_splits:
        return {split: found.by_split.get(split, []) for split in SPLITS}
    return seeded_split(found.by_split[""], reading.seed)


def _split_source(found: Found, reading: Reading) -> str:
    if reading.split_column:
        return f"index.csv, column {reading.split_column}"
    return "given" if found.has_splits else f"made 70/15/15 under seed {reading.seed}"


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


def _with_classes(understood: Inspection, found: Found, facts: list[PairFacts]) -> Inspection:
    """Names and encoding, from the format or else from the values of all masks together."""
    stored = np.zeros(256, np.int64)
    for fact in facts:
        for value, count in fact.counts.items():
            stored[value] += count
    values = np.flatnonzero(stored).tolist()
    names = found.classes
    binary = len(names) <= 2 and set(values) <= {0, IGNORE_INDEX} and values[-1:] != [0]
    if found.values is None and binary and values:
        found.values = bytes([0] * IGNORE_INDEX + [1])
        encoding = "0/255 binary"
    else:
        ignored = found.values is None and stored[IGNORE_INDEX]
        encoding = "class indices, 255 = ignore" if ignored else "class indices"
    table = np.frombuffer(found.values or bytes(range(256)), np.uint8)
    counts = np.bincount(table, stored, minlength=256).astype(np.int64)
    highest = max((v for v in np.flatnonzero(counts).tolist() if v != IGNORE_INDEX), default=0)
    if names:
        _note_illegal(found, facts, table)
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


def _default_names(count: int) -> tuple[str, ...]:
    if count == 2:
        return ("background", "object")
    return ("background", *(f"class_{number}" for number in range(1, count)))


def _note_illegal(found: Found, facts: list[PairFacts], table: npt.NDArray[np.uint8]) -> None:
    legal = (table < len(found.classes)) | (table == IGNORE_INDEX)
    for fact in facts:
        illegal = sorted(value for value in fact.counts if not legal[value])
        if illegal:
            found.faults.append(
                f"{under(found.root, fact.sample.mask)}: mask values"
                f" {listed([str(v) for v in illegal])} are not among the {len(found.classes)}"
                f" classes (0..{len(found.classes) - 1}, 255 = ignore)"
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
    names = [under(found.root, f.sample.mask) for f in facts if highest in f.counts]
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


def _digest(understood: Inspection) -> str:
    """What training depends on: names, groups, splits, classes and every picture; not where the
    folder lies.
    """
    splits = {
        split: [(s.stem, s.group, s.content) for s in samples]
        for split, samples in understood.splits.items()
    }
    return digest([understood.classes, understood.mask_encoding, splits])
