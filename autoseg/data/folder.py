"""A folder of pictures and masks: what is understood of it, every fault in it, and the data set it
makes.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from autoseg.core.errors import InputError
from autoseg.core.serialize import digest
from autoseg.core.text import one_line
from autoseg.core.units import HW
from autoseg.data import duplicates, formats
from autoseg.data.classes import check_remap, understand
from autoseg.data.dataset import SPLITS, Dataset, Read, Reading, Sample
from autoseg.data.inspected import Known, examine_all
from autoseg.data.layout import Found
from autoseg.data.pictures import PairFacts, read_pair
from autoseg.data.splits import check_splits, make_splits, set_groups
from autoseg.data.subset import strata, stratified_order

log = logging.getLogger(__name__)


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

    With a cache folder, only what changed since the last time is decoded. Raises InputError for
    a `reading` that is wrong in itself: an unknown format, a faulty remap file or pattern.
    """
    root = Path(root)
    try:
        found, name, why = formats.find(root, reading.format)
    except OSError as error:
        raise InputError(f"{error.filename}: {error.strerror}") from error
    if not any(found.by_split.values()):
        return _told(Inspection(str(root), name, why), found)
    check_remap(found, reading.remap)
    set_groups(found, reading)
    splits, split_source = make_splits(found, reading)
    check_splits(found, splits)
    samples = [sample for split in SPLITS for sample in splits[split]]
    known = None if cache_dir is None else Known(cache_dir, found.root, found.read_mask)
    facts = examine_all(samples, found.root, found.read_mask, known)
    found.faults += [fault for fact in facts for fault in fact.faults]
    held = understand(found, facts, reading.remap)
    understood = Inspection(
        str(root),
        name,
        why,
        split_source=split_source,
        mask_encoding=held.encoding,
        classes=held.names,
        class_share=held.shares,
        ignore_share=held.ignore_share,
        sizes=tuple(Counter(fact.hw for fact in facts if all(fact.hw)).most_common()),
        splits=_inspected(found, splits, facts, held.names),
    )
    if near := duplicates.warning(splits, [fact.thumbnail for fact in facts]):
        found.warnings.append(near)
    read = partial(read_pair, found.read_mask, found.values)
    understood = replace(understood, digest=_digest(understood, found.values), read=read)
    if known is not None and not found.faults:  # what will be refused leaves nothing behind
        known.keep(samples)
    return _told(understood, found)


def _told(understood: Inspection, found: Found) -> Inspection:
    return replace(
        understood,
        warnings=tuple(map(one_line, found.warnings)),
        faults=tuple(map(one_line, found.faults)),
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
    splits = {
        split: tuple(samples[place] for place in stratified_order(samples, seed=0))
        for split, samples in seen.splits.items()
    }
    return Dataset(Path(root).resolve().name, seen.classes, splits, seen.digest, seen.read)


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
            replace(sample, content=fact.content, stratum=stratum, hw=fact.hw)
            for sample, (fact, stratum) in zip(splits[split], known, strict=False)
        )
        for split in SPLITS
    }


def _digest(understood: Inspection, values: bytes | None) -> str:
    """What training depends on: names, groups, splits, classes and every picture; not where the
    folder lies.
    """
    splits = {
        split: [(s.stem, s.group, s.content) for s in samples]
        for split, samples in understood.splits.items()
    }
    table = values.hex() if values else None
    return digest([understood.classes, understood.mask_encoding, table, splits])
