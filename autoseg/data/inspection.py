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
from autoseg.data.dataset import (
    FULL_RANGE,
    SPLITS,
    Dataset,
    GreyRange,
    Read,
    Reading,
    Sample,
    Samples,
    iou_of,
)
from autoseg.data.grey_levels import settle_grey_range
from autoseg.data.inspection_cache import FactsFile, examine_all
from autoseg.data.layout import Layout, Splits, bounded, gathered
from autoseg.data.occurring import check_occurring, occurring
from autoseg.data.pairs import PairFacts, read_pair
from autoseg.data.splits import check_splits, make_splits, set_groups
from autoseg.data.stratification import stratified_order

log = logging.getLogger(__name__)
AS_FOUND = Reading()  # without any option of the user


@dataclass(frozen=True, kw_only=True)
class Inspection:
    """The content of a folder, and `read` for its pairs.

    `class_share` are shares of all pixels, `ignore_share` of those without a class. `faults` and
    `warnings` are bounded; `fault_count` counts all faults. `grey_range` holds the values of
    pictures of 16 bits that become 0 to 255.
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
    val_classes: tuple[int, ...] = ()
    warnings: tuple[str, ...] = ()
    faults: tuple[str, ...] = ()
    fault_count: int = 0
    grey_range: GreyRange = FULL_RANGE

    @property
    def iou_of(self) -> str:
        """Of which classes the IoU is; empty where the classes are not known."""
        return iou_of(self.classes, self.val_classes) if self.classes else ""

    @property
    def pairs(self) -> dict[str, int]:
        """Pairs by split."""
        return {split: len(samples) for split, samples in self.splits.items()}


def inspect(
    root: str | Path,
    reading: Reading = AS_FOUND,
    cache_dir: Path | None = None,
    grey_range: GreyRange | None = None,
) -> Inspection:
    """Read a folder completely and describe its content; faults are listed.

    With a cache folder, only files that changed since the last time are decoded. `grey_range` is
    that of a model, for pictures of 16 bits; None is the data's own. Raises InputError
    for a faulty `reading`: an unknown format, a faulty remap file or pattern.
    """
    root = Path(root)
    try:
        layout, name, why = formats.find(root, reading.format)
    except OSError as error:
        raise InputError(f"{one_line(str(error.filename))}: {error.strerror}") from error
    inspection = Inspection(root=str(root), format=name, why=why)
    if layout.samples:
        inspection = _examined(inspection, layout, reading, cache_dir, grey_range)
    warnings, faults = gathered(layout.warnings), gathered(layout.faults)
    return replace(
        inspection,
        warnings=tuple(map(one_line, bounded(warnings, "warnings"))),
        faults=tuple(map(one_line, bounded(faults, "faults"))),
        fault_count=len(faults),
    )


def _examined(
    inspection: Inspection,
    layout: Layout,
    reading: Reading,
    cache_dir: Path | None,
    grey_range: GreyRange | None,
) -> Inspection:
    """The inspection with the facts of all pairs; faults and warnings are added to the layout."""
    check_remap(layout, reading.remap)
    set_groups(layout, reading)
    samples = layout.samples
    known = None if cache_dir is None else FactsFile(cache_dir, layout.root, layout.read_mask)
    facts = examine_all(samples, layout.root, layout.read_mask, known)
    layout.faults += [fault for fact in facts for fault in fact.faults]
    if grey_range is None:
        grey_range = settle_grey_range(layout, facts)
    classes = settle_classes(layout, facts, reading.remap)
    of_pair = {_pair(fact.sample): fact for fact in facts}
    held = {pair: frozenset(_by_class(layout, fact)) for pair, fact in of_pair.items()}
    splits, split_source = make_splits(layout, reading, held)
    check_splits(layout, splits)
    facts = [of_pair[_pair(sample)] for split in SPLITS for sample in splits[split]]
    if near := duplicates.warning(splits, [fact.thumbnail for fact in facts]):
        layout.warnings.append(near)
    if not layout.faults:
        check_occurring(layout, classes.names, splits, held)
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
        digest=_digest(classes.names, classes.encoding, layout.values, grey_range, inspected),
        read=partial(read_pair, layout.read_mask, layout.values, grey_range),
        val_classes=occurring(splits["val"], held, len(classes.names)),
        grey_range=grey_range,
    )


def open_folder(
    root: str | Path,
    reading: Reading = AS_FOUND,
    cache_dir: Path | None = None,
    grey_range: GreyRange | None = None,
) -> Dataset:
    """The data set in a folder; warnings are logged; see `inspect`. Raises InputError with the
    faults.
    """
    seen = inspect(root, reading, cache_dir, grey_range)
    if seen.faults or seen.read is None:
        many = "1 fault" if seen.fault_count == 1 else f"{seen.fault_count} faults"
        lines = "\n".join(f"  - {fault}" for fault in seen.faults)
        raise InputError(f"the data in {root} has {many}:\n{lines}")
    for warning in seen.warnings:
        log.warning("%s: %s", one_line(str(root)), warning)
    splits = {
        split: tuple(samples[place] for place in stratified_order(samples, seed=0))
        for split, samples in seen.splits.items()
    }
    name = Path(root).resolve().name
    return Dataset(
        name, seen.classes, splits, seen.digest, seen.read, seen.val_classes, seen.grey_range
    )


def _samples(
    layout: Layout, splits: Splits, facts: list[PairFacts], names: Sequence[str]
) -> Samples:
    """The samples with the facts of their pairs; `facts` are in the order of the splits."""
    by_class = [_by_class(layout, fact) for fact in facts]
    rarest = rarest_classes(by_class, len(splits["train"]), names)
    known = iter(zip(facts, rarest, strict=True))
    return {
        split: tuple(
            replace(sample, content=fact.content, stratum=stratum, hw=fact.hw)
            for sample, (fact, stratum) in zip(splits[split], known, strict=False)
        )
        for split in SPLITS
    }


def _pair(sample: Sample) -> tuple[str, str]:
    return sample.image, sample.mask


def _by_class(layout: Layout, fact: PairFacts) -> Counter[int]:
    """The pixels of each class in a mask, 255 included."""
    by_class = Counter[int]()
    for value, count in fact.counts.items():
        # A remap gives several values one class.
        by_class[layout.values[value] if layout.values else value] += count
    return by_class


def _digest(
    names: tuple[str, ...],
    encoding: str,
    values: bytes | None,
    grey_range: GreyRange,
    splits: Samples,
) -> str:
    """A digest of all that training depends on; the folder's path is not part of it."""
    listing = {
        split: [(s.stem, s.group, s.content) for s in samples] for split, samples in splits.items()
    }
    levels = [] if grey_range == FULL_RANGE else [grey_range]
    return digest([names, encoding, values.hex() if values else None, listing, *levels])
