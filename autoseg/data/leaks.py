"""Groups and pictures that lie in more than one split, and columns of index.csv that mend it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from autoseg.core.errors import InputError
from autoseg.data.dataset import SPLITS
from autoseg.data.formats.common.pairing import SPLIT_NAMES
from autoseg.data.layout import INDEX, Layout, Splits, listed, read_columns

Values = Mapping[str, str]  # by stem
_HARM = "in more than one split make scores look better than they are"


@dataclass(frozen=True)
class _Columns:
    """The splits in use, the columns of index.csv that hold a split for every picture, and the
    others; none where two pictures share a stem.
    """

    in_use: Values
    of_splits: Mapping[str, Values]
    others: Mapping[str, Values]


def warn_of_leaks(layout: Layout, splits: Splits) -> None:
    """Add groups and pictures in several splits to the warnings, with the columns of index.csv
    that would keep them whole; without groups, other columns are examined for some.
    """
    placed = [(sample, split) for split, samples in splits.items() for sample in samples]
    twice = {*_divided((sample.image, split) for sample, split in placed)}
    if shared := {sample.stem for sample, _ in placed if sample.image in twice}:
        layout.warnings.append(f"pictures {_HARM}: {listed(sorted(shared))}")
    columns = _columns(layout, {sample.stem: split for sample, split in placed}, len(placed))
    # Without groups each picture is its own.
    grouped = [(sample, split) for sample, split in placed if sample.group != sample.stem]
    leaking = _divided((sample.group, split) for sample, split in grouped)
    if not leaking:
        layout.warnings += _unused_groups(columns)
        return
    groups = {sample.stem: sample.group for sample, _ in grouped}
    share = f"{len(leaking)} of {len({*groups.values()})}"
    whole = [name for name, of in columns.of_splits.items() if not _divided_by(groups, of)]
    told = f"; --split-column {whole[0]} ({INDEX}) keeps them whole" if whole else ""
    layout.warnings.append(f"groups {_HARM} ({share}): {listed(leaking)}{told}")


def _unused_groups(columns: _Columns) -> Iterator[str]:
    """Warnings of columns that hold groups, as another column's splits keep their values whole,
    and that the splits in use divide.
    """
    for name, groups in columns.others.items():
        whole = [split for split, of in columns.of_splits.items() if not _divided_by(groups, of)]
        if whole and (leaking := _divided_by(groups, columns.in_use)):
            share = f"{len(leaking)} of {len({*groups.values()})}"
            yield (
                f"values of {INDEX}'s column {name} {_HARM} ({share}): {listed(leaking)};"
                f" --split-column {whole[0]} keeps them whole, and --group-column {name} makes"
                " them groups"
            )


def _columns(layout: Layout, in_use: Values, count: int) -> _Columns:
    try:
        columns = read_columns(layout.root) if len(in_use) == count else {}
    except InputError:  # not used, or a fault already
        columns = {}
    full = {
        name: {stem: values[stem] for stem in in_use}
        for name, values in columns.items()
        if all(values.get(stem) for stem in in_use)
    }
    named = {
        name: {stem: SPLIT_NAMES.get(value.lower(), value) for stem, value in of.items()}
        for name, of in full.items()
    }
    of_splits = {
        name: of for name, of in named.items() if {"train", "val"} <= {*of.values()} <= {*SPLITS}
    }
    return _Columns(in_use, of_splits, {n: of for n, of in full.items() if n not in of_splits})


def _divided_by(groups: Values, splits: Values) -> list[str]:
    return _divided((group, splits[stem]) for stem, group in groups.items())


def _divided(placed: Iterable[tuple[str, str]]) -> list[str]:
    """Those of (group, split) that are in more than one split."""
    found: dict[str, set[str]] = defaultdict(set)
    for group, split in placed:
        found[group].add(split)
    return sorted(group for group, splits in found.items() if len(splits) > 1)
