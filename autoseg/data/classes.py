"""Settle which class each stored value of the masks means, by the format or else by the values.

A small YAML file of the user may merge, rename or drop the classes of any data set:

    thing: [car, truck, bus]     # these become one class; names or indices of the data set
    person: person
    ignore: [void]               # neither trained on nor counted
    background: rest             # all classes that are not named elsewhere

The order of the lines gives the indices. Without `rest`, every class of the data set must be
named.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from autoseg.core import yaml_files
from autoseg.core.errors import InputError
from autoseg.core.records import IGNORE_INDEX
from autoseg.core.text import one_form
from autoseg.core.yaml_files import Fault
from autoseg.data.dataset import BACKGROUND, OBJECT
from autoseg.data.layout import Layout, listed
from autoseg.data.mask_encoding import (
    THRESHOLD,
    check_conventions,
    check_palettes,
    check_soft,
)
from autoseg.data.pairs import PairFacts
from autoseg.data.pictures import under

_IDENTITY = bytes(range(256))
_GREY_LEVELS = "grey levels"
_TWO = (BACKGROUND, OBJECT)
_BINARY = bytes([0] * IGNORE_INDEX + [1])
IGNORE, REST = "ignore", "rest"
# Of stored values that have no class: the inspection reports them.
_NO_CLASS = 254
_EXAMPLE = "for example `road: [road, sidewalk]` and `background: rest`"
Counts = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Classes:
    """Names by index, the encoding of masks as a text, and shares of all pixels."""

    names: tuple[str, ...]
    encoding: str
    shares: tuple[float, ...]
    ignore_share: float


def check_remap(layout: Layout, path: str | None) -> None:
    """Raise InputError for a faulty remap file, before any picture is decoded."""
    if path and layout.classes:
        apply_remap(Path(path), layout.classes, _IDENTITY)
    elif path:
        read_remap(Path(path))


def settle_classes(layout: Layout, facts: Sequence[PairFacts], path: str | None) -> Classes:
    """Settle the classes and `layout.values`, through the remap file at `path` if there is one;
    values without a class become faults, unused classes warnings.
    """
    stored = np.zeros(256, np.int64)
    for fact in facts:
        for value, count in fact.counts.items():
            stored[value] += count
    if not stored.any():  # no mask could be read, which is a fault already
        return Classes((), "", (), 0.0)
    names = layout.classes
    encoding = _settle_values(layout, facts, stored)
    values = layout.values or _IDENTITY
    if encoding == _GREY_LEVELS:
        names = names or _TWO
    elif names:
        _note_illegal(layout, facts, values)
    else:
        highest = int(max(np.flatnonzero(_by_class(values, stored)[:IGNORE_INDEX]), default=0))
        numbered = (f"class_{n}" for n in range(1, highest + 1))
        names = _TWO if highest < 2 else (BACKGROUND, *numbered)
        _note_gaps(layout, facts, stored, highest)
    _note_shares(layout, stored)
    if path:
        names, layout.values = apply_remap(Path(path), names, values)
        encoding += ", remapped"
    shares = _by_class(layout.values or _IDENTITY, stored) / int(stored.sum())
    _note_unused(layout, names, shares)
    of_classes = tuple(shares[: len(names)].tolist())
    return Classes(names, encoding, of_classes, float(shares[IGNORE_INDEX]))


def _settle_values(layout: Layout, facts: Sequence[PairFacts], stored: Counts) -> str:
    """The encoding of masks as a text; two classes stored as 0 and 255 are detected here, and
    masks that cannot be read as class indices become faults.
    """
    check_palettes(layout, facts)
    if layout.values is None:
        check_conventions(layout, facts, bool(layout.classes))
        if len(layout.classes) <= 2 and check_soft(layout, facts, stored):
            layout.values = bytes(int(value >= THRESHOLD) for value in range(256))
            return _GREY_LEVELS
    values = np.flatnonzero(stored).tolist()
    binary = len(layout.classes) <= 2 and set(values) <= {0, IGNORE_INDEX} and values != [0]
    if layout.values is None and binary:
        layout.values = _BINARY
        return "0/255 binary"
    ignored = layout.values is None and stored[IGNORE_INDEX]
    return "class indices, 255 = ignore" if ignored else "class indices"


def _by_class(values: bytes, stored: Counts) -> Counts:
    table = np.frombuffer(values, np.uint8)
    return np.bincount(table, stored, minlength=256).astype(np.int64)


def _note_illegal(layout: Layout, facts: Sequence[PairFacts], values: bytes) -> None:
    known = (*range(len(layout.classes)), IGNORE_INDEX)
    illegal: set[int] = set()
    masks: list[str] = []
    for fact in facts:
        if found := {value for value in fact.counts if values[value] not in known}:
            illegal |= found
            masks.append(under(layout.root, fact.sample.mask))
    if illegal:
        count, shown = len(layout.classes), listed([str(value) for value in sorted(illegal)])
        legal = f" (0..{count - 1}, 255 = ignore)" if not layout.values else ""
        rule = f"mask values {shown} are not among the {count} classes{legal}"
        layout.faults.append(f"{listed(masks)}: {rule}")


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
            share = 100 * stored[value] / int(stored.sum())
            layout.warnings.append(f"{text}: {share:.2g} %")


def _note_unused(layout: Layout, names: Sequence[str], shares: npt.NDArray[np.float64]) -> None:
    unused = [name for name, share in zip(names, shares, strict=False) if not share]
    if len(names) - len(unused) < 2:
        ignored = f"; {100 * shares[IGNORE_INDEX]:.2g} % of the pixels are ignored"
        layout.faults.append(
            "the masks hold fewer than two classes: there is nothing to learn"
            + (
                f"{ignored} (255 means ignore: store objects as 1, 2 …)"
                if shares[IGNORE_INDEX]
                else ""
            )
        )
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
    return tuple(next((names[i] for i in rarity if i in counts), "") for counts in pixels_by_class)


def read_remap(path: Path) -> dict[Any, Any]:
    """The content of the file. Raises InputError if it is no mapping."""
    data = yaml_files.read(path).data
    if not isinstance(data, dict):
        raise InputError(f"{path}: must be lines of `class: [names]`, {_EXAMPLE}")
    return data


def apply_remap(path: Path, names: Sequence[str], values: bytes) -> tuple[tuple[str, ...], bytes]:
    """New names by index, and new classes of the 256 stored values, from those of a data set.

    Raises InputError with all faults of the file, each with its line.
    """
    data = read_remap(path)
    faults: list[Fault] = []
    taken: dict[int, str] = {}
    rest: str | None = None
    for key, sources in data.items():
        if not isinstance(key, str):
            faults.append(((str(key),), f"a class's name is text: write it in quotes, '{key}'"))
        if key == REST:
            faults.append(((REST,), f"is what a class may hold: write `name: {REST}`"))
        for source in _sources(sources):
            if source == REST and rest is not None:
                faults.append(((str(key),), f"{REST} may occur once, it is already in {rest!r}"))
            elif source == REST:
                rest = str(key)
            else:
                _take(source, str(key), names, taken, faults)
        if not _sources(sources):
            faults.append(((str(key),), "names no class of the data; give names, or leave it out"))
    absent = [name for index, name in enumerate(names) if index not in taken]
    if absent and rest is None:
        rule = f"named nowhere: {', '.join(absent)}; add them, or a class of `{REST}`"
        faults.append(((), rule))
    results = [str(key) for key in data if key != IGNORE]
    if not 2 <= len(results) < _NO_CLASS:
        faults.append(((), f"must make 2 to {_NO_CLASS - 1} classes, it makes {len(results)}"))
    if faults:
        raise yaml_files.faults(path, faults)
    index = {**{name: place for place, name in enumerate(results)}, IGNORE: IGNORE_INDEX}
    new = [index[taken.get(old, rest or IGNORE)] for old in range(len(names))]
    new += [_NO_CLASS] * (IGNORE_INDEX - len(names)) + [IGNORE_INDEX]
    return tuple(results), bytes(new[old] for old in values)


def _sources(value: Any) -> list[Any]:
    if value is None:
        return []
    return value if isinstance(value, list) else [value]


def _take(
    source: Any, result: str, names: Sequence[str], taken: dict[int, str], found: list[Fault]
) -> None:
    """Take a class of the data, by its name or index, into the class `result`."""
    if isinstance(source, str):
        source = one_form(source)
    index = names.index(source) if source in names else source
    if type(index) is not int or not 0 <= index < len(names):
        hint = yaml_files.did_you_mean(source, names) if isinstance(source, str) else ""
        known = ", ".join(f"{index} {name}" for index, name in enumerate(names))
        found.append(((result,), f"the data has no class {source!r}{hint}; it has {known}"))
    elif index in taken:
        where = "here twice" if taken[index] == result else f"already in {taken[index]!r}"
        found.append(((result,), f"{names[index]!r} may stand once, it is {where}"))
    else:
        taken[index] = result
