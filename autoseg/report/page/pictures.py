"""The contact sheets of a report: the files, or data URIs of a bounded total size."""

from __future__ import annotations

import base64
import io
import logging
import math
from collections.abc import Sequence
from pathlib import Path

from autoseg.core.diagnostics import sheet_path

log = logging.getLogger(__name__)

MAX_BYTES = 2_700_000  # of all sheets of a page; base64 adds a third
MAX_SHEET_BYTES = 2_000_000
MAX_PIXELS = 40_000_000  # of a sheet: larger ones are not decoded


def data_uris(place: Path, keys: Sequence[str]) -> dict[str, str]:
    """The existing sheets by key; resized where they are larger than MAX_BYTES together."""
    found = sheets(place, keys)
    whole = sum(map(len, found.values()))
    if whole > MAX_BYTES:
        found = {key: _smaller(raw, MAX_BYTES / whole) for key, raw in found.items()}
    start = "data:image/jpeg;base64,"
    return {k: start + base64.b64encode(raw).decode() for k, raw in found.items() if raw}


def sheets(place: Path, keys: Sequence[str]) -> dict[str, bytes]:
    """The existing JPEG files, by key."""
    return {key: raw for key in keys if (raw := _read(sheet_path(place, key)))}


def _read(path: Path) -> bytes:
    """A JPEG's bytes; empty where there is no sheet, or the file is no JPEG."""
    try:
        if not path.is_file() or path.stat().st_size > MAX_SHEET_BYTES:
            return b""
        raw = path.read_bytes()
    except OSError as error:
        log.warning("%s: a contact sheet is left out of the report (%s)", path, error)
        return b""
    return raw if raw.startswith(b"\xff\xd8\xff") else b""


def _smaller(raw: bytes, ratio: float) -> bytes:
    from PIL import Image

    try:
        with Image.open(io.BytesIO(raw), formats=["JPEG"]) as image:
            if image.width * image.height > MAX_PIXELS:
                return b""
            scale, out = 0.9 * math.sqrt(ratio), io.BytesIO()
            size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
            image.draft("RGB", size)
            smaller = image.convert("RGB").resize(size, Image.Resampling.BILINEAR)
            smaller.save(out, "JPEG", quality=70)
    except (OSError, ValueError, SyntaxError):
        return b""
    return out.getvalue()
