"""Draw classes over a picture, for previews, contact sheets, `predict` and bundles.

Pillow and numpy only, so that the same functions run on a board.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Tuple  # noqa: UP035 (Python 3.8 in a bundle)

import numpy as np
import numpy.typing as npt
from PIL import Image

from autoseg.core.records import IGNORE_INDEX

Array = npt.NDArray[np.uint8]
Colour = Tuple[int, int, int]  # noqa: UP006
TINT_SHARE = 0.45


def overlay(picture: Array, mask: Array, colours: Sequence[Colour | None]) -> Array:
    """A picture uint8 ``[h, w, 3]`` with the classes of its mask uint8 ``[h, w]`` as a tint, their
    outlines in full colour, and ignored pixels hatched; None leaves a class as it is.
    """
    palette, strength = np.zeros((256, 3), np.uint8), np.zeros(256, np.uint8)
    for index, shown in enumerate(colours):
        if shown is not None:
            palette[index], strength[index] = shown, round(255 * TINT_SHARE)
    tints, alpha = palette[mask], strength[mask]
    alpha[outlines(mask) & (alpha > 0)] = 255
    rows, columns = np.nonzero(mask == IGNORE_INDEX)
    tints[rows, columns] = np.where((rows + columns) // 3 % 2, 235, 60)[:, None]
    alpha[rows, columns] = round(255 * 0.6)
    # Pillow blends bytes: with floats, a photo of 12 million pixels would fill a board's memory.
    drawn = Image.composite(
        Image.fromarray(tints), Image.fromarray(picture), Image.fromarray(alpha)
    )
    return np.array(drawn)


def outlines(mask: Array) -> npt.NDArray[np.bool_]:
    """The pixels with a horizontal or vertical neighbour of another class."""
    edge = np.zeros(mask.shape, bool)
    across, down = mask[:, 1:] != mask[:, :-1], mask[1:] != mask[:-1]
    edge[:, 1:] |= across
    edge[:, :-1] |= across
    edge[1:] |= down
    edge[:-1] |= down
    return edge
