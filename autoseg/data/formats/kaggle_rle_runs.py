"""Decode runs: pairs of a start and a length, the first pixel being number 1.

Most of Kaggle's competitions number the pixels down the columns, some along the rows, and no file
says which. Where pictures are not square the runs themselves show it: in the right order, covered
pixels have covered neighbours one column (or row) further on.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from autoseg.core.errors import InputError
from autoseg.core.units import HW
from autoseg.data.formats.common.shapes import Covered

# Beyond it, one order has more covered neighbours than the other by more than chance.
_MIN_ADVANTAGE = 1.1


def decode_runs(text: str, hw: HW, *, by_rows: bool) -> Covered:
    """The covered pixels, bool ``[H, W]``. Raises InputError for runs that are no pairs of whole
    numbers, not in ascending order, or past the end of the picture.
    """
    flat = _flat(text, hw[0] * hw[1], hw)
    return flat.reshape(hw) if by_rows else flat.reshape(hw[1], hw[0]).T


def _flat(text: str, pixels: int, hw: HW) -> Covered:
    starts, ends = _bounds(text)
    if len(ends) and ends[-1] > pixels:
        raise InputError(
            f"its runs end at pixel {ends[-1]}, and the picture of {hw[1]}x{hw[0]} has {pixels}:"
            " not the same picture, or of another size"
        )
    steps = np.zeros(pixels + 1, np.int8)
    steps[starts] += 1
    steps[ends] -= 1
    covered: Covered = np.cumsum(steps[:-1], dtype=np.int8) > 0
    return covered


def _bounds(text: str) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """First pixels, and pixels after the last ones, from 0."""
    try:
        numbers = np.array(text.split(), np.int64)
    except (ValueError, OverflowError) as error:
        raise InputError(f"its runs must be whole numbers, got {text!r:.40}") from error
    if len(numbers) % 2:
        raise InputError(f"its runs must be pairs of start and length, got {len(numbers)} numbers")
    starts, lengths = numbers[::2] - 1, numbers[1::2]
    if (lengths < 1).any() or (starts < 0).any() or (lengths > 2**40).any():
        raise InputError("a run must begin at pixel 1 or later and be 1 pixel long or longer")
    ends = starts + lengths
    if (starts[1:] < ends[:-1]).any():
        raise InputError(
            "its runs are not in ascending order: starts relative to the run before (as in"
            " SIIM-ACR) are not read; give pairs of start and length"
        )
    return starts, ends


def neighbours(text: str, hw: HW) -> tuple[int, int]:
    """Covered pixels whose neighbour is covered too, by another run: one row further on if the
    runs go along the rows, and one column further on if they go down the columns. Raises as
    `decode_runs` does.
    """
    flat = _flat(text, hw[0] * hw[1], hw)
    # A run that is longer than a row would be a neighbour of itself.
    run = np.cumsum(np.diff(flat, prepend=False) & flat, dtype=np.int32)
    rows, columns = (
        np.count_nonzero(flat[:-step] & flat[step:] & (run[:-step] != run[step:]))
        for step in reversed(hw)
    )
    return int(rows), int(columns)


def go_by_rows(rows: int, columns: int) -> bool | None:
    """Whether runs go along the rows, by the sums of their `neighbours`; None if it is open."""
    few, many = sorted((rows, columns))
    return None if many <= few * _MIN_ADVANTAGE else rows == many
