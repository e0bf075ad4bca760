"""Detect masks whose values are no class indices, or mean something else in each file."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from autoseg.core.records import IGNORE_INDEX
from autoseg.data.dataset import background_of
from autoseg.data.layout import Layout, listed
from autoseg.data.pairs import PairFacts
from autoseg.data.pictures import under

Counts = npt.NDArray[np.int64]
# Of all pixels: those of the two levels that masks of two classes had before they were resized.
_MIN_ENDS_SHARE = 0.8
_MIN_LEVELS_BETWEEN, _MANY_LEVELS = 3, 64
THRESHOLD = 128
_BLACK = 0x000000
_WAY_OUT = (
    "write all masks with one palette, or add class_dict.csv with a line `name,r,g,b` for each"
    " class: then their colours are read"
)


def is_soft(stored: Counts) -> bool:
    """Whether pixels by stored value are those of grey levels: masks of two classes that were
    resized with interpolation, smoothed or saved as probabilities. Most pixels have the lowest or
    the highest value, and many values between these occur, far apart or very many.
    """
    values = np.flatnonzero(stored)
    between = values[1:-1]
    if len(between) < _MIN_LEVELS_BETWEEN or between[-1] < _MANY_LEVELS:
        return False
    most = max(int(stored[values[[0, -1]]].sum()), int(stored.max()))
    many = 2 * len(between) < between[-1] or len(between) >= _MANY_LEVELS
    return many and most >= _MIN_ENDS_SHARE * int(stored.sum())


def check_soft(layout: Layout, facts: Sequence[PairFacts], stored: Counts) -> bool:
    """Whether the masks are grey levels, which becomes a fault; where two classes are named and
    the levels are 0 to 255, nothing else can be meant, and it becomes a warning.
    """
    if not is_soft(stored):
        return False
    low, high = np.flatnonzero(stored)[[0, -1]].tolist()
    grey = [f for f in facts if any(low < value < high for value in f.counts)]
    names = listed([under(layout.root, fact.sample.mask) for fact in grey])
    told = (
        f"{len(grey)} of {len(facts)} masks are grey levels, not class indices: most pixels are"
        f" {low} or {high} and the rest, at the edges, between them"
    )
    if layout.classes and (low, high) == (0, IGNORE_INDEX):
        name = layout.classes[1]
        layout.warnings.append(f"{told}. From {THRESHOLD} on they are read as {name}: {names}")
    else:
        way_out = f"Threshold them at {THRESHOLD} (and resize masks by nearest neighbour)"
        if not layout.classes:
            way_out += ", or name the classes in classes.txt if the values are classes"
        layout.faults.append(f"{told}. {way_out}: {names}")
    return True


def check_conventions(layout: Layout, facts: Sequence[PairFacts], named: bool) -> None:
    """A fault where some masks of two classes store the object as 1 and others as 255, which means
    ignore; a warning where the classes are `named`, as then 255 is meant to be ignored.
    """
    held = [{*fact.counts} for fact in facts]
    if not set().union(*held) <= {0, 1, IGNORE_INDEX}:
        return
    ones, highs = ([v in values for values in held] for v in (1, IGNORE_INDEX))
    if not (any(ones) and any(highs)) or any(a and b for a, b in zip(ones, highs, strict=True)):
        return
    of_one, of_high = (
        [under(layout.root, f.sample.mask) for f, has in zip(facts, kind, strict=True) if has]
        for kind in (ones, highs)
    )
    told = (
        f"{len(of_one)} masks hold 0 and 1 ({listed(of_one)}), {len(of_high)} hold 0 and 255"
        f" ({listed(of_high)}), and none holds both 1 and 255"
    )
    if named:
        layout.warnings.append(f"{told}: 255 is read as ignore; store 1 if it is the object")
    else:
        layout.faults.append(
            f"{told}: two conventions. Store the object as one value in all of them, or name the"
            " classes in classes.txt if 255 means ignore"
        )


def check_palettes(layout: Layout, facts: Sequence[PairFacts]) -> None:
    """A fault where one colour has several indices: the palettes are in different orders, as
    programs that make PNG smaller leave them. Other colours for an index are a warning.
    """
    by_colour: dict[int, dict[int, list[str]]] = defaultdict(lambda: defaultdict(list))
    by_index: dict[int, dict[int, list[str]]] = defaultdict(lambda: defaultdict(list))
    for fact in facts:
        palette = fact.palette or {}
        if len({*palette.values()}) < len(palette):
            continue  # its colours do not tell its classes apart
        name = under(layout.root, fact.sample.mask)
        for index, colour in palette.items():
            by_colour[colour][index].append(name)
            by_index[index][colour].append(name)
    _note_black(layout, by_colour[_BLACK], by_index)
    mixed = [colour for colour, indices in by_colour.items() if len(indices) > 1]
    others = [index for index, colours in by_index.items() if len(colours) > 1]
    if mixed:
        places = _places(by_colour[mixed[0]], "{}")
        told = f"palettes of masks are in different orders: the colour #{mixed[0]:06x} is {places}"
        layout.faults.append(f"{told}. Read as indices, classes would be mixed: {_WAY_OUT}")
    elif others:
        places = _places(by_index[others[0]], "#{:06x}")
        told = f"palettes of masks differ: the index {others[0]} is {places}"
        layout.warnings.append(f"{told}. The indices are read, not the colours")


def _note_black(
    layout: Layout, black: Mapping[int, list[str]], by_index: Mapping[int, Mapping[int, list[str]]]
) -> None:
    """A warning where black, which mostly is the background, is another class in all palettes, as
    programs that choose a palette by themselves leave it.
    """
    name = background_of(layout.classes)
    index = layout.classes.index(name) if name else 0
    if not black or index in black or index not in by_index or (layout.classes and not name):
        return
    layout.warnings.append(
        f"the colour of the index {index}, which is read as the background, is"
        f" #{min(by_index[index]):06x} in the palettes of masks, and black is the index"
        f" {min(black)}: if black is the background, give it this name in classes.txt"
    )


def _places(names: Mapping[int, list[str]], shown: str) -> str:
    most = sorted(names.items(), key=lambda item: -len(item[1]))[:2]
    return " and ".join(f"{shown.format(key)} in {listed(where)}" for key, where in most)
