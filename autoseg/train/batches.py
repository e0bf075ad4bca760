"""Batches for training steps: gathered, augmented and normalized, on the training device.

On a CPU, OpenCV augments each picture while it is in the core's cache. On a GPU the data set is
kept in the device's memory, and a whole batch is augmented there at once; a user's own
augmentation always runs on the CPU.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from autoseg.core.records import IGNORE_INDEX
from autoseg.core.units import HW
from autoseg.data.augment import OUTSIDE_GREY, Augmenter, Changes
from autoseg.data.cache import SplitArrays
from autoseg.data.user_augmentation import OwnAugmenter
from autoseg.networks.blocks import normalize

GPU_SHARE = 0.4  # of a training's part of a GPU's memory, for its data set
LOAD_PICTURES = 256  # copied to a GPU at a time

Rows = npt.NDArray[np.intp]
Flags = npt.NDArray[np.bool_]
Batch = tuple[Tensor, Tensor]
MakeBatches = Callable[[Rows, Flags], Iterator[Batch]]


def batch_maker(
    data: SplitArrays,
    augmenter: Augmenter | OwnAugmenter,
    device: torch.device,
    *,
    size: int,
    memory_share: float = 1.0,
    alive: Callable[[], None] = lambda: None,
) -> MakeBatches:
    """A function that makes the batches of an epoch, of `size` pictures each, from its row numbers
    ``[n]`` and the flags ``[n]`` of those to augment.

    It gives inputs float32 ``[n, C, H, W]`` and masks uint8 ``[n, H, W]`` on `device`, of whose
    memory the training may take `memory_share`. `alive` is called while it
    decodes pictures ahead.
    """
    if device.type == "cuda" and isinstance(augmenter, Augmenter):
        free, total = torch.cuda.mem_get_info(device)
        if _data_bytes(data) < GPU_SHARE * min(free, memory_share * total):
            return resident_maker(data, augmenter, device, size, alive)

    def make(rows: Rows, varied: Flags) -> Iterator[Batch]:
        for here in _slices(len(rows), size):
            frames, masks = data.batch(rows[here])
            if (some := varied[here]).any():
                frames[some], masks[some] = augmenter.batch(frames[some], masks[some])
            inputs = normalize(torch.from_numpy(frames).to(device))
            yield inputs, torch.from_numpy(masks).to(device)

    return make


def _data_bytes(data: SplitArrays) -> int:
    height, width = data.input_hw
    return len(data) * height * width * (data.channels + 1)


def resident_maker(
    data: SplitArrays,
    augmenter: Augmenter,
    device: torch.device,
    size: int,
    alive: Callable[[], None] = lambda: None,
) -> MakeBatches:
    """`batch_maker` with the data set in the memory of `device`.

    What an epoch needs of the host is copied before its first batch, so that no step waits.
    """
    frames, masks = (
        torch.empty((len(data), *data.input_hw, *more), dtype=torch.uint8, device=device)
        for more in ((data.channels,), ())
    )
    loaded = np.zeros(len(data), np.bool_)

    def make(rows: Rows, varied: Flags) -> Iterator[Batch]:
        missing = np.unique(rows[~loaded[rows]])
        for here in _slices(len(missing), LOAD_PICTURES):
            at = torch.from_numpy(missing[here]).to(device)
            pair = data.batch(missing[here])
            frames[at], masks[at] = (torch.from_numpy(part).to(device) for part in pair)
            alive()
        loaded[missing] = True
        places = torch.from_numpy(rows).to(device)
        drawn = augmenter.draw_for(varied) if varied.any() else None
        changes = None if drawn is None else on_device(drawn, data.input_hw, device)
        return batches(places, changes)

    def batches(places: Tensor, changes: Batch | None) -> Iterator[Batch]:
        for here in _slices(len(places), size):
            chosen, truth = frames[places[here]], masks[places[here]]
            if changes is not None:
                chosen, truth = change(chosen, truth, *(part[here] for part in changes))
            yield normalize(chosen), truth

    return make


def _slices(count: int, size: int) -> Iterator[slice]:
    return (slice(start, start + size) for start in range(0, count, size))


def on_device(changes: Changes, hw: HW, device: torch.device) -> tuple[Tensor, Tensor]:
    """Changes as `change` takes them: maps in the units of `grid_sample`, where -1 and 1 are the
    borders of a picture of `hw`, float32 ``[N, 2, 3]``; and tables float32 ``[N, 256, C]`` of
    what a value exceeds the grey of the outside by.
    """
    height, width = hw
    units = np.array([[2 / width, 0, 1 / width - 1], [0, 2 / height, 1 / height - 1], [0, 0, 1]])
    last = np.tile([0.0, 0.0, 1.0], (len(changes.maps), 1, 1))
    maps = (units @ np.concatenate([changes.maps, last], 1) @ np.linalg.inv(units))[:, :2]
    return (
        torch.from_numpy(maps.astype(np.float32)).to(device),
        torch.from_numpy(changes.tables).to(device, torch.float32) - OUTSIDE_GREY,
    )


def change(frames: Tensor, masks: Tensor, maps: Tensor, tables: Tensor) -> tuple[Tensor, Tensor]:
    """`Augmenter.batch` on tensors, uint8 ``[N, H, W, C]`` and ``[N, H, W]``, on any device, with
    the changes that `on_device` gives.

    Frames differ from OpenCV's by the rounding of interpolation weights.
    """
    count, height, width, channels = frames.shape
    flat = frames.reshape(count, height * width, channels).long()
    coloured = tables.gather(1, flat).reshape(frames.shape).permute(0, 3, 1, 2)
    centres = _centres(height, width, frames.device).expand(count, -1, -1)
    grid = centres.bmm(maps.mT).view(count, height, width, 2)
    # grid_sample fills with 0, so values are shifted to make 0 the fill value.
    warped = _sample(coloured, grid, "bilinear") + (OUTSIDE_GREY + 0.5)
    moved = IGNORE_INDEX - _sample(float(IGNORE_INDEX) - masks[:, None], grid, "nearest")
    # The conversion truncates.
    return warped.to(torch.uint8).permute(0, 2, 3, 1), moved[:, 0].to(torch.uint8)


@lru_cache(maxsize=4)
def _centres(height: int, width: int, device: torch.device) -> Tensor:
    """The centres of pixels, ``[H * W, 3]``: x and y in the units of `grid_sample`, and 1."""
    same = torch.eye(2, 3, device=device)[None]
    places = functional.affine_grid(same, [1, 1, height, width], align_corners=False)
    return functional.pad(places.reshape(-1, 2), (0, 1), value=1.0)


def _sample(maps: Tensor, grid: Tensor, mode: Any) -> Tensor:
    return functional.grid_sample(maps, grid, mode=mode, align_corners=False)
