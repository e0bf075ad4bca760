"""Decode the RLE of Label Studio's brushes.

Source: https://github.com/thi-ng/umbrella (rle-pack).
"""

from __future__ import annotations

import numpy as np

from autoseg.core.errors import InputError
from autoseg.core.units import HW
from autoseg.data.dataset import Array
from autoseg.data.formats.common.shapes import Covered, from_half

# 32 bits for the number of values, 5 for the bits of a value, 4 x 4 for the sizes of lengths.
_HEADER_BITS = 32 + 5 + 4 * 4


def decode_rle(packed: object, hw: HW) -> Covered:
    """The area of a brush: runs of RGBA values, of which the alpha counts.

    Raises InputError for runs that do not fill exactly one picture of `hw`.
    """
    try:
        data = bytes(packed if isinstance(packed, list) else [])
    except (TypeError, ValueError) as error:
        raise InputError("its runs (rle) must be a list of bytes") from error
    bits = np.unpackbits(np.frombuffer(data, np.uint8))
    text = (bits + ord("0")).tobytes().decode()
    if len(text) < _HEADER_BITS:
        raise InputError("its runs (rle) are empty")
    count, word = int(text[:32], 2), int(text[32:37], 2) + 1
    if word != 8 or count != hw[0] * hw[1] * 4:
        raise InputError(
            f"its runs (rle) hold {count} values of {word} bits; a picture of {hw[1]}x{hw[0]} has"
            f" {hw[0] * hw[1] * 4} of 8: not the same picture"
        )
    sizes = [int(text[place : place + 4], 2) + 1 for place in range(37, _HEADER_BITS, 4)]
    return from_half(_alpha(bits, text, sizes, count).reshape(hw))


def _alpha(bits: Array, text: str, sizes: list[int], count: int) -> Array:
    """Every fourth of the values. Each run begins with one bit (1: one value, repeated; 0: single
    values) and two bits that select the size of its length.
    """
    alpha = np.zeros(count // 4, np.uint8)
    place, value = _HEADER_BITS, 0
    while value < count:
        head = text[place : place + 3]
        size = sizes[int(head[1:] or "0", 2)]
        length = int(text[place + 3 : place + 3 + size] or "0", 2) + 1
        place += 3 + size
        words = 1 if head[:1] == "1" else length
        end = place + 8 * words
        if end > len(text) or value + length > count:
            raise InputError("its runs (rle) are damaged: they do not end with the picture")
        held = np.packbits(bits[place:end])
        # The first value of each pixel's four is red, the last its alpha.
        first, behind = value // 4, (value + length) // 4
        alpha[first:behind] = held[0] if words == 1 else held[3 - value % 4 :: 4]
        place, value = end, value + length
    return alpha
