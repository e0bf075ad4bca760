"""Choose the range of grey levels of pictures with 16 bits that becomes 0 to 255.

Cameras for heat, X-rays and microscopes use a small part of the 16 bits (values 51300 to 51800, or
12 bits): of their upper 8 bits a few levels are left, and the object is gone. One range holds for
the whole data set and for every later picture, as the absolute values mean something.
"""

from __future__ import annotations

from collections.abc import Sequence

from autoseg.data.dataset import FULL_RANGE, GreyRange
from autoseg.data.layout import Layout, listed
from autoseg.data.pairs import PairFacts
from autoseg.data.pictures import under

# Of the 256 levels of the upper 8 bits; where fewer are used, the range is stretched.
MIN_LEVELS = 128
# Of one picture, after the range of the data set has become 0 to 255.
_MIN_LEVELS_OF_ONE = 32


def settle_grey_range(layout: Layout, facts: Sequence[PairFacts]) -> GreyRange:
    """The range of the grey pictures of 16 bits that becomes 0 to 255, with a warning if it is
    not the full one. Few levels of colours of 16 bits are a warning, as they are not stretched.
    """
    _note_colours(layout, [f for f in facts if f.deep_range and f.deep_colour])
    deep = [fact.deep_range for fact in facts if fact.deep_range and not fact.deep_colour]
    if not deep:
        return FULL_RANGE
    low, high = min(low for low, _ in deep), max(high for _, high in deep)
    if (levels := _levels(low, high)) >= MIN_LEVELS:
        _note_poor(layout, deep, FULL_RANGE)
        return FULL_RANGE
    _note_poor(layout, deep, (low, high))
    others = len(facts) - len(deep)
    rest = f"; the other {others} pictures have 8 bits and are not changed" if others else ""
    layout.warnings.append(
        f"{len(deep)} pictures of 16 bits have values from {low} to {high}, which are {levels} of"
        " the 256 levels of their upper 8 bits: this range is stretched to 0 to 255, in training"
        f" and in the shipped model{rest}"
    )
    return low, high


def _note_poor(layout: Layout, deep: Sequence[GreyRange], used: GreyRange) -> None:
    """A warning where most pictures keep few levels, as others have far larger or other values."""
    step = (used[1] - used[0] + 1) / 256
    poor = sum((high - low + 1) / step < _MIN_LEVELS_OF_ONE for low, high in deep)
    if 2 * poor > len(deep):
        layout.warnings.append(
            f"{poor} of {len(deep)} pictures of 16 bits keep fewer than {_MIN_LEVELS_OF_ONE} of"
            f" 256 levels, as the values of all pictures ({used[0]} to {used[1]}) become 0 to 255:"
            " if the object needs more, leave out the pictures of other values, or save all with"
            " 8 bits, stretched alike"
        )


def _note_colours(layout: Layout, facts: Sequence[PairFacts]) -> None:
    ranges = [fact.deep_range for fact in facts if fact.deep_range]
    if not ranges:
        return
    levels = _levels(min(low for low, _ in ranges), max(high for _, high in ranges))
    if levels < MIN_LEVELS:
        names = listed([under(layout.root, fact.sample.image) for fact in facts])
        layout.warnings.append(
            f"{len(facts)} colour pictures of 16 bits a channel use {levels} of the 256 levels of"
            " their upper 8 bits, which are read: save all with 8 bits, stretched alike, if the"
            f" object needs more: {names}"
        )


def _levels(low: int, high: int) -> int:
    return (high >> 8) - (low >> 8) + 1
