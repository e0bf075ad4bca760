"""The contact sheets of a report: as they are, or as data URIs, all of a page within a bound."""

from __future__ import annotations

import base64
import io
import logging
import math
from collections.abc import Sequence
from pathlib import Path

from autoseg.core.diagnostics import sheet_path

log = logging.getLogger(__name__)

MAX_BYTES = 2_700_000  # base64 makes a third more of it
MAX_EACH = 2_000_000
MAX_PIXELS = 40_000_000


def data_uris(place: Path, keys: Sequence[str]) -> dict[str, str]:
    """The sheets that are there, by key; made smaller where all of them would be too much."""
    found = sheets(place, keys)
    whole = sum(map(len, found.values()))
    if whole > MAX_BYTES:
        found = {key: _smaller(raw, MAX_BYTES / whole) for key, raw in found.items()}
    return {
        key: f"data:image/jpeg;base64,{base64.b64encode(raw).decode()}"
        for key, raw in found.items()
        if raw
    }


def sheets(place: Path, keys: Sequence[str]) -> dict[str, bytes]:
    """The JPEG files that are there, by key."""
    return {key: raw for key in keys if (raw := _read(sheet_path(place, key)))}


def _read(path: Path) -> bytes:
    """A JPEG's bytes; none where there is no sheet, or something else in its place."""
    try:
        if not path.is_file() or path.stat().st_size > MAX_EACH:
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
            scale = 0.9 * math.sqrt(ratio)
            size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
            image.draft("RGB", size)
            out = io.BytesIO()
            image.convert("RGB").resize(size, Image.Resampling.BILINEAR).save(
                out, "JPEG", quality=70
            )
    except (OSError, ValueError, SyntaxError):
        return b""
    return out.getvalue()
