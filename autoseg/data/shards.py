"""Pairs of frames and masks in shards: memory-mapped from disk, or fetched as arrays.

Shards are built when they are first needed: a subset costs no more than it uses. A shard is
written under a temporary name and then renamed; one process builds it while others wait; each
process that opens it verifies its checksum, so that files damaged by a crash, a full disk or a bad
sector are detected and built again. The disk space is bounded: the least recently used folders are
removed first, and pairs that do not fit are made each time.
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
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from autoseg.core.cpus import usable_cpus
from autoseg.core.errors import DeviceError
from autoseg.data.dataset import Array

log = logging.getLogger(__name__)

SHARD_PAIRS = 256
MAX_CACHE_BYTES = 64 * 2**30
MAX_SHARE_OF_FREE = 0.5  # of the free disk space, for the cache
# Folders that were used more recently than this are never removed.
MIN_UNUSED_S = 3600.0
_FOOTER = struct.Struct("<8sQI")  # magic, number of pairs, checksum of all bytes before it
_MAGIC = b"autoseg\x02"
_MAX_THREADS = min(4, usable_cpus())
_verified: set[tuple[str, int, int, int]] = set()

Pair = tuple[Array, Array]
# Shapes ``[n, 3]`` of frames (h, w, c), and all pixels of the pairs end to end.
ShardArrays = tuple[npt.NDArray[np.int64], Array]


class Pairs(Protocol):
    """Pairs of a frame uint8 ``[h, w, c]`` and a mask uint8 ``[h, w]``, read on demand."""

    @property
    def count(self) -> int: ...

    def pair(self, index: int) -> Pair:
        """The pair of an index; read-only."""


@dataclass(frozen=True)
class _Shard:
    """Pairs end to end: each a frame ``[h, w, c]`` (empty for c = 0) and a mask ``[h, w]``."""

    shapes: npt.NDArray[np.int64]
    data: Array

    @cached_property
    def ends(self) -> npt.NDArray[np.int64]:
        pixels = self.shapes[:, 0] * self.shapes[:, 1]
        return np.cumsum(np.stack([pixels * self.shapes[:, 2], pixels], 1).ravel())

    def pair(self, place: int) -> Pair:
        height, width, channels = self.shapes[place].tolist()
        middle, end = self.ends[2 * place : 2 * place + 2].tolist()
        start = middle - height * width * channels
        frame = self.data[start:middle].reshape(height, width, channels)
        return frame, self.data[middle:end].reshape(height, width)


@dataclass
class ShardedPairs:
    """`count` pairs of about `pair_bytes` each, in the shards of a folder.

    `make` gives the pair of an index where no shard holds it; 0 bytes: no pair is stored.
    """

    folder: Path
    count: int
    pair_bytes: int
    make: Callable[[int], Pair]
    shards: dict[int, _Shard | None] = field(default_factory=dict)

    def pair(self, index: int) -> Pair:
        """A frame uint8 ``[h, w, c]`` and a mask uint8 ``[h, w]``. Raises DeviceError if the
        folder cannot be written, and the errors of `make`.
        """
        shard = self._shard(index // SHARD_PAIRS)
        return self.make(index) if shard is None else shard.pair(index % SHARD_PAIRS)

    def arrays(self, number: int) -> ShardArrays:
        """A shard as plain arrays, to be sent elsewhere; made in memory where it is not stored."""
        shard = self._shard(number)
        if shard is None:
            return joined(_in_order(self.make, self.rows(number)))
        return shard.shapes, np.asarray(shard.data)  # a memmap would be pickled in its own way

    def _shard(self, number: int) -> _Shard | None:
        if number not in self.shards:
            self.shards[number] = self._open(number) if self.pair_bytes else None
        return self.shards[number]

    def rows(self, number: int) -> range:
        """The indices of the pairs in a shard."""
        return range(number * SHARD_PAIRS, min(self.count, (number + 1) * SHARD_PAIRS))

    def _open(self, number: int) -> _Shard | None:
        """The shard from disk, built if it is missing or damaged; None if there is no room."""
        path = self.folder / f"{number:05d}.bin"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            os.utime(self.folder)
            shard = _load(path) or self._build(path, number)
        except OSError as error:
            told = f"the cache file {path} cannot be written ({error.strerror or error})"
            raise DeviceError(f"{told}: make room or allow writing there") from error
        return shard

    def _build(self, path: Path, number: int) -> _Shard | None:
        rows = self.rows(number)
        with _locked(self.folder):
            if (shard := _load(path)) is not None:  # built by another process meanwhile
                return shard
            if not _make_room(self.folder, len(rows) * self.pair_bytes):
                log.warning("no room to cache %s: its pictures are decoded each time", path)
                return None
            _write(path, _in_order(self.make, rows))
        if (shard := _load(path)) is None:
            raise OSError("it does not keep what is written to it")
        return shard


@dataclass
class FetchedPairs:
    """`count` pairs in shards that `fetch` gives by their number; used as they are, not copied."""

    count: int
    fetch: Callable[[int], ShardArrays]
    shards: dict[int, _Shard] = field(default_factory=dict)

    def pair(self, index: int) -> Pair:
        number, place = divmod(index, SHARD_PAIRS)
        if number not in self.shards:
            self.shards[number] = _Shard(*self.fetch(number))
        return self.shards[number].pair(place)


def joined(pairs: Iterable[Pair]) -> ShardArrays:
    """Pairs as one shard, in memory."""
    shapes, parts = [], []
    for frame, mask in pairs:
        shapes.append(frame.shape)
        parts += [frame.ravel(), mask.ravel()]
    return np.array(shapes, np.int64).reshape(-1, 3), np.concatenate(parts)


def _in_order(function: Callable[[int], Pair], items: range) -> Iterator[Pair]:
    """`map` in threads (Pillow releases the interpreter's lock), only a few items ahead."""
    with ThreadPoolExecutor(_MAX_THREADS) as threads:
        for start in range(0, len(items), 4 * _MAX_THREADS):
            yield from threads.map(function, items[start : start + 4 * _MAX_THREADS])


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """One process at a time; the kernel releases the lock of a process that dies."""
    with (folder / ".lock").open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for draft in folder.glob(".*.draft"):  # of a process that died
            draft.unlink(missing_ok=True)
        yield


def _write(path: Path, pairs: Iterator[Pair]) -> None:
    """Write the pairs end to end, their shapes, and a checksum: completely, or no file."""
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
            file.write(_FOOTER.pack(_MAGIC, len(shapes), zlib.crc32(data, checksum)))
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def _load(path: Path) -> _Shard | None:
    """The shard, memory-mapped; None if the file is missing or damaged."""
    try:
        data: Array = np.memmap(path, np.uint8, mode="r")
    except (OSError, ValueError):
        return None
    body = len(data) - _FOOTER.size
    magic, count, checksum = _FOOTER.unpack(data[body:].tobytes()) if body >= 0 else (b"", 0, 0)
    if magic != _MAGIC or not _intact(path, data[:body], checksum):
        log.warning("%s is damaged and is built again", path)
        return None
    start = body - count * 3 * 8
    shapes = np.frombuffer(data[start:body].tobytes(), np.int64).reshape(count, 3)
    return _Shard(shapes, data[:start])


def _intact(path: Path, body: Array, checksum: int) -> bool:
    """Whether the checksum is right; verified once per process for an unchanged file."""
    stat = path.stat()
    known = (str(path), stat.st_ino, stat.st_mtime_ns, stat.st_size)
    if known not in _verified and zlib.crc32(body.data) == checksum:
        _verified.add(known)
    return known in _verified


def _make_room(folder: Path, wanted_bytes: int) -> bool:
    """Whether `wanted_bytes` fit below the bound, after removing folders that are not in use.

    Files that another process has mapped stay readable to it after their removal.
    """
    root = folder.parent.parent
    sets = sorted((p for p in root.glob("*/*") if p.is_dir()), key=lambda p: p.stat().st_mtime)
    sizes = {p: sum(f.stat().st_size for f in p.glob("*.bin")) for p in sets}
    used = sum(sizes.values())
    limit = min(MAX_CACHE_BYTES, MAX_SHARE_OF_FREE * (shutil.disk_usage(root).free + used))
    for oldest in sets:
        if used + wanted_bytes <= limit or time.time() - oldest.stat().st_mtime < MIN_UNUSED_S:
            break
        shutil.rmtree(oldest, ignore_errors=True)
        used -= sizes[oldest]
    return used + wanted_bytes <= limit
