"""Decode pictures and masks, and say what one pair holds."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from autoseg.data.dataset import Array, Sample
from autoseg.records import HW, IGNORE_INDEX, InputError

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")
_Decode = Callable[[bytes], Array]
_JPEG = (".jpg", ".jpeg")


@dataclass(frozen=True)
class PairFacts:
    """What one picture and its mask hold; `counts` are pixels by mask value, int64 ``[256]``."""

    sample: Sample
    hw: HW
    counts: npt.NDArray[np.int64]
    digest: str
    faults: tuple[str, ...]


def examine(sample: Sample, root: Path) -> PairFacts:
    """Decode both files of a pair to the end; what is wrong becomes faults that name files under
    `root`.
    """
    faults: list[str] = []
    hash_of_both = hashlib.sha256()
    image = _examined(sample.image, root, hash_of_both, faults, mask=False)
    mask = _examined(sample.mask, root, hash_of_both, faults, mask=True)
    counts = np.zeros(256, np.int64)
    hw = (0, 0)
    if image is not None:
        hw = (image.shape[0], image.shape[1])
    if mask is not None:
        counts = np.bincount(mask.ravel(), minlength=256)
        if Path(sample.mask).suffix.lower() in _JPEG and np.count_nonzero(counts) > 2:
            faults.append(
                f"{_under(root, sample.mask)}: JPEG blurs class indices; save masks as PNG"
            )
    if image is not None and mask is not None and hw != mask.shape:
        faults.append(
            f"{_under(root, sample.image)} is {hw[1]}x{hw[0]} and {_under(root, sample.mask)} is"
            f" {mask.shape[1]}x{mask.shape[0]}: a picture and its mask must have one size"
        )
    return PairFacts(sample, hw, counts, hash_of_both.hexdigest(), tuple(faults))


def read_pair(binary: bool, sample: Sample) -> tuple[Array, Array]:
    """Picture uint8 ``[H, W, 3]`` and mask uint8 ``[H, W]`` of a sample; `binary`: 255 in the file
    means class 1.

    Raises InputError for a file that cannot be read.
    """
    image = _named(sample.image, decode_picture)
    mask = _named(sample.mask, decode_mask)
    return image, (mask == IGNORE_INDEX).astype(np.uint8) if binary else mask


def read_picture(path: str | Path) -> Array:
    """A picture file as uint8 ``[H, W, 3]`` RGB, turned as its EXIF says. Raises InputError."""
    return _named(str(path), decode_picture)


def decode_picture(data: bytes) -> Array:
    """A picture's bytes as uint8 ``[H, W, 3]`` RGB, turned as its EXIF says. Raises InputError."""
    picture = _decoded(data)
    if picture.mode.startswith("I") or picture.mode == "F":
        # Pillow clips 16-bit pictures at 255; the upper byte is the picture.
        values = np.asarray(picture)
        top = 257 if values.max(initial=0) > 255 else 1
        picture = Image.fromarray((values // top).clip(0, 255).astype(np.uint8))
    return np.array(picture.convert("RGB"))


def decode_mask(data: bytes) -> Array:
    """A mask's bytes as uint8 ``[H, W]`` of class indices (palette files: the indices). Raises
    InputError.
    """
    picture = _decoded(data)
    values = np.asarray(picture)
    if values.ndim == 3:
        # With RGBA and grey-with-alpha the last channel is no class.
        channels = values[..., : 3 if values.shape[2] >= 3 else 1]
        if (channels != channels[..., :1]).any():
            raise InputError(
                "a colour picture is no mask: store class indices (one channel, or a palette PNG)"
            )
        values = channels[..., 0]
    if values.dtype.kind == "f" or values.max(initial=0) > 255 or values.min(initial=0) < 0:
        raise InputError(f"mask values must be whole numbers 0..255, got up to {values.max()}")
    return np.array(values, np.uint8)


def _decoded(data: bytes) -> Image.Image:
    try:
        with Image.open(io.BytesIO(data)) as picture:
            picture.load()
            return ImageOps.exif_transpose(picture)
    # Decoders raise whatever they meet in damaged bytes: OSError, SyntaxError, struct.error, ...
    except Exception as error:
        reason = str(error).split(" <")[0]
        raise InputError(f"not a readable picture ({reason or type(error).__name__})") from error


def _named(path: str, decode: _Decode) -> Array:
    try:
        return decode(Path(path).read_bytes())
    except (OSError, InputError) as error:
        raise InputError(f"{path}: {error}") from error


def _examined(
    path: str, root: Path, seen: hashlib._Hash, faults: list[str], *, mask: bool
) -> Array | None:
    try:
        data = Path(path).read_bytes()
        seen.update(len(data).to_bytes(8, "little") + data)
        return decode_mask(data) if mask else decode_picture(data)
    except (OSError, InputError) as error:
        faults.append(f"{_under(root, path)}: {error}")
        return None


def _under(root: Path, path: str) -> str:
    return Path(path).relative_to(root).as_posix()
