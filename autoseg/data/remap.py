"""Merge, rename or drop the classes of any data set with a small YAML file.

    thing: [car, truck, bus]     # these become one class; names or indices of the data set
    person: person
    ignore: [void]               # neither trained on nor counted
    background: rest             # all classes that are not named elsewhere

The order of the lines gives the indices. Without `rest`, every class of the data set must be
named.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from autoseg.core import yaml_files
from autoseg.core.errors import InputError
from autoseg.core.records import IGNORE_INDEX
from autoseg.core.yaml_files import Fault

IGNORE, REST = "ignore", "rest"
# Of stored values that have no class: the inspection reports them.
_NO_CLASS = 254
_EXAMPLE = "for example `road: [road, sidewalk]` and `background: rest`"


def read(path: Path) -> dict[Any, Any]:
    """The content of the file. Raises InputError if it is no mapping."""
    data = yaml_files.read(path).data
    if not isinstance(data, dict):
        raise InputError(f"{path}: must be lines of `class: [names]`, {_EXAMPLE}")
    return data


def apply(path: Path, names: Sequence[str], values: bytes) -> tuple[tuple[str, ...], bytes]:
    """New names by index, and new classes of the 256 stored values, from those of a data set.

    Raises InputError with all faults of the file, each with its line.
    """
    data = read(path)
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
    unnamed = [name for index, name in enumerate(names) if index not in taken]
    if unnamed and rest is None:
        faults.append(
            ((), f"named nowhere: {', '.join(unnamed)}; add them, or a class of `{REST}`")
        )
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
    index = names.index(source) if isinstance(source, str) and source in names else source
    if type(index) is not int or not 0 <= index < len(names):
        hint = yaml_files.did_you_mean(source, names) if isinstance(source, str) else ""
        known = ", ".join(f"{index} {name}" for index, name in enumerate(names))
        found.append(((result,), f"the data has no class {source!r}{hint}; it has {known}"))
    elif index in taken:
        where = "here twice" if taken[index] == result else f"already in {taken[index]!r}"
        found.append(((result,), f"{names[index]!r} may stand once, it is {where}"))
    else:
        taken[index] = result
