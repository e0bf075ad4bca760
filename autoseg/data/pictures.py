"""Read picture and mask files of all formats that cameras and labelling tools write.

Sizes above Pillow's own limit (about 179 million pixels, 13,377 x 13,377) are refused before any
memory is allocated.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from PIL import Image, UnidentifiedImageError

from autoseg.core.errors import InputError
from autoseg.core.files import read_bounded
from autoseg.data.alpha import label_channel
from autoseg.data.dataset import Array, Sample

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")
# The largest pictures that are decoded, with 16 bits and uncompressed.
MAX_PICTURE_BYTES = 2**30
ReadMask = Callable[[Sample], Array]
Result = TypeVar("Result")
# Detected by content, not by suffix; others are not tried, as some start external programs.
PILLOW_FORMATS = ("PNG", "JPEG", "BMP", "TIFF", "WEBP", "GIF")
_ORIENTATION = 0x0112
TURNED = (5, 6, 7, 8)  # orientations that exchange height and width
# A block of 8 x 8 takes at least one bit: 512 pixels a byte; doubled as a margin.
_MAX_JPEG_PIXELS_PER_BYTE = 1024
_TURN = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# Set once for the process, as warnings.catch_warnings is not thread-safe.
# A picture of 12,000 x 12,000 is no attack; pictures over the limit are still refused.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
# About unreadable metadata: the only part used here is the orientation, handled below.
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")


def read_mask(sample: Sample) -> Array:
    """The mask file of a sample as uint8 ``[H, W]`` of stored values. Raises InputError."""
    return naming(sample.mask, decode_mask, read_bytes(sample.mask))


def read_picture(path: str | Path) -> Array:
    """A picture file as uint8 ``[H, W, 3]`` RGB, turned as its EXIF says. Raises InputError."""
    return naming(str(path), decode_picture, read_bytes(str(path)))


def under(root: Path, path: str) -> str:
    """A path as messages show it: relative to `root` if it lies there."""
    return Path(path).relative_to(root).as_posix() if Path(path).is_relative_to(root) else path


def read_bytes(path: str) -> bytes:
    """A file's bytes. Raises InputError that names the file."""
    try:
        return read_bounded(Path(path), MAX_PICTURE_BYTES)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}") from error


def naming(what: str, function: Callable[..., Result], *given: Any) -> Result:
    """The function's result; `what` (a file, a part of it) is put before an InputError."""
    try:
        return function(*given)
    except InputError as error:
        raise InputError(str(error) if what in str(error) else f"{what}: {error}") from error


def decode_picture(data: bytes) -> Array:
    """A picture's bytes as uint8 ``[H, W, 3]`` RGB, turned as its EXIF says. Raises InputError.

    Of 16 bits the upper 8 are used, of several frames the first; transparency is dropped.
    """
    picture = open_picture(data)
    if picture.mode.startswith("I;16"):
        grey = Image.fromarray((np.asarray(picture) >> 8).astype(np.uint8))
        return np.array(grey.convert("RGB"))
    if picture.mode in ("I", "F"):
        kind = "floating-point" if picture.mode == "F" else "32-bit"
        raise InputError(f"{kind} values have no fixed range: save it with 8 or 16 bits")
    if "transparency" in picture.info:
        picture = picture.convert("RGBA")
    return np.array(picture if picture.mode == "RGB" else picture.convert("RGB"))


def decode_mask(data: bytes) -> Array:
    """A mask's bytes as uint8 ``[H, W]``: values, palette indices, or the alpha that is the label.

    Raises InputError.
    """
    values = np.asarray(open_picture(data))
    if values.ndim == 3:
        values = label_channel(values)
    if values.dtype.kind == "f" or values.max(initial=0) > 255 or values.min(initial=0) < 0:
        raise InputError(f"mask values must be whole numbers 0..255, got up to {values.max()}")
    return np.array(values, np.uint8)


def open_picture(data: bytes) -> Image.Image:
    """The decoded picture, turned as its EXIF says. Raises InputError."""
    if not data:
        raise InputError("not a readable picture (the file is empty)")
    try:
        picture = Image.open(io.BytesIO(data), formats=PILLOW_FORMATS)
        _check_size(picture, data)
        picture.load()
        turn = _TURN.get(orientation(picture))
        return picture if turn is None else picture.transpose(turn)
    except UnidentifiedImageError as error:
        raise InputError("not a readable picture (of no known kind)") from error
    except Image.DecompressionBombError as error:
        raise InputError("not a readable picture (over 178 million pixels)") from error
    except InputError:
        raise
    # Decoders raise many types for damaged bytes: OSError, SyntaxError, struct.error, ...
    except Exception as error:
        reason = str(error).split(" <")[0]
        raise InputError(f"not a readable picture ({reason or type(error).__name__})") from error


def _check_size(picture: Image.Image, data: bytes) -> None:
    # Decoders of the other formats stop at the end of the data, before the memory is touched.
    area = picture.width * picture.height
    if picture.format in ("JPEG", "MPO") and area > len(data) * _MAX_JPEG_PIXELS_PER_BYTE:
        raise InputError(
            f"not a readable picture (truncated: {len(data)} bytes cannot hold"
            f" {picture.width}x{picture.height} pixels)"
        )


def is_turned(data: bytes) -> bool:
    """Whether the EXIF orientation of a readable picture exchanges its height and width."""
    return orientation(Image.open(io.BytesIO(data), formats=PILLOW_FORMATS)) in TURNED


def mode_of(data: bytes) -> str:
    """Pillow's name of the pixel format ("L", "RGB", …), from the header. Raises InputError."""
    try:
        return Image.open(io.BytesIO(data), formats=PILLOW_FORMATS).mode
    except Exception as error:
        raise InputError(f"not a readable picture ({type(error).__name__})") from error


def orientation(picture: Image.Image) -> int:
    """The EXIF orientation, 1 to 8; 1 where none is stated."""
    try:
        return int(picture.getexif().get(_ORIENTATION, 1))
    # A picture with a damaged EXIF block is used without orientation.
    except Exception:
        return 1
