"""Augmentation of a network's frames, as in the thesis: flip, crop, shift-scale-rotate,
brightness, colour.

Pictures are already at the candidate's size, so a crop is one at the candidate's scale.
"""

from __future__ import annotations

import os

# albumentations asks the network for its newest version at import unless told not to.
os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"

import albumentations
import cv2
import numpy as np

from autoseg.data.dataset import Array
from autoseg.records import HW, IGNORE_INDEX

# Training workers have one thread each; OpenCV's own pool would fight them for it.
cv2.setNumThreads(0)


class Augmenter:
    """Random changes to batches of one size: the same (seed, epoch) gives the same sequence.

    Call `start_epoch` before each epoch, so that a resumed training sees what an uninterrupted one
    saw.
    """

    def __init__(self, input_hw: HW, channels: int, seed: int) -> None:
        self._shape = (*input_hw, channels)
        self._seed = seed
        self._compose = albumentations.Compose(_transforms(channels), seed=seed)

    def start_epoch(self, epoch: int) -> None:
        """Restart the random numbers for `epoch`, whatever was drawn before."""
        words = np.random.SeedSequence([self._seed, epoch]).generate_state(1)
        self._compose.set_random_seed(int(words[0]))

    def batch(self, frames: Array, masks: Array) -> tuple[Array, Array]:
        """Frames uint8 ``[N, H, W, C]`` and masks uint8 ``[N, H, W]``, changed together, at the
        same size.

        What a shift or a rotation brings in from outside is 255 in the mask: it is not trained on.
        """
        pairs = [self._compose(image=f, mask=m) for f, m in zip(frames, masks, strict=True)]
        changed = np.stack([pair["image"] for pair in pairs]).reshape(-1, *self._shape)
        return changed, np.stack([pair["mask"] for pair in pairs])


def _transforms(
    channels: int,
) -> list[albumentations.BasicTransform | albumentations.BaseCompose]:
    brightness = albumentations.RandomBrightnessContrast(
        brightness_limit=0.25, contrast_limit=0.25, p=0.5
    )
    colour = albumentations.RGBShift(r_shift_limit=20, g_shift_limit=20, b_shift_limit=20, p=0.4)
    # Luma has no colour to shift; a gamma changes it instead, as another sensor would.
    grey = albumentations.RandomGamma(gamma_limit=(80, 125), p=0.4)
    return [
        albumentations.HorizontalFlip(p=0.5),
        _warp(),
        brightness,
        colour if channels == 3 else grey,
    ]


def _warp() -> albumentations.Affine:
    """Crop and shift-scale-rotate in one: a zoom of 1.3 shows 60 % of the picture.

    One interpolation blurs less than two, and a warp moves frame and mask alike, where a resize by
    OpenCV's nearest neighbour would move the mask alone by up to half a pixel.
    """
    return albumentations.Affine(
        scale=(0.85, 1.3),
        keep_ratio=True,
        translate_percent=(-0.12, 0.12),
        rotate=(-15, 15),
        interpolation=cv2.INTER_LINEAR,
        mask_interpolation=cv2.INTER_NEAREST,
        border_mode=cv2.BORDER_CONSTANT,
        fill=127,
        fill_mask=IGNORE_INDEX,
        p=0.75,
    )
