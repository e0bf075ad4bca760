"""Colours of classes in pictures."""

from __future__ import annotations

from collections.abc import Sequence
from colorsys import hsv_to_rgb

from autoseg.data.drawing.overlay import Colour

# Easy to tell apart, colours that are rare in pictures first; later classes get hues in steps of
# the golden ratio.
PALETTE = (
    (240, 50, 230), (60, 180, 75), (67, 99, 216), (255, 225, 25), (245, 130, 48),
    (66, 212, 244), (145, 30, 180), (230, 25, 75), (191, 239, 69), (0, 128, 128),
    (250, 190, 212), (154, 99, 36), (170, 255, 195), (128, 0, 0), (0, 0, 117),
    (220, 190, 255), (128, 128, 0), (255, 216, 177), (255, 250, 200), (169, 169, 169),
)  # fmt: skip


def class_colours(classes: Sequence[str]) -> list[Colour | None]:
    """An RGB colour for each class; None for a background, whose tint would hide the picture."""
    background = classes[0].strip().casefold() in ("background", "_background_", "none")
    return [
        None if background and index == 0 else _colour(index - background)
        for index in range(len(classes))
    ]


def _colour(place: int) -> Colour:
    if place < len(PALETTE):
        return PALETTE[place]
    step = place - len(PALETTE)
    values = hsv_to_rgb(step * 0.618034 % 1, (0.55, 0.85)[step % 2], (0.95, 0.65)[step // 2 % 2])
    return round(values[0] * 255), round(values[1] * 255), round(values[2] * 255)
