"""Parses resolutions and durations as users write them."""

from __future__ import annotations

import math
import re

from autoseg.core.errors import InputError

Choice = int | float | str
HW = tuple[int, int]


def parse_hw(value: Choice) -> HW:
    """``256 -> (256, 256)``, ``"192x256" -> (192, 256)`` (height x width).

    Raises InputError for anything else.
    """
    parts = str(value).lower().split("x")
    if len(parts) not in (1, 2) or not all(p.isdigit() and int(p) > 0 for p in parts):
        raise InputError(f"a resolution is N or HxW in pixels (256, 192x256), got {value!r}")
    return int(parts[0]), int(parts[-1])


MAX_FRAME_PIXELS = 200_000_000


def parse_frame_hw(value: object) -> HW:
    """``"1920x1080" -> (1080, 1920)``: a camera's size as people write it, the width first.

    Raises InputError for anything else, and for frames that no camera gives.
    """
    sizes = re.fullmatch(r"\s*([1-9]\d{0,5})\s*[xX×]\s*([1-9]\d{0,5})\s*", str(value), re.ASCII)
    width, height = (int(size) for size in sizes.groups()) if sizes else (0, 0)
    if not 0 < width * height <= MAX_FRAME_PIXELS:
        raise InputError(
            "--frame is the WIDTHxHEIGHT of the camera's picture in pixels, such as 1920x1080, "
            f"of {MAX_FRAME_PIXELS // 10**6} megapixels at most; got {value!r}"
        )
    return height, width


def size_text(hw: HW) -> str:
    """``(1080, 1920) -> "1920x1080"``."""
    return f"{hw[1]}x{hw[0]}"


_SECONDS = {"ms": 1e-3, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}


def parse_duration_s(text: str, name: str, example: str) -> float:
    """``"33ms" -> 0.033``, ``"8m" -> 480.0``; units ms, s, m, h.

    Raises InputError for a missing unit, text that is not a number, and values up to zero.
    """
    match = re.fullmatch(r"\s*([0-9.eE+-]+)\s*([a-zA-Z]*)\s*", text)
    try:
        value = float(match[1]) if match else math.nan
    except ValueError:
        value = math.nan
    unit = match[2].lower() if match else ""
    if math.isnan(value) or (unit and unit not in _SECONDS):
        raise InputError(
            f"{name} must be a duration such as {example}, got {text!r}; units: ms, s, m, h"
        )
    if value <= 0 or value == math.inf:
        raise InputError(f"{name} must be over zero, got {text!r}; for example {example}")
    if not unit:
        raise InputError(
            f"{name} needs a unit, got {text!r}; "
            f"did you mean {text.strip()}{example.lstrip('0123456789.')}?"
        )
    return value * _SECONDS[unit]


def duration_text(seconds: float) -> str:
    """``480 -> "8m"``: a duration as an option takes it, in the largest exact unit.

    From a second on, it is of whole seconds.
    """
    whole = round(seconds) or seconds
    for unit in ("h", "m"):
        if whole % _SECONDS[unit] == 0:
            return f"{whole / _SECONDS[unit]:g}{unit}"
    return f"{whole:g}s"


def clock(seconds: float) -> str:
    """``75.2 -> "1:15"``."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
