"""Which classes the stored values of all masks mean, by the format or else by the values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from autoseg.core.records import IGNORE_INDEX
from autoseg.data import remap
from autoseg.data.layout import Found, listed
from autoseg.data.pictures import PairFacts, under

_IDENTITY = bytes(range(256))
_BINARY = bytes([0] * IGNORE_INDEX + [1])
Counts = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Classes:
    """Names by index, how masks store them, and shares of all pixels; `ignore_share` has none."""

    names: tuple[str, ...]
    encoding: str
    shares: tuple[float, ...]
    ignore_share: float


def check_remap(found: Found, path: str | None) -> None:
    """Raise InputError for what is wrong with a remap file before any picture is decoded: all of
    it, where the names are known by then.
    """
    if path and found.classes:
        remap.apply(Path(path), found.classes, _IDENTITY)
    elif path:
        remap.read(Path(path))


def understand(found: Found, facts: Sequence[PairFacts], path: str | None) -> Classes:
    """Settle the names and `found.values`, through the remap file at `path` if there is one; what
    does not fit becomes faults and warnings.
    """
    stored = np.zeros(256, np.int64)
    for fact in facts:
        for value, count in fact.counts.items():
            stored[value] += count
    encoding = _settle_values(found, stored)
    values = found.values or _IDENTITY
    names = found.classes
    if names:
        _note_illegal(found, facts, np.frombuffer(values, np.uint8) >= len(names))
    else:
        highest = max(np.flatnonzero(_by_class(values, stored)[:IGNORE_INDEX]), default=0)
        names = _default_names(max(2, int(highest) + 1))
        _note_gaps(found, facts, stored, int(highest))
    _note_share(found, stored)
    if path:
        names, found.values = remap.apply(Path(path), names, values)
        encoding += ", remapped"
    shares = _by_class(found.values or _IDENTITY, stored) / max(int(stored.sum()), 1)
    _note_unused(found, names, shares)
    return Classes(
        names,
        encoding,
        tuple(float(share) for share in shares[: len(names)]),
        float(shares[IGNORE_INDEX]),
    )


def _settle_values(found: Found, stored: Counts) -> str:
    """How masks are stored, in words; two classes as 0 and 255 are told by the values."""
    values = np.flatnonzero(stored).tolist()
    binary = len(found.classes) <= 2 and set(values) <= {0, IGNORE_INDEX} and values[-1:] != [0]
    if found.values is None and binary and values:
        found.values = _BINARY
        return "0/255 binary"
    ignored = found.values is None and stored[IGNORE_INDEX]
    return "class indices, 255 = ignore" if ignored else "class indices"


def _by_class(values: bytes, stored: Counts) -> Counts:
    table = np.frombuffer(values, np.uint8)
    return np.bincount(table, stored, minlength=256).astype(np.int64)


def _default_names(count: int) -> tuple[str, ...]:
    if count == 2:
        return ("background", "object")
    return ("background", *(f"class_{number}" for number in range(1, count)))


def _note_illegal(found: Found, facts: Sequence[PairFacts], beyond: npt.NDArray[np.bool_]) -> None:
    values = found.values or _IDENTITY
    for fact in facts:
        illegal = sorted(v for v in fact.counts if beyond[v] and values[v] != IGNORE_INDEX)
        if illegal:
            known = f" (0..{len(found.classes) - 1}, 255 = ignore)" if not found.values else ""
            found.faults.append(
                f"{under(found.root, fact.sample.mask)}: mask values"
                f" {listed([str(v) for v in illegal])} are not among the {len(found.classes)}"
                f" classes{known}"
            )


def _note_gaps(found: Found, facts: Sequence[PairFacts], stored: Counts, highest: int) -> None:
    """Without names, values such as 0 and 128 are far more likely grey levels than 129 classes."""
    if found.values is not None:
        return
    used = int(np.count_nonzero(stored[:IGNORE_INDEX]))
    if used * 2 >= highest + 1:
        return
    names = [under(found.root, f.sample.mask) for f in facts if highest in f.counts]
    found.faults.append(
        f"mask values go up to {highest} and only {used} of them occur: store class indices 0, 1,"
        f" 2 …, or name all {highest + 1} classes in classes.txt; see {listed(names)}"
    )


def _note_share(found: Found, stored: Counts) -> None:
    """The format's own warnings of stored values that occur."""
    for value, text in found.notes.items():
        if stored[value]:
            share = 100 * stored[value] / max(int(stored.sum()), 1)
            found.warnings.append(f"{text}: {share:.2g} %")


def _note_unused(found: Found, names: Sequence[str], shares: npt.NDArray[np.float64]) -> None:
    unused = [name for name, share in zip(names, shares, strict=False) if not share]
    if len(names) - len(unused) < 2:
        found.faults.append("the masks hold fewer than two classes: there is nothing to learn")
    elif unused:
        found.warnings.append(f"classes without any pixel: {listed(unused)}")
