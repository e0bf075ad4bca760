"""Decoded pictures on disk: read once, resized once a size, then memory-mapped.

A set holds one split at one size, in shards of SHARD pictures that are built when they are first
needed: a subset costs no more than it uses. Sets are bounded on disk: the longest unused go first,
and what finds no room is decoded each time. A shard is written under a name of its own and then
renamed, one process builds it while others wait, and each process that opens it verifies its
checksum, so what a crash, a full disk or a bad sector left is noticed and built again.
"""

from __future__ import annotations

import fcntl
import logging
import os
import secrets
import shutil
import struct
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from autoseg.core.errors import DeviceError, InputError
from autoseg.core.units import HW
from autoseg.data.dataset import Array, Dataset, Sample
from autoseg.data.resize import resize_frame, resize_mask

log = logging.getLogger(__name__)

# Changes whenever the resize or the layout of the files does, so that old files are never read as
# new ones.
VERSION = 2
SHARD = 256
# Above this, originals are decoded again for each size instead of being kept.
MAX_ORIGINALS_BYTES = 512 * 2**20
MAX_BYTES = 64 * 2**30
FREE_SHARE = 0.5  # of what is free on the disk, that the cache may take
_FOOT = struct.Struct("<8sQI")  # magic, pairs, checksum of all that stands before it
_MAGIC = b"autoseg\x02"
_THREADS = min(4, os.cpu_count() or 1)
_IN_USE_S = 3600.0
_verified: set[tuple[str, int, int, int]] = set()

Pair = tuple[Array, Array]


@dataclass(frozen=True)
class _Shard:
    """Pairs end to end: each a frame ``[h, w, c]`` (nothing for c = 0) and a mask ``[h, w]``."""

    shapes: npt.NDArray[np.int64]
    ends: npt.NDArray[np.int64]
    data: Array

    @classmethod
    def of(cls, shapes: npt.NDArray[np.int64], data: Array) -> _Shard:
        pixels = shapes[:, 0] * shapes[:, 1]
        ends = np.cumsum(np.stack([pixels * shapes[:, 2], pixels], 1).ravel())
        return cls(shapes, ends, data)

    def pair(self, place: int) -> Pair:
        height, width, channels = self.shapes[place].tolist()
        middle, end = self.ends[2 * place : 2 * place + 2].tolist()
        start = middle - height * width * channels
        frame = self.data[start:middle].reshape(height, width, channels)
        return frame, self.data[middle:end].reshape(height, width)


@dataclass
class _Set:
    """The pairs of one split at one size, about `pair_bytes` each; `make` gives a pair that no
    shard holds, and 0 bytes means that none is kept.
    """

    folder: Path
    count: int
    pair_bytes: int
    make: Callable[[int], Pair]
    shards: dict[int, _Shard | None] = field(default_factory=dict)

    def pair(self, index: int) -> Pair:
        number = index // SHARD
        if number not in self.shards:
            self.shards[number] = self._open(number) if self.pair_bytes else None
        shard = self.shards[number]
        return self.make(index) if shard is None else shard.pair(index % SHARD)

    def _open(self, number: int) -> _Shard | None:
        """The shard from disk, built where it is missing or damaged; None where it has no room."""
        path = self.folder / f"{number:05d}.bin"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            os.utime(self.folder)
            shard = _load(path) or self._build(path, number)
        except OSError as error:
            raise DeviceError(
                f"the cache file {path} cannot be written ({error.strerror or error}): make room"
                " or allow writing there"
            ) from error
        return shard

    def _build(self, path: Path, number: int) -> _Shard | None:
        rows = range(number * SHARD, min(self.count, (number + 1) * SHARD))
        with _alone(self.folder):
            if (shard := _load(path)) is not None:  # another process was faster
                return shard
            if not _make_room(self.folder, len(rows) * self.pair_bytes):
                log.warning("no room to cache %s: its pictures are decoded each time", path)
                return None
            _write(path, _in_order(self.make, rows))
        if (shard := _load(path)) is None:
            raise OSError("it does not keep what is written to it")
        return shard


@dataclass(frozen=True)
class SplitArrays:
    """A split at a network's size, in the order of the split's samples, read as it is needed."""

    input_hw: HW
    channels: int
    _set: _Set

    def __len__(self) -> int:
        return self._set.count

    def batch(self, rows: Sequence[int] | npt.NDArray[np.intp]) -> Pair:
        """Frames uint8 ``[n, H, W, C]`` and masks uint8 ``[n, H, W]`` of some samples,
        as new arrays.
        """
        frames = np.empty((len(rows), *self.input_hw, self.channels), np.uint8)
        masks = np.empty((len(rows), *self.input_hw), np.uint8)
        for place, row in enumerate(rows):
            frames[place], masks[place] = self._set.pair(int(row))
        return frames, masks

    def frames(self, first: int | None = None) -> Iterator[Array]:
        """The frames uint8 ``[H, W, C]`` of the first or of all samples, one by one; read-only."""
        for row in range(_at_most(first, len(self))):
            yield self._set.pair(row)[0]


@dataclass(frozen=True)
class Truths(Sequence[Array]):
    """The masks of a split at their original sizes, uint8 ``[H, W]``, read as they are needed."""

    _set: _Set
    _count: int

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: Any) -> Any:
        if not 0 <= index < len(self):
            raise IndexError(index)
        return self._set.pair(index)[1]


