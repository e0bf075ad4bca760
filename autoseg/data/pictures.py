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
from autoseg.data.dataset import FULL_RANGE, Array, GreyRange, Sample

SUFFIXES = (
    ".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".tif", ".tiff", ".webp", ".gif",
)  # fmt: skip
# The largest pictures that are decoded, with 16 bits and uncompressed.
MAX_PICTURE_BYTES = 2**30
ReadMask = Callable[[Sample], Array]
Result = TypeVar("Result")
# Detected by content, not by suffix; others are not tried, as some start external programs.
PILLOW_FORMATS = ("PNG", "JPEG", "BMP", "TIFF", "WEBP", "GIF")
# What is found under the name of a picture, by its first bytes and their place.
_OTHER_KINDS = (
    (4, b"ftypavi", "AVIF"), (4, b"ftyphei", "HEIC"), (4, b"ftyphev", "HEIC"),
    (4, b"ftypmif1", "HEIC"), (4, b"ftypmsf1", "HEIC"), (4, b"ftyp", "a film (MP4)"),
    (0, b"\xff\n", "JPEG XL"), (4, b"JXL ", "JPEG XL"), (4, b"jP  ", "JPEG 2000"),
    (0, b"\xff\x4f\xff\x51", "JPEG 2000"), (0, b"8BPS", "a Photoshop file"),
    (0, b"v/1\x01", "OpenEXR"), (0, b"P5", "PGM"), (0, b"P6", "PPM"), (128, b"DICM", "DICOM"),
    (0, b"%PDF", "PDF"), (0, b"PK\x03\x04", "a ZIP archive"), (0, b"\x1f\x8b", "gzip"),
    (0, b"\x93NUMPY", "an array of numpy"), (0, b"<", "text: HTML, XML or SVG"),
    (0, b"{", "text: JSON"),
)  # fmt: skip
_LFS_POINTER = b"version https://git-lfs.github.com/spec/"
_ORIENTATION, _BITS_PER_SAMPLE = 0x0112, 258
_OUTLIERS = 0.001
_MAX_BLOCK_PIXELS = 2**22
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


def read_picture(path: str | Path, grey_range: GreyRange = FULL_RANGE) -> Array:
    """A picture file as uint8 ``[H, W, 3]`` RGB, turned as its EXIF says; see `decode_picture` for
    `grey_range`. Raises InputError.
    """
    return naming(str(path), decode_picture, read_bytes(str(path)), grey_range)


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


def decode_picture(data: bytes, grey_range: GreyRange = FULL_RANGE) -> Array:
    """A picture's bytes as uint8 ``[H, W, 3]`` RGB, turned as its EXIF says. Raises InputError.

    Of grey pictures of 16 bits the values of `grey_range` become 0 to 255 (by default the upper 8
    bits are used), of colours of 16 bits the upper 8 bits, of several frames the first;
    transparency is dropped.
    """
    return rgb(open_picture(data), grey_range)


def rgb(picture: Image.Image, grey_range: GreyRange = FULL_RANGE) -> Array:
    """A picture that was opened as uint8 ``[H, W, 3]``: see `decode_picture`."""
    if is_deep_grey(picture):
        grey = Image.fromarray(stretched(np.asarray(picture), grey_range))
        return np.array(grey.convert("RGB"))
    if picture.mode in ("I", "F"):
        kind = "floating-point" if picture.mode == "F" else "32-bit"
        raise InputError(f"{kind} values have no fixed range: save it with 8 or 16 bits")
    if "transparency" in picture.info:
        picture = picture.convert("RGBA")
    return np.array(picture if picture.mode == "RGB" else picture.convert("RGB"))


def is_deep_grey(picture: Image.Image) -> bool:
    """Whether a picture is grey with 16 bits."""
    # Older Pillows give 16 bits of PNG, which has no more, the mode of 32.
    return picture.mode.startswith("I;16") or (picture.mode == "I" and picture.format == "PNG")


def stretched(values: Any, grey_range: GreyRange) -> Array:
    """Grey levels of 16 bits as uint8, ``(low, high)`` as 0 to 255; others are clipped."""
    low, high = grey_range
    levels = (np.clip(np.arange(65536), low, high) - low) * 256 // (high - low + 1)
    return np.asarray(levels.astype(np.uint8)[values])


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
        raise InputError(f"not a readable picture ({_kind_of(data)})") from error
    except Image.DecompressionBombError as error:
        raise InputError("not a readable picture (over 178 million pixels)") from error
    except InputError:
        raise
    # Decoders raise many types for damaged bytes: OSError, SyntaxError, struct.error, ...
    except Exception as error:
        reason = str(error).split(" <")[0]
        raise InputError(f"not a readable picture ({reason or type(error).__name__})") from error


def _kind_of(data: bytes) -> str:
    """What the bytes of an unreadable picture are, for a message."""
    if data.startswith(_LFS_POINTER):
        return "it is a pointer of Git LFS: get the pictures with `git lfs pull`"
    for start, magic, kind in _OTHER_KINDS:
        if data[start : start + len(magic)] == magic:
            return f"by its content it is {kind}: save it as PNG or JPEG"
    return "of no known kind"


def _check_size(picture: Image.Image, data: bytes) -> None:
    # Decoders of the other formats stop at the end of the data, before the memory is touched.
    area = picture.width * picture.height
    if picture.format in ("JPEG", "MPO") and area > len(data) * _MAX_JPEG_PIXELS_PER_BYTE:
        raise InputError(
            f"not a readable picture (truncated: {len(data)} bytes cannot hold"
            f" {picture.width}x{picture.height} pixels)"
        )


def deep_range(picture: Image.Image, data: bytes) -> GreyRange | None:
    """The values of a picture that was opened, if it has 16 bits a channel, without the lowest and
    the highest 0.1 % and without 0 and 65535, which mean no value. Of colours, whose upper 8 bits
    alone are decoded, the range of these.
    """
    if is_deep_grey(picture):
        values, unit = np.asarray(picture), 1
    elif _is_deep_colour(picture, data):
        values, unit = np.asarray(picture), 256
    else:
        return None
    counts = pixel_counts(values, 65536 // unit)
    if counts[1:-1].any():
        counts[[0, -1]] = 0
    total = np.cumsum(counts)
    low, high = np.searchsorted(
        total, [total[-1] * _OUTLIERS, total[-1] * (1 - _OUTLIERS)], "right"
    )
    return int(low) * unit, min(int(high), len(counts) - 1) * unit + unit - 1


def _is_deep_colour(picture: Image.Image, data: bytes) -> bool:
    if data.startswith(b"\x89PNG"):
        return data[24:25] == b"\x10" and picture.mode in ("RGB", "RGBA", "LA")
    bits = getattr(picture, "tag_v2", {}).get(_BITS_PER_SAMPLE, ())
    return picture.mode in ("RGB", "RGBA") and isinstance(bits, tuple) and 16 in bits


def pixel_counts(values: Any, count: int) -> Any:
    """The number of pixels of each value below `count`, int64 ``[count]``."""
    # In blocks: bincount copies its argument into 8 bytes a pixel.
    flat, pixels = values.ravel(), np.zeros(count, np.int64)
    for start in range(0, flat.size, _MAX_BLOCK_PIXELS):
        pixels += np.bincount(flat[start : start + _MAX_BLOCK_PIXELS], minlength=count)
    return pixels


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
