"""Decode COCO's RLE: lengths of uncovered and covered runs in turn, down the columns of a picture.

Source: pycocotools 2.0 (common/maskApi.c, rleFrString and rleDecode).
"""

from __future__ import annotations

import numpy as np

from autoseg.core.errors import InputError
from autoseg.core.units import HW
from autoseg.data.formats.common.shapes import Covered

# Six characters of five bits hold the length of a run in any picture that can be decoded.
_MAX_CHARACTERS = 6


def decode_rle(counts: object, hw: HW) -> Covered:
    """The covered pixels, bool ``[H, W]``; `counts` are numbers, or their compressed text.

    Raises InputError for runs that do not fill exactly one picture of `hw`.
    """
    lengths = _unpack(counts) if isinstance(counts, str) else _numbers(counts)
    if min(lengths, default=0) < 0 or sum(lengths) != hw[0] * hw[1]:
        raise InputError(
            f"its runs (counts) do not fill a picture of {hw[1]}x{hw[0]}: damaged, or not the"
            " same picture"
        )
    covered: Covered = np.repeat(np.arange(len(lengths)) % 2 == 1, lengths)
    return covered.reshape(hw[1], hw[0]).T


def _numbers(counts: object) -> list[int]:
    if not isinstance(counts, list) or not all(type(length) is int for length in counts):
        raise InputError(f"its runs (counts) must be a list of whole numbers, got {counts!r:.40}")
    return counts


def _unpack(text: str) -> list[int]:
    """Lengths from their text: five bits per character, the lowest first; the sixth bit marks that
    another character follows. From the fourth length on, the value is the difference to the length
    two places before.
    """
    lengths: list[int] = []
    value = shift = 0
    for character in text:
        bits = ord(character) - 48
        if not 0 <= bits < 64 or shift >= 5 * _MAX_CHARACTERS:
            raise InputError("its runs (counts) are damaged")
        value |= (bits & 31) << shift
        shift += 5
        if not bits & 32:
            value -= (1 << shift) if bits & 16 else 0
            lengths.append(value + (lengths[-2] if len(lengths) > 2 else 0))
            value = shift = 0
    return lengths
