"""Augmentation of a network's frames, as in the thesis: flip, crop, shift-scale-rotate,
brightness, colour.

Pictures are already at the candidate's size, so a crop is one at the candidate's scale. What
happens to a batch is drawn at once, as one affine map and one table of values a picture, so each
picture is interpolated once and its values are looked up once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from autoseg.core.records import IGNORE_INDEX
from autoseg.core.units import HW
from autoseg.data.dataset import Array

# Training workers have one thread each; OpenCV's own pool would fight them for it.
cv2.setNumThreads(0)

OUTSIDE = 127  # grey, as the middle of all values
FLIPPED = 0.5
WARPED, ZOOM, SHIFT, TURN = (
    0.75,
    (0.85, 1.3),
    0.12,
    15.0,
)  # a zoom of 1.3 shows 60 % of the picture
BRIGHTENED, BRIGHTNESS, CONTRAST = 0.5, 0.25, 0.25
COLOURED, COLOUR, GAMMA = 0.4, 20.0, 1.25


@dataclass(frozen=True)
class Changes:
    """What happens to a batch: `maps` float64 ``[N, 2, 3]`` from pixels (x, y) of the new picture
    to those of the old one, and `tables` uint8 ``[N, 256, C]``, the new value for each old one.
    """

    maps: npt.NDArray[np.float64]
    tables: Array


class Augmenter:
    """Random changes to batches of one size: the same (seed, epoch) gives the same sequence.

    Call `start_epoch` before each epoch, so that a resumed training sees what an uninterrupted one
    saw.
    """

    def __init__(self, input_hw: HW, channels: int, seed: int) -> None:
        self._hw, self._channels, self._seed = input_hw, channels, seed
        self.start_epoch(0)

    def start_epoch(self, epoch: int) -> None:
        """Restart the random numbers for `epoch`, whatever was drawn before."""
        self._rng = np.random.default_rng((self._seed, epoch, 1))

    def draw(self, count: int) -> Changes:
        """The changes to the next `count` pictures."""
        maps = _maps(self._rng, count, self._hw)
        return Changes(maps, _tables(self._rng, count, self._channels))

    def batch(self, frames: Array, masks: Array) -> tuple[Array, Array]:
        """Frames uint8 ``[N, H, W, C]`` and masks uint8 ``[N, H, W]``, changed together, at the
        same size.

        What a shift or a rotation brings in from outside is 255 in the mask: it is not trained on.
        """
        changes = self.draw(len(frames))
        changed, moved = np.empty_like(frames), np.empty_like(masks)
        for place in range(len(frames)):
            frame = cv2.LUT(frames[place], changes.tables[place][None])
            changed[place] = _warp(frame, changes.maps[place], cv2.INTER_LINEAR, OUTSIDE).reshape(
                changed[place].shape
            )
            moved[place] = _warp(
                masks[place], changes.maps[place], cv2.INTER_NEAREST, IGNORE_INDEX
            )
        return changed, moved


def _warp(picture: Array, to_old: Any, interpolation: int, outside: int) -> Any:
    return cv2.warpAffine(
        picture,
        to_old,
        (picture.shape[1], picture.shape[0]),
        flags=interpolation | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=(outside, outside, outside),
    )


def _maps(rng: np.random.Generator, count: int, hw: HW) -> npt.NDArray[np.float64]:
    """Flip, zoom, turn about the middle, and shift, in one matrix a picture."""
    warped = rng.random(count) < WARPED
    zoom = np.where(warped, rng.uniform(*ZOOM, count), 1.0)
    turn = np.deg2rad(np.where(warped, rng.uniform(-TURN, TURN, count), 0.0))
    shift = np.where(warped, rng.uniform(-SHIFT, SHIFT, (2, count)), 0.0)
    flip = np.where(rng.random(count) < FLIPPED, -1.0, 1.0)
    middle = np.array([(hw[1] - 1) / 2, (hw[0] - 1) / 2])
    maps = np.empty((count, 2, 3))
    maps[:, 0, 0], maps[:, 0, 1] = flip * np.cos(turn) / zoom, flip * np.sin(turn) / zoom
    maps[:, 1, 0], maps[:, 1, 1] = -np.sin(turn) / zoom, np.cos(turn) / zoom
    moved_middle = middle + shift.T * (hw[1], hw[0])
    maps[:, :, 2] = middle - np.einsum("nij,nj->ni", maps[:, :, :2], moved_middle)
    return maps


def _tables(rng: np.random.Generator, count: int, channels: int) -> Array:
    """Brightness and contrast, then a shift of each colour; luma has none, and gets a gamma, as
    another sensor would give it.
    """
    values = np.arange(256.0)[None, :, None]
    bright = (rng.random(count) < BRIGHTENED)[:, None, None]
    contrast = 1 + bright * rng.uniform(-CONTRAST, CONTRAST, (count, 1, 1))
    brightness = bright * rng.uniform(-BRIGHTNESS, BRIGHTNESS, (count, 1, 1)) * 255
    values = (values * contrast + brightness).clip(0, 255)
    coloured = (rng.random(count) < COLOURED)[:, None, None]
    if channels == 1:
        gamma = np.where(coloured, GAMMA ** rng.uniform(-1, 1, (count, 1, 1)), 1.0)
        values = 255 * (values / 255) ** gamma
    else:
        values = values + coloured * rng.uniform(-COLOUR, COLOUR, (count, 1, channels))
    return values.clip(0, 255).round().astype(np.uint8)
