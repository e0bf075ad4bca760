"""A split at a network's size, and its original masks, cached on disk in shards.

Pictures are decoded once and resized once per size. Original pictures are kept too where all of
them are small; else they are decoded again for each size.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
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
from autoseg.data.shards import FetchedPairs, Pair, Pairs, ShardArrays, ShardedPairs, joined

# Changes with the layout of the files, so that files of older versions are not read.
VERSION = 2
# Originals of a split that take more are decoded again for each size.
MAX_ORIGINALS_BYTES = 512 * 2**20


@dataclass(frozen=True)
class ShardKey:
    """The name of a shard of a split: its number, input size and channels; the shards of the
    truths at their original sizes have None and 0.
    """

    split: str
    hw: HW | None
    channels: int
    number: int


# Gives shards where the files of the data and the cache are not: see `shard_arrays`.
FetchShard = Callable[[ShardKey], ShardArrays]


@dataclass(frozen=True)
class SplitArrays:
    """A split at a network's size, in the order of the split's samples, read on demand."""

    input_hw: HW
    channels: int
    _pairs: Pairs

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

    _pairs: Pairs
    _count: int

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: Any) -> Any:
        if not 0 <= index < len(self):
            raise IndexError(index)
        return self._pairs.pair(index)[1]


def arrays(
    dataset: Dataset,
    split: str,
    hw: HW,
    channels: int,
    cache_dir: Path,
    fetch: FetchShard | None = None,
) -> SplitArrays:
    """A split at `hw` with 1 or 3 channels, resized by `resize_frame`.

    With `fetch` no file is touched. Raises InputError for an unknown or empty split. Reading
    raises InputError for a picture that is missing or changed, and DeviceError for a cache that
    cannot be written.
    """
    if fetch is not None:
        return SplitArrays(hw, channels, _fetched(dataset, split, hw, channels, fetch))
    return SplitArrays(hw, channels, _resized(dataset, split, hw, channels, cache_dir))


def truths(
    dataset: Dataset,
    split: str,
    cache_dir: Path,
    first: int | None = None,
    fetch: FetchShard | None = None,
) -> Truths:
    """The masks of a split at their original sizes, uint8 ``[H, W]`` each, in the order of the
    split's samples: all of them, or the first. `fetch` and errors are as in `arrays`.
    """
    pairs: Pairs
    if fetch is not None:
        pairs = _fetched(dataset, split, None, 0, fetch)
    else:
        pairs = _originals(dataset, split, cache_dir)
        if not pairs.pair_bytes:
            pairs = _truths_alone(dataset, split, cache_dir)
    return Truths(pairs, len(range(pairs.count)[:first]))


def shard_arrays(dataset: Dataset, cache_dir: Path, key: ShardKey) -> ShardArrays:
    """What `fetch` has to give for a key: from the disk's cache where it is there, else made.

    Raises as `arrays` does.
    """
    if key.hw is not None:
        pairs = _resized(dataset, key.split, key.hw, key.channels, cache_dir)
        return pairs.arrays(key.number)
    originals = _originals(dataset, key.split, cache_dir)
    if not originals.pair_bytes:
        return _truths_alone(dataset, key.split, cache_dir).arrays(key.number)
    return joined(_mask_alone(originals.pair(row)) for row in originals.rows(key.number))


def _resized(dataset: Dataset, split: str, hw: HW, channels: int, cache_dir: Path) -> ShardedPairs:
    originals = _originals(dataset, split, cache_dir)

    def make(index: int) -> Pair:
        frame, mask = originals.pair(index)
        return resize_frame(frame, hw, channels), resize_mask(mask, hw)

    name = f"{split}-{hw[0]}x{hw[1]}x{channels}"
    pair_bytes = hw[0] * hw[1] * (channels + 1)
    folder = _folder(dataset, cache_dir, name)
    return ShardedPairs(folder, originals.count, pair_bytes, make)


def _truths_alone(dataset: Dataset, split: str, cache_dir: Path) -> ShardedPairs:
    """The masks at their original sizes, without frames: for originals that are not stored."""
    originals = _originals(dataset, split, cache_dir)
    folder = _folder(dataset, cache_dir, f"{split}-truth")
    pair_bytes = _pixels(dataset.splits[split]) // originals.count + 1
    return ShardedPairs(
        folder, originals.count, pair_bytes, lambda row: _mask_alone(originals.make(row))
    )


def _mask_alone(pair: Pair) -> Pair:
    mask = pair[1]
    return np.empty((*mask.shape, 0), np.uint8), mask


def _fetched(
    dataset: Dataset, split: str, hw: HW | None, channels: int, fetch: FetchShard
) -> FetchedPairs:
    count = len(_samples(dataset, split))
    return FetchedPairs(count, lambda number: fetch(ShardKey(split, hw, channels, number)))


def _samples(dataset: Dataset, split: str) -> Sequence[Sample]:
    samples = dataset.splits.get(split, ())
    if not samples:
        raise InputError(f"the data {dataset.name!r} has no pictures in the split {split!r}")
    return samples


def _originals(dataset: Dataset, split: str, cache_dir: Path) -> ShardedPairs:
    """The pairs at their original sizes; stored only where they take little space."""
    samples = _samples(dataset, split)
    whole = 4 * _pixels(samples)
    pair_bytes = whole // len(samples) + 1 if whole <= MAX_ORIGINALS_BYTES else 0
    folder = _folder(dataset, cache_dir, f"{split}-original")
    return ShardedPairs(folder, len(samples), pair_bytes, lambda row: dataset.read(samples[row]))


def _pixels(samples: Sequence[Sample]) -> int:
    return sum(sample.hw[0] * sample.hw[1] for sample in samples)


def _folder(dataset: Dataset, cache_dir: Path, name: str) -> Path:
    return cache_dir / f"{dataset.digest}-v{VERSION}-resize{RESIZE_VERSION}" / name
