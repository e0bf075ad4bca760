"""Batches for training steps: gathered, augmented and normalized, on the training device.

On a CPU, OpenCV augments each picture while it is in the core's cache. On a GPU the data set is
kept in the device's memory, and a whole batch is augmented there at once; a user's own
augmentation always runs on the CPU.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from autoseg.core.records import IGNORE_INDEX
from autoseg.data.augment import OUTSIDE_GREY, Augmenter, Changes
from autoseg.data.cache import SplitArrays
from autoseg.data.user_augmentation import OwnAugmenter
from autoseg.networks.blocks import normalize

GPU_SHARE = 0.4  # of a GPU's free memory that a data set may take

Rows = npt.NDArray[np.intp]
MakeBatch = Callable[[Rows, npt.NDArray[np.bool_]], tuple[Tensor, Tensor]]


def batch_maker(
    data: SplitArrays, augmenter: Augmenter | OwnAugmenter, device: torch.device
) -> MakeBatch:
    """A function that makes a batch from row numbers ``[n]`` and the flags ``[n]`` of those to
    augment.

    It returns inputs float32 ``[n, C, H, W]`` and masks uint8 ``[n, H, W]`` on `device`.
    """
    if device.type == "cuda" and isinstance(augmenter, Augmenter) and _fits(data, device):
        return _resident_maker(data, augmenter, device)

    def make(rows: Rows, varied: npt.NDArray[np.bool_]) -> tuple[Tensor, Tensor]:
        frames, masks = data.batch(rows)
        if varied.any():
            frames[varied], masks[varied] = augmenter.batch(frames[varied], masks[varied])
        return normalize(torch.from_numpy(frames).to(device)), torch.from_numpy(masks).to(device)

    return make


def _fits(data: SplitArrays, device: torch.device) -> bool:
    free, _ = torch.cuda.mem_get_info(device)
    height, width = data.input_hw
    return len(data) * height * width * (data.channels + 1) < GPU_SHARE * free


def _resident_maker(data: SplitArrays, augmenter: Augmenter, device: torch.device) -> MakeBatch:
    frames, masks = (
        torch.empty((len(data), *data.input_hw, *more), dtype=torch.uint8, device=device)
        for more in ((data.channels,), ())
    )
    loaded = np.zeros(len(data), np.bool_)

    def make(rows: Rows, varied: npt.NDArray[np.bool_]) -> tuple[Tensor, Tensor]:
        missing = rows[~loaded[rows]]
        if len(missing):
            at = torch.from_numpy(missing).to(device)
            frames[at], masks[at] = (torch.from_numpy(a).to(device) for a in data.batch(missing))
            loaded[missing] = True
        places = torch.from_numpy(rows).to(device, non_blocking=True)
        chosen, truth = frames[places], masks[places]
        if varied.any():
            at = torch.from_numpy(np.flatnonzero(varied)).to(device, non_blocking=True)
            changes = augmenter.draw(int(varied.sum()))
            chosen[at], truth[at] = change(chosen[at], truth[at], changes)
        return normalize(chosen), truth

    return make


def change(frames: Tensor, masks: Tensor, changes: Changes) -> tuple[Tensor, Tensor]:
    """`Augmenter.batch` on tensors, uint8 ``[N, H, W, C]`` and ``[N, H, W]``, on any device.

    Frames differ from OpenCV's by the rounding of interpolation weights.
    """
    count, height, width, channels = frames.shape
    tables = torch.from_numpy(changes.tables).to(frames.device, non_blocking=True)
    flat = frames.reshape(count, height * width, channels).long()
    coloured = tables.gather(1, flat).reshape(frames.shape).permute(0, 3, 1, 2)
    grid = _grid(changes.maps, (height, width), frames.device)
    # grid_sample fills with 0, so values are shifted to make 0 the fill value.
    warped = _sample(coloured.float() - OUTSIDE_GREY, grid, "bilinear") + OUTSIDE_GREY
    moved = IGNORE_INDEX - _sample(IGNORE_INDEX - masks[:, None].float(), grid, "nearest")
    return warped.round().to(torch.uint8).permute(0, 2, 3, 1), moved[:, 0].to(torch.uint8)


def _grid(maps: npt.NDArray[np.float64], hw: tuple[int, int], device: torch.device) -> Tensor:
    """The source place of each new pixel in `grid_sample` units, float32 ``[N, H, W, 2]``."""
    to_old = torch.from_numpy(maps).to(device, torch.float32, non_blocking=True)
    rows = torch.arange(hw[0], device=device, dtype=torch.float32)
    columns = torch.arange(hw[1], device=device, dtype=torch.float32)
    y, x = torch.meshgrid(rows, columns, indexing="ij")
    places = torch.stack([x, y, torch.ones_like(x)]).reshape(3, -1)
    old = (to_old @ places).reshape(len(maps), 2, *hw).permute(0, 2, 3, 1)
    size = torch.tensor([hw[1], hw[0]], device=device, dtype=torch.float32)
    return (2 * old + 1) / size - 1


def _sample(maps: Tensor, grid: Tensor, mode: Any) -> Tensor:
    return functional.grid_sample(maps, grid, mode=mode, align_corners=False)
