"""Where the files lie that a run's declaration names: its data, space, profiles and the like.

run.yaml has their paths as they were given, and in `places` the folders that they start from: the
working directory, and the run's own. The run, its files or both may be moved later.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from autoseg.core.errors import InputError
from autoseg.run.declaration import OPTIONS, Declaration, flag, names_path
from autoseg.run.store import Run, read_declaration

PLACES = tuple(name for name, option in OPTIONS.items() if option.place)


def places_of(folder: Path) -> dict[str, str]:
    """`places` of the run.yaml in `folder`, for a run that begins in the working directory."""
    return {"working_folder": os.getcwd(), "run_folder": os.path.abspath(folder)}


def continued(
    folder: Path, given: Mapping[str, Any], needed: Iterable[str] = PLACES
) -> Declaration:
    """The declaration of the run in `folder`, with the options that are `given` now and the paths
    of its files as they lie now.

    A file is looked for where it was, then at the same place as seen from the run's folder, then
    as seen from the working directory. Raises InputError for a change of what must stay the same,
    and for one of the `needed` files that is in none of these places.
    """
    raw = read_declaration(folder)
    found = _each_path(raw, partial(_found, raw, folder))
    begun = Declaration.from_yaml({**raw, **found})
    declaration = replace(begun, **given)
    declaration.require_continues(begun)
    for name in (name for name in needed if name not in given):
        _each_path({name: getattr(begun, name)}, partial(_require, folder, name))
    return declaration


def keep_places(run: Run, declaration: Declaration) -> None:
    """Write into run.yaml where the files of a continued run lie now, if they were moved."""
    before = _each_path(run.declaration, partial(_begun_at, run.declaration))
    now = _each_path(declaration.to_yaml(), os.path.abspath)
    moved = {name: path for name, path in now.items() if path != before.get(name)}
    places = {**places_of(run.folder), **run.declaration.get("places", {})}
    run.change(**moved, places={**places, "run_folder": os.path.abspath(run.folder)})


def paths_from_here(raw: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a run.yaml that may be paths, for a command in the working directory.

    They are as they were typed where that is the directory that the run was begun in.
    """
    begun_here = raw.get("places", {}).get("working_folder", os.getcwd()) == os.getcwd()
    return _each_path(raw, str if begun_here else partial(_begun_at, raw))


def _each_path(options: Mapping[str, Any], change: Callable[[str], Any]) -> dict[str, Any]:
    """The options that may be paths, each of their paths changed."""

    def changed(name: str, value: Any) -> Any:
        if isinstance(value, list | tuple):
            return [changed(name, one) for one in value]
        return change(value) if names_path(name, value) else value

    return {name: changed(name, options[name]) for name in PLACES if name in options}


def _begun_at(raw: Mapping[str, Any], path: str) -> str:
    """The absolute path of what the run was begun with."""
    start = raw.get("places", {}).get("working_folder", "")
    return os.path.abspath(Path(start, Path(path).expanduser()))


def _found(raw: Mapping[str, Any], folder: Path, path: str) -> str:
    """The absolute path of a run's file now; where it was, if it is found nowhere."""
    was = _begun_at(raw, path)
    folder_was = raw.get("places", {}).get("run_folder", folder)
    seen_from_run = Path(folder, os.path.relpath(was, folder_was))
    ways = (was, os.path.abspath(seen_from_run), os.path.abspath(path))
    return next((way for way in ways if os.path.exists(way)), was)


def _require(folder: Path, name: str, path: str) -> None:
    if os.path.exists(path):
        return
    verbs = "`autoseg optimize --resume`"
    if name == "data":
        verbs += " or `autoseg remeasure`"
    raise InputError(
        f"the run {folder.name!r} was begun with {flag(name)} {path}, and nothing is there any "
        f"more: put it back, or give its new place to {verbs} with {flag(name)} NEWPLACE"
    )
