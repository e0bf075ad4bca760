"""The only resize, used by training, evaluation, prediction, every bundle and boards.

A network that is trained with one resize and used with another loses IoU (.88 to .81 at 96
pixels). Imports Pillow and numpy only, and nothing of autoseg, so that the same file runs on a
board.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image

Array = npt.NDArray[np.uint8]
VERSION = 2  # changes with the pixels of a frame: what was made with another one is not read
BILINEAR = 2  # Image.Resampling.BILINEAR; a board's Pillow before 9.1 lacks the name
MIN_BLOCK = 4  # the means of two or three pixels take as long as they save


def resize_frame(image: Array, input_hw: tuple[int, int], channels: int) -> Array:
    """An RGB picture as a network's frame: uint8 ``[H, W, 3]`` of any size to uint8 ``[*input_hw,
    channels]``.

    Means of whole blocks of pixels come first, while that leaves at least the size (Pillow's
    `reduce`); then, for one channel, Pillow's "L" (ITU-R 601 luma); then bilinear, widened when
    shrinking (antialiased). Bilinear alone takes two to three times as long on large pictures.
    Raises ValueError unless channels is 1 or 3.
    """
    if channels not in (1, 3):
        raise ValueError(f"channels must be 1 (luma) or 3 (RGB), got {channels}")
    height, width = input_hw
    reduced = picture = Image.fromarray(image)
    across, down = max(1, picture.width // width), max(1, picture.height // height)
    if across * down < MIN_BLOCK:
        across = down = 1
    else:
        reduced = picture.reduce((across, down))
    if channels == 1:
        reduced = reduced.convert("L")
    # In blocks; the last one may be cut by the edge.
    row, column = picture.width / across, picture.height / down
    # One axis per call: given both, Pillow 13 begins with another axis than the versions before.
    narrow = reduced.resize((width, reduced.height), BILINEAR, (0, 0, row, reduced.height))
    resized = narrow.resize((width, height), BILINEAR, (0, 0, width, column))
    return np.asarray(resized).reshape(height, width, channels)


def nearest_index(size: int, new_size: int) -> npt.NDArray[np.intp]:
    """The source index of each of `new_size` places under nearest-neighbour resizing.

    Equal to Pillow's NEAREST in every pixel: like Pillow it sums the step up place by place, so
    rounding is the same.
    """
    step = size / new_size
    places = np.full(new_size, step)
    places[0] = step * 0.5
    return np.minimum(np.cumsum(places).astype(np.intp), size - 1)


def resize_mask(mask: Array, hw: tuple[int, int]) -> Array:
    """A mask or class map uint8 ``[h, w]`` at another size, nearest: indices stay indices.

    The pixels are those of Pillow's NEAREST, which takes ten times as long on large pictures.
    """
    if mask.shape == tuple(hw):
        return mask
    rows = nearest_index(mask.shape[0], hw[0])
    columns = nearest_index(mask.shape[1], hw[1])
    return np.take(np.take(mask, columns, axis=1), rows, axis=0)
