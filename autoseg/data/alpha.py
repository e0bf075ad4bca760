"""Find the channel of a mask picture that holds the label: its grey value, or its alpha."""

from __future__ import annotations

import numpy as np

from autoseg.core.errors import InputError
from autoseg.data.dataset import Array

# Masks have fewer classes: a picture with more colours is a photograph, cut out by its alpha.
_MAX_LABEL_COLOURS = 255


def label_channel(pixels: Array) -> Array:
    """The label ``[H, W]`` of pixels ``[H, W, 2..4]`` (grey or RGB, with alpha or without).

    The alpha is the label where the visible pixels are all black, all white, or a photograph that
    was cut out: their colour is no class. Otherwise the grey value is. Raises InputError for
    colours.
    """
    has_alpha = pixels.shape[2] in (2, 4)
    colour = pixels[..., :-1] if has_alpha else pixels
    grey = colour[..., 0]
    is_grey = not (colour != colour[..., :1]).any()
    if has_alpha and _alpha_is_label(colour, pixels[..., -1], is_grey):
        return np.ascontiguousarray(pixels[..., -1])
    if not is_grey:
        raise InputError(
            "a colour picture is no mask: store class indices (one channel, or a palette PNG), or"
            " add class_dict.csv with a line `name,r,g,b` for each class"
        )
    return grey


def _alpha_is_label(colour: Array, alpha: Array, is_grey: bool) -> bool:
    visible = alpha > 0
    if visible.all() and alpha.min(initial=255) == alpha.max(initial=0):
        return False
    if is_grey and visible.any() and not colour[~visible].any() and colour.any():
        return False  # grey values on nothing: class indices whose background is transparent
    shown = colour[visible] if visible.any() else colour.reshape(-1, colour.shape[2])
    values = np.unique(shown)
    if values.tolist() in ([0], [255]):
        return True
    # Two classes of two colours would become one: only what cannot be classes is no class.
    channels = (shown[:, place].astype(np.uint32) << 8 * place for place in range(shown.shape[1]))
    return len(np.unique(sum(channels))) > _MAX_LABEL_COLOURS
