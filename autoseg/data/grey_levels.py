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
        return FULL_RANGE
    others = len(facts) - len(deep)
    rest = f"; the other {others} pictures have 8 bits and are not changed" if others else ""
    layout.warnings.append(
        f"{len(deep)} pictures of 16 bits have values from {low} to {high}, which are {levels} of"
        " the 256 levels of their upper 8 bits: this range is stretched to 0 to 255, in training"
        f" and in the shipped model{rest}"
    )
    return low, high


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
