"""Colours of classes, and drawing them over a picture, for previews, contact sheets, `predict` and
bundles.

Pillow and numpy only, so that the same functions run on a board.
"""

from __future__ import annotations

from collections.abc import Sequence
from colorsys import hsv_to_rgb
from typing import Tuple  # noqa: UP035 (Python 3.8 in a bundle)

import numpy as np
import numpy.typing as npt
from PIL import Image

from autoseg.core.records import IGNORE_INDEX

Array = npt.NDArray[np.uint8]
Colour = Tuple[int, int, int]  # noqa: UP006
Colours = Sequence[Colour | None]  # by class; None leaves a class as it is
TINT_SHARE = 0.45
# Easy to tell apart, colours that are rare in pictures first; later classes get hues in steps of
# the golden ratio.
PALETTE = (
    (240, 50, 230), (60, 180, 75), (67, 99, 216), (255, 225, 25), (245, 130, 48),
    (66, 212, 244), (145, 30, 180), (230, 25, 75), (191, 239, 69), (0, 128, 128),
    (250, 190, 212), (154, 99, 36), (170, 255, 195), (128, 0, 0), (0, 0, 117),
    (220, 190, 255), (128, 128, 0), (255, 216, 177), (255, 250, 200), (169, 169, 169),
)  # fmt: skip


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
    return np.array(Image.composite(*map(Image.fromarray, (tints, picture, alpha))))


def outlines(mask: Array) -> npt.NDArray[np.bool_]:
    """The pixels with a horizontal or vertical neighbour of another class."""
    edge = np.zeros(mask.shape, bool)
    across, down = mask[:, 1:] != mask[:, :-1], mask[1:] != mask[:-1]
    edge[:, 1:] |= across
    edge[:, :-1] |= across
    edge[1:] |= down
    edge[:-1] |= down
    return edge


def class_colours(classes: Sequence[str]) -> list[Colour | None]:
    """An RGB colour for each class; None for a background, whose tint would hide the picture."""
    background = classes[0].strip().casefold() in ("background", "_background_", "none")
    colours: list[Colour | None] = [_colour(place) for place in range(len(classes))]
    return [None, *colours[:-1]] if background else colours


def _colour(place: int) -> Colour:
    if place < len(PALETTE):
        return PALETTE[place]
    step = place - len(PALETTE)
    values = hsv_to_rgb(step * 0.618034 % 1, (0.55, 0.85)[step % 2], (0.95, 0.65)[step // 2 % 2])
    return round(values[0] * 255), round(values[1] * 255), round(values[2] * 255)
