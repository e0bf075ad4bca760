"""Formats of data sets, read in place: each module recognizes a folder and finds its pairs."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

from autoseg.data.layout import Found
from autoseg.records import InputError

# In the order in which they are tried: the more particular first. Each names a module of this
# package with `recognize(root) -> str | None` (why, in words) and `find(root) -> Found`.
FORMATS = {
    "label-studio": "label_studio",
    "plain": "plain",
}


def find(root: Path, name: str | None) -> tuple[Found, str, str]:
    """What lies in a folder, the name of its format, and why it was taken for that.

    Raises InputError for an unknown format. A folder that no format fits is read as a plain one,
    whose faults say what is missing.
    """
    if name is not None:
        if name not in FORMATS:
            raise InputError(f"--format is one of {', '.join(FORMATS)}, got {name!r}")
        return _module(name).find(root), name, "it was asked for"
    for known in FORMATS if root.is_dir() else ():
        if why := _module(known).recognize(root):
            return _module(known).find(root), known, why
    return _module("plain").find(root), "plain", "no other format fits"


def _module(name: str) -> Any:
    return import_module(f"{__name__}.{FORMATS[name]}")
