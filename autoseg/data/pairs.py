"""Examine and read pairs: one picture and its mask."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from autoseg.core.errors import InputError
from autoseg.core.units import HW
from autoseg.data import pictures
from autoseg.data.dataset import FULL_RANGE, Array, GreyRange, Sample
from autoseg.data.duplicates import thumbnail
from autoseg.data.pictures import (
    PILLOW_FORMATS,
    ReadMask,
    decode_picture,
    deep_range,
    is_deep_grey,
    is_turned,
    naming,
    open_picture,
    pixel_counts,
    read_bytes,
    rgb,
    under,
)

_TURNED_HINT = (
    " (the picture's EXIF orientation turns it, the mask was drawn on the unturned one: export"
    " masks of pictures as they are shown, or remove the orientation from the pictures)"
)


@dataclass(frozen=True, kw_only=True)
class PairFacts:
    """Facts of one picture and its mask: pixels by stored mask value, a digest of both, the
    picture's thumbnail for `duplicates`, and faults.

    `deep_range` holds the values of a picture of 16 bits, `deep_colour` if it shows colours.
    `palette` holds the colours (R << 16 | G << 8 | B) of the stored values of a palette mask.
    """

    sample: Sample
    hw: HW
    counts: dict[int, int]
    content: str
    thumbnail: bytes
    deep_range: GreyRange | None = None
    deep_colour: bool = False
    palette: dict[int, int] | None = None
    faults: tuple[str, ...] = ()


def examine(sample: Sample, root: Path, read_mask: ReadMask) -> PairFacts:
    """Decode both files of a pair completely; errors become faults, relative to `root`."""
    faults: list[str] = []
    data, image, mask, deep, deep_colour = b"", None, None, None, False
    try:
        data = read_bytes(sample.image)
        picture = open_picture(data)
        deep, deep_colour = deep_range(picture, data), not is_deep_grey(picture)
        # Its own range: duplicates are looked for before that of the data set is known.
        image = rgb(picture, FULL_RANGE if deep is None else deep)
    except InputError as error:
        shown = under(root, sample.image)
        told = str(error).replace(sample.image, shown)
        faults.append(told if shown in told else f"{shown}: {told}")
    try:
        mask = read_mask(sample)
    except InputError as error:
        faults.append(str(error).replace(f"{root}{os.sep}", ""))
    counts = {} if mask is None else _counts(mask)
    if len(counts) > 2 and _is_jpeg(sample.mask):
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
        deep_range=deep,
        deep_colour=deep is not None and deep_colour,
        palette=_palette(sample.mask, counts)
        if counts and read_mask is pictures.read_mask
        else None,
        faults=tuple(faults),
    )


def _is_jpeg(path: str) -> bool:
    """Whether a file is JPEG, whatever its name; False for a mask that is no file."""
    try:
        with open(path, "rb") as file:
            return file.read(3) == b"\xff\xd8\xff"
    except (OSError, ValueError):
        return False


def _palette(path: str, used: Iterable[int]) -> dict[int, int] | None:
    """The colours of the used values of a palette file; None for another file."""
    try:
        with Image.open(path, formats=PILLOW_FORMATS) as picture:
            if picture.mode != "P" or picture.palette is None:
                return None
            mode, data = picture.palette.getdata()
            colours = bytes(data) if mode == "RGB" else bytes(picture.getpalette() or ())
    except Exception:  # an unreadable file is a fault already; decoders raise many types
        return None
    return {
        value: int.from_bytes(colours[3 * value : 3 * value + 3])
        for value in used
        if 3 * value + 3 <= len(colours)
    }


def read_pair(
    read_mask: ReadMask, values: bytes | None, grey_range: GreyRange, sample: Sample
) -> tuple[Array, Array]:
    """Picture uint8 ``[H, W, 3]`` and mask uint8 ``[H, W]`` of a sample; `values` are the classes
    of the 256 stored values, None if class indices are stored. `grey_range` is that of pictures of
    16 bits.

    Raises InputError for a file that cannot be read, or that changed since its inspection.
    """
    data = read_bytes(sample.image)
    stored = read_mask(sample)
    if sample.content and _content(data, stored) != sample.content:
        rule = "changed while it was in use; start a new run on the data as it is now"
        raise InputError(f"{sample.image} or its mask {rule}")
    image = naming(sample.image, decode_picture, data, grey_range)
    return image, stored if values is None else np.frombuffer(values, np.uint8)[stored]


def _counts(mask: Array) -> dict[int, int]:
    pixels = pixel_counts(mask, 256)
    return {int(value): int(pixels[value]) for value in np.flatnonzero(pixels)}


def _content(picture: bytes, mask: Array) -> str:
    seen = hashlib.sha256(f"{len(picture)} {mask.shape} ".encode())
    seen.update(picture)
    seen.update(np.ascontiguousarray(mask).data)
    return seen.hexdigest()[:32]
