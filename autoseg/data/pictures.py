"""Read pictures and masks, and say what one pair holds."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from autoseg.core.errors import InputError
from autoseg.core.units import HW
from autoseg.data.dataset import Array, Sample
from autoseg.data.decode import decode_mask, decode_picture, is_turned
from autoseg.data.duplicates import thumbnail

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")
ReadMask = Callable[[Sample], Array]
_JPEG = (".jpg", ".jpeg")
_BLOCK = 2**22
_TURNED = (
    " (the picture's EXIF orientation turns it, the mask was drawn on the unturned one: export"
    " masks of pictures as they are shown, or remove the orientation from the pictures)"
)


@dataclass(frozen=True)
class PairFacts:
    """What one picture and its mask hold: pixels by stored mask value, a digest of both, and the
    picture's thumbnail for `duplicates`.
    """

    sample: Sample
    hw: HW
    counts: dict[int, int]
    content: str
    thumbnail: bytes
    faults: tuple[str, ...]


def examine(sample: Sample, root: Path, read_mask: ReadMask) -> PairFacts:
    """Decode both files of a pair to the end; what is wrong becomes faults that name files under
    `root`.
    """
    faults: list[str] = []
    data, image, mask = b"", None, None
    try:
        data = Path(sample.image).read_bytes()
        image = decode_picture(data)
    except (OSError, InputError) as error:
        faults.append(f"{under(root, sample.image)}: {error}")
    try:
        mask = read_mask(sample)
    except InputError as error:
        faults.append(str(error).replace(f"{root}{os.sep}", ""))
    counts: dict[int, int] = {}
    hw, small = (0, 0), b""
    if image is not None:
        hw, small = (image.shape[0], image.shape[1]), thumbnail(image)
    if mask is not None:
        counts = _counts(mask)
        if Path(sample.mask).suffix.lower() in _JPEG and len(counts) > 2:
            faults.append(
                f"{under(root, sample.mask)}: JPEG blurs class indices; save masks as PNG"
            )
    if image is not None and mask is not None and hw != mask.shape:
        faults.append(
            f"{under(root, sample.image)} is {hw[1]}x{hw[0]} and {under(root, sample.mask)} is"
            f" {mask.shape[1]}x{mask.shape[0]}: a picture and its mask must have one size"
            + (_TURNED if hw == mask.shape[::-1] and is_turned(data) else "")
        )
    content = "" if mask is None else _content(data, mask)
    return PairFacts(sample, hw, counts, content, small, tuple(faults))


def read_pair(read_mask: ReadMask, values: bytes | None, sample: Sample) -> tuple[Array, Array]:
    """Picture uint8 ``[H, W, 3]`` and mask uint8 ``[H, W]`` of a sample; `values` are the 256
    classes of what is stored, None where classes are stored.

    Raises InputError for a file that cannot be read, or that is not what was inspected.
    """
    data = read_bytes(sample.image)
    stored = read_mask(sample)
    if sample.content and _content(data, stored) != sample.content:
        raise InputError(
            f"{sample.image} or its mask changed while it was in use; start a new run on the data"
            " as it is now"
        )
    image = named(sample.image, lambda: decode_picture(data))
    return image, stored if values is None else np.frombuffer(values, np.uint8)[stored]


def read_mask(sample: Sample) -> Array:
    """The mask file of a sample as uint8 ``[H, W]`` of stored values. Raises InputError."""
    return named(sample.mask, lambda: decode_mask(read_bytes(sample.mask)))


def read_picture(path: str | Path) -> Array:
    """A picture file as uint8 ``[H, W, 3]`` RGB, turned as its EXIF says. Raises InputError."""
    return named(str(path), lambda: decode_picture(read_bytes(str(path))))


def under(root: Path, path: str) -> str:
    """A file's name as messages show it: below `root` where it lies there."""
    return Path(path).relative_to(root).as_posix() if Path(path).is_relative_to(root) else path


def _counts(mask: Array) -> dict[int, int]:
    # In blocks: bincount copies what it is given into 8 bytes a pixel.
    flat, pixels = mask.ravel(), np.zeros(256, np.int64)
    for start in range(0, flat.size, _BLOCK):
        pixels += np.bincount(flat[start : start + _BLOCK], minlength=256)
    return {int(value): int(pixels[value]) for value in np.flatnonzero(pixels)}


def _content(picture: bytes, mask: Array) -> str:
    seen = hashlib.sha256(f"{len(picture)} {mask.shape} ".encode())
    seen.update(picture)
    seen.update(np.ascontiguousarray(mask).data)
    return seen.hexdigest()[:32]


def read_bytes(path: str) -> bytes:
    """A file's bytes. Raises InputError that names the file."""
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}") from error


def named(path: str, decode: Callable[[], Array]) -> Array:
    """What `decode` gives; the InputError it may raise then names the file."""
    try:
        return decode()
    except InputError as error:
        raise InputError(str(error) if path in str(error) else f"{path}: {error}") from error
