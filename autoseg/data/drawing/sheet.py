"""Parts of contact sheets: tiles, text and legends, in Pillow's own font."""

from __future__ import annotations

import bisect
import functools
import math
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from autoseg.core.records import IGNORE_INDEX
from autoseg.core.units import HW
from autoseg.data.drawing.overlay import Colour, overlay
from autoseg.data.resize import Array, resize_frame

PAGE, INK, FAINT = (255, 255, 255), (25, 25, 25), (110, 110, 110)
HATCHED = (-1, -1, -1)  # the swatch of ignored pixels
MAX_CHARS = 400  # of a text that is fitted: a name may have any length


def tile(picture: Array, hw: HW) -> Array:
    """A picture uint8 ``[h, w, 3]`` at a tile's size; pixels stay visible when it is enlarged."""
    if hw[0] <= picture.shape[0]:
        return resize_frame(picture, hw, 3)
    enlarged = Image.fromarray(picture).resize((hw[1], hw[0]), Image.Resampling.NEAREST)
    return np.asarray(enlarged)


@functools.lru_cache(maxsize=8)
def font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def shorten(text: str, width: int, size: int) -> str:
    """A text cut in its middle to fit `width` pixels: names differ at their ends."""
    if len(text) > MAX_CHARS:
        text = text[: MAX_CHARS // 2] + text[-MAX_CHARS // 2 :]
    text = "".join(c if c.isprintable() else "?" for c in text)
    if font(size).getlength(text) <= width:
        return text

    def cut(kept: int) -> str:
        return text[: (kept + 1) // 2] + "..." + text[len(text) - kept // 2 :]

    # The width grows with the number of characters.
    fitting = bisect.bisect_right(
        range(2, len(text)), width, key=lambda kept: math.ceil(font(size).getlength(cut(kept)))
    )
    return cut(fitting + 1) if fitting else ""


def legend(named: Sequence[tuple[str, Colour | None]], width: int, size: int = 13) -> Image.Image:
    """Names with their colours, on as many lines as necessary; None is a class without a tint."""
    left, line = round(size * 1.85), round(size * 1.6)
    labels = [shorten(name, width - left, size) for name, _ in named]
    places: list[tuple[int, int]] = []
    x, y = 0, 0
    for label in labels:
        needed = left + math.ceil(font(size).getlength(label))
        if x and x + needed > width:
            x, y = 0, y + line
        places.append((x, y))
        x += needed + round(size * 1.25)
    page = Image.new("RGB", (width, y + round(size * 1.5)), PAGE)
    draw = ImageDraw.Draw(page)
    for label, (_, shown), (x, y) in zip(labels, named, places, strict=True):
        page.paste(_swatch(shown, size), (x, y + 2))
        draw.text((x + left, y), label, INK, font(size))
    return page


def _swatch(shown: Colour | None, size: int) -> Image.Image:
    hw = round(size * 1.1), round(size * 1.4)
    swatch = np.full((*hw, 3), 200, np.uint8)
    if shown is HATCHED:
        swatch = overlay(swatch, np.full(hw, IGNORE_INDEX, np.uint8), ())
    elif shown is not None:
        swatch[:] = shown
    swatch[[0, -1]] = swatch[:, [0, -1]] = 90
    return Image.fromarray(swatch)
