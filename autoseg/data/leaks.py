"""Groups and pictures that lie in more than one split, and columns of index.csv that mend it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from autoseg.core.errors import InputError
from autoseg.data.dataset import SPLITS
from autoseg.data.layout import INDEX, Layout, Splits, listed, read_columns

Values = Mapping[str, str]  # by stem
_HARM = "in more than one split make scores look better than they are"


@dataclass(frozen=True)
class _Columns:
    """The columns of index.csv that hold a split for every picture, and the others."""

    of_splits: Mapping[str, Values]
    others: Mapping[str, Values]


def warn_of_leaks(layout: Layout, splits: Splits) -> None:
    """Add groups and pictures in several splits to the warnings, with the columns of index.csv
    that would keep them whole; without groups, other columns are examined for some.
    """
    where = {sample.stem: split for split, samples in splits.items() for sample in samples}
    everywhere = [sample for samples in splits.values() for sample in samples]
    by_picture: dict[str, set[str]] = defaultdict(set)
    for split, samples in splits.items():
        for sample in samples:
            by_picture[sample.image].add(split)
    shared = {s.stem for s in everywhere if len(by_picture[s.image]) > 1}
    if shared:
        layout.warnings.append(f"pictures {_HARM}: {listed(sorted(shared))}")
    # Without groups each picture is its own.
    groups = {s.stem: s.group for s in everywhere if s.group != s.stem}
    columns = _columns(layout, where)
    if leaking := _leaking(groups, where):
        share = f"{len(leaking)} of {len(set(groups.values()))}"
        mended = [name for name, of in columns.of_splits.items() if not _leaking(groups, of)]
        told = f"; --split-column {mended[0]} ({INDEX}) keeps them whole" if mended else ""
        layout.warnings.append(f"groups {_HARM} ({share}): {listed(leaking)}{told}")
    else:
        layout.warnings += _unused_groups(columns, where)


def _unused_groups(columns: _Columns, where: Values) -> Iterator[str]:
    """Warnings of columns that hold groups, as another column's splits keep their values whole,
    and that the splits in use divide.
    """
    for name, groups in columns.others.items():
        whole = [split for split, of in columns.of_splits.items() if not _leaking(groups, of)]
        leaking = _leaking(groups, where) if whole else []
        if leaking:
            share = f"{len(leaking)} of {len(set(groups.values()))}"
            yield (
                f"values of {INDEX}'s column {name} {_HARM} ({share}): {listed(leaking)};"
                f" --split-column {whole[0]} keeps them whole, and --group-column {name} makes"
                " them groups"
            )


def _columns(layout: Layout, where: Values) -> _Columns:
    try:
        columns = read_columns(layout.root)
    except InputError:  # not used, or a fault already
        return _Columns({}, {})
    full = {
        name: {stem: values[stem] for stem in where}
        for name, values in columns.items()
        if all(values.get(stem) for stem in where)
    }
    of_splits = {
        name: of for name, of in full.items() if {"train", "val"} <= {*of.values()} <= {*SPLITS}
    }
    return _Columns(of_splits, {n: of for n, of in full.items() if n not in of_splits})


def _leaking(groups: Values, where: Values) -> list[str]:
    """The groups in more than one split."""
    found: dict[str, set[str]] = defaultdict(set)
    for stem, group in groups.items():
        found[group].add(where[stem])
    return sorted(group for group, splits in found.items() if len(splits) > 1)
