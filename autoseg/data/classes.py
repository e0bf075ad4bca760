"""Settle which class each stored value of the masks means, by the format or else by the values."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from autoseg.core.records import IGNORE_INDEX
from autoseg.data import remap
from autoseg.data.layout import Layout, listed
from autoseg.data.pairs import PairFacts
from autoseg.data.pictures import under

_IDENTITY = bytes(range(256))
_BINARY = bytes([0] * IGNORE_INDEX + [1])
Counts = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Classes:
    """Names by index, the encoding of masks as a text, the classes' shares of all pixels, and the
    share of pixels without a class.
    """

    names: tuple[str, ...]
    encoding: str
    shares: tuple[float, ...]
    ignore_share: float


def check_remap(layout: Layout, path: str | None) -> None:
    """Raise InputError for a faulty remap file before any picture is decoded; its names are
    checked if the format gives the classes.
    """
    if path and layout.classes:
        remap.apply(Path(path), layout.classes, _IDENTITY)
    elif path:
        remap.read(Path(path))


def settle_classes(layout: Layout, facts: Sequence[PairFacts], path: str | None) -> Classes:
    """Settle the classes and `layout.values`, through the remap file at `path` if there is one;
    values without a class become faults, unused classes warnings.
    """
    stored = np.zeros(256, np.int64)
    for fact in facts:
        for value, count in fact.counts.items():
            stored[value] += count
    encoding = _settle_values(layout, stored)
    values = layout.values or _IDENTITY
    names = layout.classes
    if names:
        _note_illegal(layout, facts, values)
    else:
        highest = max(np.flatnonzero(_by_class(values, stored)[:IGNORE_INDEX]), default=0)
        names = _default_names(max(2, int(highest) + 1))
        _note_gaps(layout, facts, stored, int(highest))
    _note_shares(layout, stored)
    if path:
        names, layout.values = remap.apply(Path(path), names, values)
        encoding += ", remapped"
    shares = _by_class(layout.values or _IDENTITY, stored) / max(int(stored.sum()), 1)
    _note_unused(layout, names, shares)
    of_classes = tuple(shares[: len(names)].tolist())
    return Classes(names, encoding, of_classes, float(shares[IGNORE_INDEX]))


def _settle_values(layout: Layout, stored: Counts) -> str:
    """The encoding of masks as a text; two classes stored as 0 and 255 are detected here."""
    values = np.flatnonzero(stored).tolist()
    binary = len(layout.classes) <= 2 and set(values) <= {0, IGNORE_INDEX} and values[-1:] != [0]
    if layout.values is None and binary and values:
        layout.values = _BINARY
        return "0/255 binary"
    ignored = layout.values is None and stored[IGNORE_INDEX]
    return "class indices, 255 = ignore" if ignored else "class indices"


def _by_class(values: bytes, stored: Counts) -> Counts:
    table = np.frombuffer(values, np.uint8)
    return np.bincount(table, stored, minlength=256).astype(np.int64)


def _default_names(count: int) -> tuple[str, ...]:
    others = ["object"] if count == 2 else [f"class_{number}" for number in range(1, count)]
    return ("background", *others)


def _note_illegal(layout: Layout, facts: Sequence[PairFacts], values: bytes) -> None:
    known = (*range(len(layout.classes)), IGNORE_INDEX)
    for fact in facts:
        if illegal := sorted(value for value in fact.counts if values[value] not in known):
            last = len(layout.classes) - 1
            legal = f" (0..{last}, 255 = ignore)" if not layout.values else ""
            layout.faults.append(
                f"{under(layout.root, fact.sample.mask)}: mask values"
                f" {listed([str(v) for v in illegal])} are not among the {len(layout.classes)}"
                f" classes{legal}"
            )


def _note_gaps(layout: Layout, facts: Sequence[PairFacts], stored: Counts, highest: int) -> None:
    """Refuse sparse values without names: 0 and 128 are grey levels rather than 129 classes."""
    if layout.values is not None:
        return
    used = int(np.count_nonzero(stored[:IGNORE_INDEX]))
    if used * 2 >= highest + 1:
        return
    names = [under(layout.root, f.sample.mask) for f in facts if highest in f.counts]
    layout.faults.append(
        f"mask values go up to {highest} and only {used} of them occur: store class indices 0, 1,"
        f" 2 …, or name all {highest + 1} classes in classes.txt; see {listed(names)}"
    )


def _note_shares(layout: Layout, stored: Counts) -> None:
    """The format's own warnings about stored values that occur."""
    for value, text in layout.notes.items():
        if stored[value]:
            share = 100 * stored[value] / max(int(stored.sum()), 1)
            layout.warnings.append(f"{text}: {share:.2g} %")


def _note_unused(layout: Layout, names: Sequence[str], shares: npt.NDArray[np.float64]) -> None:
    unused = [name for name, share in zip(names, shares, strict=False) if not share]
    if len(names) - len(unused) < 2:
        layout.faults.append("the masks hold fewer than two classes: there is nothing to learn")
    elif unused:
        layout.warnings.append(f"classes without any pixel: {listed(unused)}")


def rarest_classes(
    pixels_by_class: Sequence[Mapping[int, int]], train_count: int, names: Sequence[str]
) -> tuple[str, ...]:
    """The rarest class in each mask; "" for a mask without any.

    `pixels_by_class` is given for each mask, those of train first. The rarest class is that in the
    fewest pictures of train, and of several such classes the one with the fewest pixels there.
    """
    pictures, pixels = Counter[int](), Counter[int]()
    for counts in pixels_by_class[:train_count]:
        pictures.update(counts.keys())
        pixels.update(counts)
    rarity = sorted(range(len(names)), key=lambda index: (pictures[index], pixels[index]))
    return tuple(
        next((names[index] for index in rarity if index in counts), "")
        for counts in pixels_by_class
    )