def arrays(
    dataset: Dataset, split: str, input_hw: HW, channels: int, cache_dir: Path
) -> SplitArrays:
    """A split at `input_hw` with 1 or 3 channels, through the one resize.

    Raises InputError for an unknown or empty split. Reading raises InputError where a picture is
    gone or changed, and DeviceError where the cache cannot be written.
    """
    originals = _originals(dataset, split, cache_dir)

    def make(index: int) -> Pair:
        frame, mask = originals.pair(index)
        return resize_frame(frame, input_hw, channels), resize_mask(mask, input_hw)

    name = f"{split}-{input_hw[0]}x{input_hw[1]}x{channels}"
    pair_bytes = input_hw[0] * input_hw[1] * (channels + 1)
    folder = _folder(dataset, cache_dir, name)
    return SplitArrays(input_hw, channels, _Set(folder, originals.count, pair_bytes, make))


def truths(dataset: Dataset, split: str, cache_dir: Path, first: int | None = None) -> Truths:
    """The masks of a split at their original sizes, uint8 ``[H, W]`` each, in the order of the
    split's samples: all of them, or the first. Raises as `arrays` does.
    """
    originals = _originals(dataset, split, cache_dir)
    count = _at_most(first, originals.count)
    if originals.pair_bytes:
        return Truths(originals, count)

    def make(index: int) -> Pair:
        mask = originals.make(index)[1]
        return np.empty((*mask.shape, 0), np.uint8), mask

    folder = _folder(dataset, cache_dir, f"{split}-truth")
    pixels = _pixels(dataset.splits[split])
    return Truths(_Set(folder, originals.count, pixels // originals.count + 1, make), count)


def _at_most(first: int | None, count: int) -> int:
    return count if first is None else min(first, count)


def _originals(dataset: Dataset, split: str, cache_dir: Path) -> _Set:
    """The pairs as they are read; kept where all of them are small, for the next size to come."""
    samples = dataset.splits.get(split, ())
    if not samples:
        raise InputError(f"the data {dataset.name!r} has no pictures in the split {split!r}")
    whole = 4 * _pixels(samples)
    pair_bytes = whole // len(samples) + 1 if whole <= MAX_ORIGINALS_BYTES else 0
    folder = _folder(dataset, cache_dir, f"{split}-original")
    return _Set(folder, len(samples), pair_bytes, lambda index: dataset.read(samples[index]))


def _pixels(samples: Sequence[Sample]) -> int:
    return sum(sample.hw[0] * sample.hw[1] for sample in samples)


def _folder(dataset: Dataset, cache_dir: Path, name: str) -> Path:
    return cache_dir / f"{dataset.digest}-v{VERSION}" / name


def _in_order(function: Callable[[int], Pair], items: range) -> Iterator[Pair]:
    """`map` in threads (Pillow works without the interpreter's lock), only a few items ahead."""
    with ThreadPoolExecutor(_THREADS) as threads:
        for start in range(0, len(items), 4 * _THREADS):
            yield from threads.map(function, items[start : start + 4 * _THREADS])


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """One process at a time; the kernel frees the lock of one that dies."""
    with (folder / ".lock").open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for draft in folder.glob(".*.draft"):  # of a process that died
            draft.unlink(missing_ok=True)
        yield


def _write(path: Path, pairs: Iterator[Pair]) -> None:
    """The pairs end to end, their shapes, and a checksum; whole under its name, or not there."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}.draft")
    shapes: list[tuple[int, ...]] = []
    try:
        with draft.open("wb") as file:
            checksum = 0
            for frame, mask in pairs:
                shapes.append(frame.shape)
                for part in (frame, mask):
                    checksum = zlib.crc32(data := part.tobytes(), checksum)
                    file.write(data)
            file.write(data := np.array(shapes, np.int64).tobytes())
            file.write(_FOOT.pack(_MAGIC, len(shapes), zlib.crc32(data, checksum)))
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def _load(path: Path) -> _Shard | None:
    """The shard, memory-mapped; None where the file is missing or not what was written."""
    try:
        data: Array = np.memmap(path, np.uint8, mode="r")
    except (OSError, ValueError):
        return None
    body = len(data) - _FOOT.size
    magic, count, checksum = _FOOT.unpack(data[body:].tobytes()) if body >= 0 else (b"", 0, 0)
    if magic != _MAGIC or not _intact(path, data[:body], checksum):
        log.warning("%s is damaged and is built again", path)
        return None
    start = body - count * 3 * 8
    shapes = np.frombuffer(data[start:body].tobytes(), np.int64).reshape(count, 3)
    return _Shard.of(shapes, data[:start])


def _intact(path: Path, body: Array, checksum: int) -> bool:
    """Whether the checksum holds; verified once a process for a file that nobody wrote since."""
    stat = path.stat()
    known = (str(path), stat.st_ino, stat.st_mtime_ns, stat.st_size)
    if known not in _verified and zlib.crc32(body.data) == checksum:
        _verified.add(known)
    return known in _verified


def _make_room(folder: Path, wanted: int) -> bool:
    """Whether `wanted` bytes fit below the bound, after sets that nobody uses made way.

    What another process has mapped stays readable to it when it is removed here.
    """
    root = folder.parent.parent
    sets = sorted((p for p in root.glob("*/*") if p.is_dir()), key=lambda p: p.stat().st_mtime)
    sizes = {p: sum(f.stat().st_size for f in p.glob("*.bin")) for p in sets}
    used = sum(sizes.values())
    limit = min(MAX_BYTES, FREE_SHARE * (shutil.disk_usage(root).free + used))
    for oldest in sets:
        if used + wanted <= limit or time.time() - oldest.stat().st_mtime < _IN_USE_S:
            break
        shutil.rmtree(oldest, ignore_errors=True)
        used -= sizes[oldest]
    return used + wanted <= limit
