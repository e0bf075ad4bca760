"""Examine and read pairs: one picture and its mask."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from autoseg.core.errors import InputError
from autoseg.core.units import HW
from autoseg.data.dataset import Array, Sample
from autoseg.data.duplicates import thumbnail
from autoseg.data.pictures import ReadMask, decode_picture, is_turned, naming, read_bytes, under

_JPEG_SUFFIXES = (".jpg", ".jpeg")
_MAX_BLOCK_PIXELS = 2**22
_TURNED_HINT = (
    " (the picture's EXIF orientation turns it, the mask was drawn on the unturned one: export"
    " masks of pictures as they are shown, or remove the orientation from the pictures)"
)


@dataclass(frozen=True, kw_only=True)
class PairFacts:
    """Facts of one picture and its mask: pixels by stored mask value, a digest of both, the
    picture's thumbnail for `duplicates`, and faults.
    """

    sample: Sample
    hw: HW
    counts: dict[int, int]
    content: str
    thumbnail: bytes
    faults: tuple[str, ...] = ()


def examine(sample: Sample, root: Path, read_mask: ReadMask) -> PairFacts:
    """Decode both files of a pair completely; errors become faults, relative to `root`."""
    faults: list[str] = []
    data, image, mask = b"", None, None
    try:
        data = read_bytes(sample.image)
        image = naming(sample.image, decode_picture, data)
    except InputError as error:
        faults.append(str(error).replace(f"{root}{os.sep}", ""))
    try:
        mask = read_mask(sample)
    except InputError as error:
        faults.append(str(error).replace(f"{root}{os.sep}", ""))
    counts = {} if mask is None else _counts(mask)
    if Path(sample.mask).suffix.lower() in _JPEG_SUFFIXES and len(counts) > 2:
        faults.append(f"{under(root, sample.mask)}: JPEG blurs class indices; save masks as PNG")
    if image is not None and mask is not None and image.shape[:2] != mask.shape:
        turned = image.shape[:2] == mask.shape[::-1] and is_turned(data)
        faults.append(
            f"{under(root, sample.image)} is {image.shape[1]}x{image.shape[0]} and"
            f" {under(root, sample.mask)} is {mask.shape[1]}x{mask.shape[0]}: a picture and its"
            f" mask must have one size{_TURNED_HINT if turned else ''}"
        )
    return PairFacts(
        sample=sample,
        hw=(0, 0) if image is None else (image.shape[0], image.shape[1]),
        counts=counts,
        content="" if mask is None else _content(data, mask),
        thumbnail=b"" if image is None else thumbnail(image),
        faults=tuple(faults),
    )


def read_pair(read_mask: ReadMask, values: bytes | None, sample: Sample) -> tuple[Array, Array]:
    """Picture uint8 ``[H, W, 3]`` and mask uint8 ``[H, W]`` of a sample; `values` are the classes
    of the 256 stored values, None if class indices are stored.

    Raises InputError for a file that cannot be read, or that changed since its inspection.
    """
    data = read_bytes(sample.image)
    stored = read_mask(sample)
    if sample.content and _content(data, stored) != sample.content:
        rule = "changed while it was in use; start a new run on the data as it is now"
        raise InputError(f"{sample.image} or its mask {rule}")
    image = naming(sample.image, decode_picture, data)
    return image, stored if values is None else np.frombuffer(values, np.uint8)[stored]


def _counts(mask: Array) -> dict[int, int]:
    # In blocks: bincount copies its argument into 8 bytes a pixel.
    flat, pixels = mask.ravel(), np.zeros(256, np.int64)
    for start in range(0, flat.size, _MAX_BLOCK_PIXELS):
        pixels += np.bincount(flat[start : start + _MAX_BLOCK_PIXELS], minlength=256)
    return {int(value): int(pixels[value]) for value in np.flatnonzero(pixels)}


def _content(picture: bytes, mask: Array) -> str:
    seen = hashlib.sha256(f"{len(picture)} {mask.shape} ".encode())
    seen.update(picture)
    seen.update(np.ascontiguousarray(mask).data)
    return seen.hexdigest()[:32]
