"""Inspect a folder of pictures and masks: its content, all its faults, and its data set."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from autoseg.core.errors import InputError
from autoseg.core.serialize import digest
from autoseg.core.text import one_line
from autoseg.core.units import HW
from autoseg.data import duplicates, formats
from autoseg.data.classes import check_remap, rarest_classes, settle_classes
from autoseg.data.dataset import SPLITS, Dataset, Read, Reading, Samples
from autoseg.data.inspection_cache import FactsFile, examine_all
from autoseg.data.layout import Layout, Splits
from autoseg.data.pairs import PairFacts, read_pair
from autoseg.data.splits import check_splits, make_splits, set_groups, stratified_order

log = logging.getLogger(__name__)
AS_FOUND = Reading()  # without any option of the user


@dataclass(frozen=True, kw_only=True)
class Inspection:
    """The content of a folder, and `read` for its pairs.

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
    splits: Samples = field(default_factory=dict)
    digest: str = ""
    read: Read | None = None
    warnings: tuple[str, ...] = ()
    faults: tuple[str, ...] = ()

    @property
    def pairs(self) -> dict[str, int]:
        """Pairs by split."""
        return {split: len(samples) for split, samples in self.splits.items()}


def inspect(
    root: str | Path, reading: Reading = AS_FOUND, cache_dir: Path | None = None
) -> Inspection:
    """Read a folder completely and describe its content; faults are listed.

    With a cache folder, only files that changed since the last time are decoded. Raises InputError
    for a faulty `reading`: an unknown format, a faulty remap file or pattern.
    """
    root = Path(root)
    try:
        layout, name, why = formats.find(root, reading.format)
    except OSError as error:
        raise InputError(f"{one_line(str(error.filename))}: {error.strerror}") from error
    inspection = Inspection(root=str(root), format=name, why=why)
    if layout.samples:
        inspection = _examined(inspection, layout, reading, cache_dir)
    told = [tuple(map(one_line, texts)) for texts in (layout.warnings, layout.faults)]
    return replace(inspection, warnings=told[0], faults=told[1])


def _examined(
    inspection: Inspection, layout: Layout, reading: Reading, cache_dir: Path | None
) -> Inspection:
    """The inspection with the facts of all pairs; faults and warnings are added to the layout."""
    check_remap(layout, reading.remap)
    set_groups(layout, reading)
    splits, split_source = make_splits(layout, reading)
    check_splits(layout, splits)
    samples = [sample for split in SPLITS for sample in splits[split]]
    known = None if cache_dir is None else FactsFile(cache_dir, layout.root, layout.read_mask)
    facts = examine_all(samples, layout.root, layout.read_mask, known)
    layout.faults += [fault for fact in facts for fault in fact.faults]
    classes = settle_classes(layout, facts, reading.remap)
    if near := duplicates.warning(splits, [fact.thumbnail for fact in facts]):
        layout.warnings.append(near)
    if known is not None and not layout.faults:  # refused data leave nothing behind
        known.keep(samples)
    inspected = _samples(layout, splits, facts, classes.names)
    return replace(
        inspection,
        split_source=split_source,
        mask_encoding=classes.encoding,
        classes=classes.names,
        class_share=classes.shares,
        ignore_share=classes.ignore_share,
        sizes=tuple(Counter(fact.hw for fact in facts if all(fact.hw)).most_common()),
        splits=inspected,
        digest=_digest(classes.names, classes.encoding, layout.values, inspected),
        read=partial(read_pair, layout.read_mask, layout.values),
    )


def open_folder(
    root: str | Path, reading: Reading = AS_FOUND, cache_dir: Path | None = None
) -> Dataset:
    """The data set in a folder; warnings are logged. Raises InputError with all faults."""
    seen = inspect(root, reading, cache_dir)
    if seen.faults or seen.read is None:
        many = "1 fault" if len(seen.faults) == 1 else f"{len(seen.faults)} faults"
        lines = "\n".join(f"  - {fault}" for fault in seen.faults)
        raise InputError(f"the data in {root} has {many}:\n{lines}")
    for warning in seen.warnings:
        log.warning("%s: %s", root, warning)
    splits = {
        split: tuple(samples[place] for place in stratified_order(samples, seed=0))
        for split, samples in seen.splits.items()
    }
    return Dataset(Path(root).resolve().name, seen.classes, splits, seen.digest, seen.read)


def _samples(
    layout: Layout, splits: Splits, facts: list[PairFacts], names: Sequence[str]
) -> Samples:
    """The samples with the facts of their pairs; `facts` are in the order of the splits."""
    table = layout.values or bytes(range(256))
    by_class = [Counter[int]() for _ in facts]
    for classes, fact in zip(by_class, facts, strict=True):
        for value, count in fact.counts.items():
            classes[table[value]] += count  # a remap gives several values one class
    rarest = rarest_classes(by_class, len(splits["train"]), names)
    known = iter(zip(facts, rarest, strict=True))
    return {
        split: tuple(
            replace(sample, content=fact.content, stratum=stratum, hw=fact.hw)
            for sample, (fact, stratum) in zip(splits[split], known, strict=False)
        )
        for split in SPLITS
    }


def _digest(names: tuple[str, ...], encoding: str, values: bytes | None, splits: Samples) -> str:
    """A digest of all that training depends on; the folder's path is not part of it."""
    listing = {
        split: [(s.stem, s.group, s.content) for s in samples] for split, samples in splits.items()
    }
    return digest([names, encoding, values.hex() if values else None, listing])
