"""Augmentation of a network's frames, as in the thesis: flip, crop, shift-scale-rotate,
brightness, colour.

Pictures already have the candidate's size, so crops are at the candidate's scale. The changes to a
batch are drawn together, as one affine map and one table of values per picture, so that each
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

# Training workers have one thread each; OpenCV's own pool would compete for the cores.
cv2.setNumThreads(0)

Floats = npt.NDArray[np.float64]
OUTSIDE_GREY = 127  # the middle of all values
P_FLIP = 0.5
P_WARP, MAX_SHIFT_SHARE, MAX_TURN_DEGREES = 0.75, 0.12, 15.0
ZOOM_RANGE = (0.85, 1.3)  # a zoom of 1.3 shows 60 % of the picture
P_BRIGHTEN, MAX_BRIGHTNESS_SHARE, MAX_CONTRAST_SHARE = 0.5, 0.25, 0.25
P_COLOUR, MAX_COLOUR_SHIFT, MAX_GAMMA = 0.4, 20.0, 1.25


@dataclass(frozen=True)
class Changes:
    """The changes to a batch: `maps` float64 ``[N, 2, 3]`` from pixels (x, y) of the new picture
    to those of the old one, and `tables` uint8 ``[N, 256, C]``, the new value for each old one.
    """

    maps: Floats
    tables: Array


class Augmenter:
    """Random changes to batches of one size: the same (seed, epoch) gives the same sequence.

    Call `start_epoch` before each epoch, so that a resumed training draws the same changes as an
    uninterrupted one.
    """

    def __init__(self, input_hw: HW, channels: int, seed: int) -> None:
        self._hw, self._channels, self._seed = input_hw, channels, seed
        self.start_epoch(0)

    def start_epoch(self, epoch: int) -> None:
        """Restart the random numbers for `epoch`, independent of earlier draws."""
        self._rng = np.random.default_rng((self._seed, epoch, 1))

    def draw(self, count: int) -> Changes:
        """The changes to the next `count` pictures."""
        maps = _maps(self._rng, count, self._hw)
        return Changes(maps, _tables(self._rng, count, self._channels))

    def draw_for(self, varied: npt.NDArray[np.bool_]) -> Changes:
        """The changes to pictures of which those flagged ``[n]`` are changed, and no others."""
        drawn = self.draw(int(varied.sum()))
        maps = np.tile(np.eye(2, 3), (len(varied), 1, 1))
        values = np.arange(256, dtype=np.uint8)[:, None]
        tables = np.tile(values, (len(varied), 1, self._channels))
        maps[varied], tables[varied] = drawn.maps, drawn.tables
        return Changes(maps, tables)

    def batch(self, frames: Array, masks: Array) -> tuple[Array, Array]:
        """Frames uint8 ``[N, H, W, C]`` and masks uint8 ``[N, H, W]``, changed together, at the
        same size; pixels that come in from outside are 255 (ignore) in the mask.
        """
        changes = self.draw(len(frames))
        changed, moved = np.empty_like(frames), np.empty_like(masks)
        for place, (table, to_old) in enumerate(zip(changes.tables, changes.maps, strict=True)):
            frame = cv2.LUT(frames[place], table[None])
            warped = _warp(frame, to_old, cv2.INTER_LINEAR, OUTSIDE_GREY)
            changed[place] = warped.reshape(changed[place].shape)
            moved[place] = _warp(masks[place], to_old, cv2.INTER_NEAREST, IGNORE_INDEX)
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


def _maps(rng: np.random.Generator, count: int, hw: HW) -> Floats:
    """Flip, zoom, turn about the middle, and shift, in one matrix per picture."""
    warped = rng.random(count) < P_WARP
    zoom = np.where(warped, rng.uniform(*ZOOM_RANGE, count), 1.0)
    turn = np.deg2rad(np.where(warped, _within(rng, MAX_TURN_DEGREES, count), 0.0))
    shift = np.where(warped, _within(rng, MAX_SHIFT_SHARE, (2, count)), 0.0)
    flip = np.where(rng.random(count) < P_FLIP, -1.0, 1.0)
    middle = np.array([(hw[1] - 1) / 2, (hw[0] - 1) / 2])
    maps = np.empty((count, 2, 3))
    maps[:, 0, 0], maps[:, 0, 1] = flip * np.cos(turn) / zoom, flip * np.sin(turn) / zoom
    maps[:, 1, 0], maps[:, 1, 1] = -np.sin(turn) / zoom, np.cos(turn) / zoom
    moved_middle = middle + shift.T * (hw[1], hw[0])
    maps[:, :, 2] = middle - np.einsum("nij,nj->ni", maps[:, :, :2], moved_middle)
    return maps


def _tables(rng: np.random.Generator, count: int, channels: int) -> Array:
    """Brightness and contrast, then a shift of each colour channel; for luma a gamma instead."""
    values = np.arange(256.0)[None, :, None]
    bright = (rng.random(count) < P_BRIGHTEN)[:, None, None]
    contrast = 1 + bright * _within(rng, MAX_CONTRAST_SHARE, (count, 1, 1))
    brightness = bright * _within(rng, MAX_BRIGHTNESS_SHARE, (count, 1, 1)) * 255
    values = (values * contrast + brightness).clip(0, 255)
    coloured = (rng.random(count) < P_COLOUR)[:, None, None]
    if channels == 1:
        gamma = np.where(coloured, MAX_GAMMA ** _within(rng, 1, (count, 1, 1)), 1.0)
        values = 255 * (values / 255) ** gamma
    else:
        values = values + coloured * _within(rng, MAX_COLOUR_SHIFT, (count, 1, channels))
    return values.clip(0, 255).round().astype(np.uint8)


def _within(rng: np.random.Generator, bound: float, size: int | tuple[int, ...]) -> Floats:
    return rng.uniform(-bound, bound, size)
