"""A split at a network's size, and its original masks, cached on disk in shards.

Pictures are decoded once and resized once per size. Original pictures are kept too where all of
them are small; else they are decoded again for each size.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from autoseg.core.errors import InputError
from autoseg.core.units import HW
from autoseg.data.dataset import Array, Dataset, Sample
from autoseg.data.resize import VERSION as RESIZE_VERSION
from autoseg.data.resize import resize_frame, resize_mask
from autoseg.data.shards import Pair, ShardedPairs

# Changes with the layout of the files, so that files of older versions are not read.
VERSION = 2
# Originals of a split that take more are decoded again for each size.
MAX_ORIGINALS_BYTES = 512 * 2**20


@dataclass(frozen=True)
class SplitArrays:
    """A split at a network's size, in the order of the split's samples, read on demand."""

    input_hw: HW
    channels: int
    _pairs: ShardedPairs

    def __len__(self) -> int:
        return self._pairs.count

    def batch(self, rows: Sequence[int] | npt.NDArray[np.intp]) -> Pair:
        """Frames uint8 ``[n, H, W, C]`` and masks uint8 ``[n, H, W]`` of some samples, copied."""
        frames = np.empty((len(rows), *self.input_hw, self.channels), np.uint8)
        masks = np.empty((len(rows), *self.input_hw), np.uint8)
        for place, row in enumerate(rows):
            frames[place], masks[place] = self._pairs.pair(int(row))
        return frames, masks

    def frames(self, first: int | None = None) -> Iterator[Array]:
        """The frames uint8 ``[H, W, C]`` of the first or of all samples, one by one; read-only."""
        for row in range(len(self))[:first]:
            yield self._pairs.pair(row)[0]


@dataclass(frozen=True)
class Truths(Sequence[Array]):
    """The masks of a split at their original sizes, uint8 ``[H, W]``, read on demand."""

    _pairs: ShardedPairs
    _count: int

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: Any) -> Any:
        if not 0 <= index < len(self):
            raise IndexError(index)
        return self._pairs.pair(index)[1]


def arrays(dataset: Dataset, split: str, hw: HW, channels: int, cache_dir: Path) -> SplitArrays:
    """A split at `hw` with 1 or 3 channels, resized by `resize_frame`.

    Raises InputError for an unknown or empty split. Reading raises InputError for a picture that
    is missing or changed, and DeviceError for a cache that cannot be written.
    """
    originals = _originals(dataset, split, cache_dir)

    def make(index: int) -> Pair:
        frame, mask = originals.pair(index)
        return resize_frame(frame, hw, channels), resize_mask(mask, hw)

    name = f"{split}-{hw[0]}x{hw[1]}x{channels}"
    pair_bytes = hw[0] * hw[1] * (channels + 1)
    folder = _folder(dataset, cache_dir, name)
    return SplitArrays(hw, channels, ShardedPairs(folder, originals.count, pair_bytes, make))


def truths(dataset: Dataset, split: str, cache_dir: Path, first: int | None = None) -> Truths:
    """The masks of a split at their original sizes, uint8 ``[H, W]`` each, in the order of the
    split's samples: all of them, or the first. Raises as `arrays` does.
    """
    originals = _originals(dataset, split, cache_dir)
    count = len(range(originals.count)[:first])
    if originals.pair_bytes:
        return Truths(originals, count)

    def make(index: int) -> Pair:
        mask = originals.make(index)[1]
        return np.empty((*mask.shape, 0), np.uint8), mask

    folder = _folder(dataset, cache_dir, f"{split}-truth")
    pair_bytes = _pixels(dataset.splits[split]) // originals.count + 1
    return Truths(ShardedPairs(folder, originals.count, pair_bytes, make), count)


def _originals(dataset: Dataset, split: str, cache_dir: Path) -> ShardedPairs:
    """The pairs at their original sizes; stored only where they take little space."""
    samples = dataset.splits.get(split, ())
    if not samples:
        raise InputError(f"the data {dataset.name!r} has no pictures in the split {split!r}")
    whole = 4 * _pixels(samples)
    pair_bytes = whole // len(samples) + 1 if whole <= MAX_ORIGINALS_BYTES else 0
    folder = _folder(dataset, cache_dir, f"{split}-original")
    return ShardedPairs(folder, len(samples), pair_bytes, lambda row: dataset.read(samples[row]))


def _pixels(samples: Sequence[Sample]) -> int:
    return sum(sample.hw[0] * sample.hw[1] for sample in samples)


def _folder(dataset: Dataset, cache_dir: Path, name: str) -> Path:
    return cache_dir / f"{dataset.digest}-v{VERSION}-resize{RESIZE_VERSION}" / name
