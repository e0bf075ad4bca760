"""Read picture and mask files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from autoseg.core.errors import InputError
from autoseg.data.dataset import Array, Sample
from autoseg.data.decode import decode_mask, decode_picture

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")
ReadMask = Callable[[Sample], Array]


def read_mask(sample: Sample) -> Array:
    """The mask file of a sample as uint8 ``[H, W]`` of stored values. Raises InputError."""
    return naming_file(sample.mask, lambda: decode_mask(read_bytes(sample.mask)))


def read_picture(path: str | Path) -> Array:
    """A picture file as uint8 ``[H, W, 3]`` RGB, turned as its EXIF says. Raises InputError."""
    return naming_file(str(path), lambda: decode_picture(read_bytes(str(path))))


def under(root: Path, path: str) -> str:
    """A path as messages show it: relative to `root` if it lies there."""
    return Path(path).relative_to(root).as_posix() if Path(path).is_relative_to(root) else path


def read_bytes(path: str) -> bytes:
    """A file's bytes. Raises InputError that names the file."""
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}") from error


def naming_file(path: str, decode: Callable[[], Array]) -> Array:
    """The result of `decode`; the file's path is added to an InputError that lacks it."""
    try:
        return decode()
    except InputError as error:
        raise InputError(str(error) if path in str(error) else f"{path}: {error}") from error
