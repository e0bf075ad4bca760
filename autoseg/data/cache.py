"""Decoded pictures on disk: read once, resized once a size, then memory-mapped.

Files are written under a name of their own and renamed, so two processes that build at once do no
harm, and a file that a
crash left short is noticed by its header and length and built again.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from autoseg.data.dataset import Array, Dataset
from autoseg.data.resize import resize_frame, resize_mask
from autoseg.records import HW, InputError

# Changes whenever the resize or the layout of the files does, so that old files are never read as
# new ones.
VERSION = 1
# Above this, originals are decoded again for each size instead of being kept.
MAX_ORIGINALS_BYTES = 512 * 2**20
_THREADS = min(4, os.cpu_count() or 1)


@dataclass(frozen=True)
class SplitArrays:
    """A split at a network's size: frames uint8 ``[N, H, W, C]`` and masks uint8 ``[N, H, W]``,
    read-only.
    """

    frames: Array
    masks: Array


@dataclass(frozen=True)
class _Originals:
    """A split as decoded, end to end: sizes int64 ``[N, 2]``, masks and (unless too many) frames
    flat.
    """

    sizes: npt.NDArray[np.int64]
    masks: Array
    frames: Array | None

    def mask(self, index: int) -> Array:
        area = self._area
        return self.masks[area[index] : area[index + 1]].reshape(self.sizes[index])

    def frame(self, index: int) -> Array | None:
        if self.frames is None:
            return None
        area = self._area * 3
        return self.frames[area[index] : area[index + 1]].reshape(*self.sizes[index], 3)

    @property
    def _area(self) -> npt.NDArray[np.int64]:
        return np.concatenate(([0], np.cumsum(self.sizes.prod(axis=1))))


def arrays(
    dataset: Dataset, split: str, input_hw: HW, channels: int, cache_dir: Path
) -> SplitArrays:
    """A split at `input_hw` with 1 or 3 channels, through the one resize; from the cache when it
    is there.

    Raises InputError for an unknown or empty split, and where the cache cannot be written.
    """
    count = _count(dataset, split)
    folder = _folder(dataset, cache_dir)
    size = f"{split}-{input_hw[0]}x{input_hw[1]}"
    frames = folder / f"{size}x{channels}-frames.npy"
    masks = folder / f"{size}-masks.npy"
    shapes = ((count, *input_hw, channels), (count, *input_hw))
    found = [_load(path, shape) for path, shape in zip((frames, masks), shapes, strict=True)]
    if found[0] is None or found[1] is None:
        originals = _originals(dataset, split, cache_dir)
        # Frames last: two waiting processes then find the pair complete.
        found[1] = _built(masks, shapes[1], lambda i: resize_mask(originals.mask(i), input_hw))
        read = _frame_reader(dataset, split, originals)
        found[0] = _built(frames, shapes[0], lambda i: resize_frame(read(i), input_hw, channels))
    return SplitArrays(found[0], found[1])


def truths(dataset: Dataset, split: str, cache_dir: Path) -> list[Array]:
    """The masks of a split at their original sizes, uint8 ``[H, W]`` each, in the order of the
    split's samples.

    Raises InputError for an unknown or empty split, and where the cache cannot be written.
    """
    count = _count(dataset, split)
    originals = _originals(dataset, split, cache_dir)
    return [originals.mask(index) for index in range(count)]


def _count(dataset: Dataset, split: str) -> int:
    count = len(dataset.splits.get(split, ()))
    if not count:
        raise InputError(f"the data {dataset.name!r} has no pictures in the split {split!r}")
    return count


def _folder(dataset: Dataset, cache_dir: Path) -> Path:
    folder = cache_dir / f"{dataset.digest}-v{VERSION}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"the cache folder {folder} cannot be written: {error}") from error
    return folder


def _frame_reader(dataset: Dataset, split: str, originals: _Originals) -> Callable[[int], Array]:
    samples = dataset.splits[split]

    def read(index: int) -> Array:
        frame = originals.frame(index)
        return dataset.read(samples[index])[0] if frame is None else frame

    return read


def _originals(dataset: Dataset, split: str, cache_dir: Path) -> _Originals:
    folder = _folder(dataset, cache_dir)
    stem, count = str(folder / f"{split}-original"), len(dataset.splits[split])
    found = _load_originals(stem, count)
    if found is None:
        _decode(dataset, split, stem)
        found = _load_originals(stem, count)
    if found is None:
        raise InputError(f"the cache folder {folder} does not keep what is written to it")
    return found


def _load_originals(stem: str, count: int) -> _Originals | None:
    sizes = _load(Path(f"{stem}-sizes.npy"), (count, 2), np.int64)
    if sizes is None:
        return None
    pixels = int(sizes.prod(axis=1).sum())
    kept = pixels * 3 <= MAX_ORIGINALS_BYTES
    masks = _load_flat(Path(f"{stem}-masks.bin"), pixels)
    frames = _load_flat(Path(f"{stem}-frames.bin"), pixels * 3) if kept else None
    if masks is None or (kept and frames is None):
        return None
    return _Originals(sizes, masks, frames)


def _decode(dataset: Dataset, split: str, stem: str) -> None:
    """Read every pair once, writing masks and (while they fit) frames end to end, in the split's
    order.
    """
    sizes: list[tuple[int, int]] = []
    kept = True
    with _whole(Path(f"{stem}-frames.bin")) as frames, _whole(Path(f"{stem}-masks.bin")) as masks:
        for image, mask in _in_order(dataset.read, dataset.splits[split]):
            sizes.append((mask.shape[0], mask.shape[1]))
            masks.write(np.ascontiguousarray(mask).data)
            kept = kept and frames.tell() + image.nbytes <= MAX_ORIGINALS_BYTES
            if kept:
                frames.write(np.ascontiguousarray(image).data)
        if not kept:
            frames.truncate(0)
    with _whole(Path(f"{stem}-sizes.npy")) as file:
        np.save(file, np.array(sizes, np.int64))


def _built(path: Path, shape: tuple[int, ...], one: Callable[[int], Array]) -> Array:
    with _whole(path) as file:
        header = {"descr": "|u1", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
        for item in _in_order(one, range(shape[0])):
            file.write(np.ascontiguousarray(item).data)
    built: Array | None = _load(path, shape)
    if built is None:
        raise InputError(f"the cache file {path} does not keep what is written to it")
    return built


def _in_order(function: Callable[[Any], Any], items: Iterable[Any]) -> Iterator[Any]:
    """`map` in threads (Pillow works without the interpreter's lock), only a few items ahead of
    the writing.
    """
    waiting = list(items)
    with ThreadPoolExecutor(_THREADS) as threads:
        for start in range(0, len(waiting), 4 * _THREADS):
            yield from threads.map(function, waiting[start : start + 4 * _THREADS])


@contextmanager
def _whole(path: Path) -> Iterator[BinaryIO]:
    """A file that appears under its name only when it was written to the end."""
    draft = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}")
    try:
        with draft.open("wb") as file:
            yield file
        draft.replace(path)
    except OSError as error:
        raise InputError(f"the cache file {path} cannot be written: {error}") from error
    finally:
        draft.unlink(missing_ok=True)


def _load(path: Path, shape: tuple[int, ...], dtype: Any = np.uint8) -> Any:
    """The array, memory-mapped; None where the file is missing, short, or not of this shape."""
    try:
        found = np.load(path, mmap_mode="r")
        whole = path.stat().st_size == found.offset + found.nbytes
    except (OSError, ValueError, EOFError):
        return None
    return found if whole and found.shape == shape and found.dtype == dtype else None


def _load_flat(path: Path, size: int) -> Array | None:
    try:
        found: Array = np.memmap(path, np.uint8, mode="r")
    except (OSError, ValueError):
        return None
    return found if found.size == size else None
