"""Pair masks whose names have one text more than those of their pictures (car_mask.png)."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from autoseg.data.layout import Layout

Files = Mapping[str, Path]
Affix = tuple[str, str]  # the texts before and behind
# Masks whose names are compared with those of all pictures, and the affixes found that are tried.
_MASKS_TRIED, _AFFIXES_TRIED = 10, 20


def without_affixes(layout: Layout, images: Files, masks: Files, where: str) -> Files:
    """The masks by the names of their pictures, where a text before or behind all names of masks
    is left out, or another one that pictures have; else as they are.
    """
    together = sum(name in images for name in masks)
    if together == min(len(images), len(masks)):
        return masks
    cut = {affix: _cut(masks, affix) for affix in _affixes(images, masks)}
    worth = {affix: _worth(cores, images, masks) for affix, cores in cut.items()}
    affix = max(worth, key=lambda one: worth[one], default=("", ""))
    found, _ = worth.get(affix, (0, 0))
    if found > together and 2 * found > len(masks):
        told = f"{where}: masks are paired as named after their pictures, with"
        layout.warnings.append(f"{told} {_told(affix)}")
        return cut[affix]
    ours, theirs = _common_affix(images), _common_affix(masks)
    named = {_core(name, ours): name for name in images}
    parts = {_core(name, theirs): path for name, path in masks.items()}
    if named.keys() != parts.keys() or len(named) != len(images) or None in parts:
        return masks
    told = f"{where}: {_told(ours)} in pictures, {_told(theirs)} in masks"
    layout.warnings.append(f"{told}: paired by the rest of the names")
    return {named[part]: path for part, path in parts.items()}


def _affixes(images: Files, masks: Files) -> list[Affix]:
    """The texts before and behind a picture's name in the name of a mask, the commonest first."""
    alone = [name for name in masks if name not in images]
    tried = alone[:: max(1, len(alone) // _MASKS_TRIED)]
    counts: Counter[Affix] = Counter()
    for mask in tried:
        folder, _, last = mask.rpartition("/")
        for name in images:
            before, core, behind = last.rpartition(name.rpartition("/")[2])
            # A digit more would be another number: 10 is no mask of 0.
            cut = _cuts_number(before, core) or _cuts_number(core, behind)
            if core and core != last and not cut and name.rpartition("/")[0] == folder:
                counts[before, behind] += 1
    return [affix for affix, _ in counts.most_common(_AFFIXES_TRIED)]


def _cut(masks: Files, affix: Affix) -> dict[str, Path]:
    """The masks by their names without the affix; as they are where two would get one name."""
    cores = {_core(name, affix) or name: path for name, path in masks.items()}
    return cores if len(cores) == len(masks) else {**masks}


def _worth(cores: Files, images: Files, masks: Files) -> tuple[int, int]:
    """The number of masks that have a picture of their name, and that had the affix: `face_mask`
    may be a picture, so that the affix which more masks have is the one that is meant.
    """
    had = sum(masks.get(name) != path for name, path in cores.items())
    return sum(name in images for name in cores), had


def _cuts_number(left: str, right: str) -> bool:
    """Whether two texts that follow each other meet within a number."""
    return left[-1:].isdigit() and right[:1].isdigit()


def _core(name: str, affix: Affix) -> str | None:
    """A name without the texts before and behind it; None if it lacks them."""
    folder, slash, last = name.rpartition("/")
    before, behind = affix
    if len(last) <= len(before) + len(behind) or not last.startswith(before):
        return None
    if not last.endswith(behind):
        return None
    core = last[len(before) : len(last) - len(behind)]
    if _cuts_number(before, core) or _cuts_number(core, behind):
        return None
    return folder + slash + core


def _common_affix(files: Files) -> Affix:
    """The texts that all file names begin and end with, digits not counted."""
    names = [name.rpartition("/")[2] for name in files]
    before = os.path.commonprefix(names).rstrip("0123456789")
    behind = os.path.commonprefix([name[len(before) :][::-1] for name in names])[::-1]
    return before, behind.lstrip("0123456789")


def _told(affix: Affix) -> str:
    before, behind = affix
    places = [f"{before!r} before"] if before else []
    places += [f"{behind!r} behind"] if behind else []
    return " and ".join(places) or "nothing before or behind"
