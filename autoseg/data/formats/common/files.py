"""Find and read the files of a data folder: pictures, lists, class names, and JSON."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any
from unicodedata import normalize

from autoseg.core.errors import InputError
from autoseg.core.files import read_bounded
from autoseg.core.records import IGNORE_INDEX
from autoseg.core.text import one_form
from autoseg.data.dataset import BACKGROUND, background_of
from autoseg.data.layout import Layout, listed
from autoseg.data.pictures import SUFFIXES, under

# Lists of a million names fit; a larger file is no list, and is not read into memory.
MAX_TEXT_BYTES = 64 * 2**20
# The largest public files of COCO's kind have about 1 GiB.
MAX_JSON_BYTES = 2**31
_NAME_FILES = ("classes.txt", "class_names.txt")
# The first lines of labelme's own lists: no class, and the background.
_LABELME_IGNORE, _LABELME_BACKGROUND = "__ignore__", "_background_"
# Exports are a few files in one folder; more are files of a tool that writes one per picture.
MAX_EXPORT_FILES = 20
# Enough of a file to recognize its format without parsing all of it.
_HEAD_BYTES, _END_BYTES = 4096, 65536


def visible_files(folder: Path, *, deep: bool = True) -> Iterator[Path]:
    """All entries that are no folders, sorted by folder, without hidden ones (`.name`); with
    `deep` those of subfolders too. Links to folders are not followed.
    """
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(f for f in folders if deep and not f.startswith("."))
        yield from (Path(place, name) for name in sorted(names) if not name.startswith("."))


def files_with(folder: Path, suffix: str, *, deep: bool = False) -> list[Path]:
    """The visible files in a folder with a suffix in upper or lower case, sorted; none if there is
    no such folder.
    """
    there = visible_files(folder, deep=deep)
    return [path for path in there if path.suffix.lower() == suffix]


def subfolders(folder: Path) -> list[str]:
    """The names of the visible folders in a folder, sorted; none if there is no such folder."""
    if not folder.is_dir():
        return []
    names = []
    with os.scandir(folder) as entries:
        for entry in entries:
            with suppress(OSError):  # a link that leads to itself
                if entry.is_dir() and not entry.name.startswith("."):
                    names.append(entry.name)
    return sorted(names)


def picture_files(layout: Layout, folder: Path, *, deep: bool = True) -> dict[str, Path]:
    """Picture files by their path below `folder` without its suffix (in one Unicode form), sorted;
    with `deep` those of subfolders too.

    Two files with one stem and broken links become faults, other files a warning.
    """
    shown = under(layout.root, str(folder))
    by_name: dict[str, Path] = {}
    others: list[str] = []
    twice: list[str] = []
    for path in visible_files(folder, deep=deep):
        name = one_form(path.relative_to(folder).with_suffix("").as_posix())
        if path.suffix.lower() not in SUFFIXES:
            others.append(path.name)
        elif not path.is_file():
            layout.faults.append(f"{under(layout.root, str(path))}: no file that can be read")
        elif name in by_name:
            twice.append(f"{by_name[name].name} and {path.name}")
        else:
            by_name[name] = path
    if twice:
        layout.faults.append(f"{shown}: {listed(twice)} have one stem; keep one of them")
    if others:
        kinds = " ".join(SUFFIXES)
        layout.warnings.append(f"{shown}: not pictures ({kinds}), ignored: {listed(others)}")
    return by_name


def in_any_form(path: Path) -> Path:
    """The path of an existing file whose name may be stored in another Unicode form, and whose
    suffix may be in the other case; else the path itself.
    """
    suffixes = (path.suffix, path.suffix.upper(), path.suffix.lower())
    names = [f"{path.stem}{suffix}" for suffix in suffixes]
    forms = (path, *(path.with_name(normalize(f, n)) for n in names for f in ("NFC", "NFD")))
    return next((file for file in forms if file.is_file()), path)


def file_named(folder: Path, names: Iterable[str]) -> Path | None:
    """The first of these files that a folder holds, with its name in any case; None without."""
    if not folder.is_dir():
        return None
    with os.scandir(folder) as entries:
        there = {entry.name.lower(): folder / entry.name for entry in entries}
    found = (there[name] for name in names if name in there)
    return next((path for path in found if path.is_file()), None)


def lines(layout: Layout, path: Path, *, comments: bool = False) -> list[str]:
    """The stripped lines of a text file, with `comments` (#) or without; errors become faults."""
    stripped = (line.strip() for line in (read_text(layout, path) or "").splitlines())
    return [line for line in stripped if line and (comments or not line.startswith("#"))]


def read_text(layout: Layout, path: Path) -> str | None:
    """The content of a text file, in one Unicode form; None if it cannot be read, which is added
    to the faults.
    """
    name = under(layout.root, str(path))
    try:
        return one_form(read_bounded(path, MAX_TEXT_BYTES).decode("utf-8-sig"))
    except InputError as error:
        layout.faults.append(str(error).replace(str(path), name))
    except (OSError, UnicodeDecodeError) as error:
        layout.faults.append(f"{name} cannot be read: {error}")
    return None


def holds(root: Path, *folders: str) -> str | None:
    """The reason to read a folder in a format with these subfolders; None if one is missing."""
    if all((root / name).is_dir() for name in folders):
        return f"it holds {'/ and '.join(folders)}/"
    return None


def lacks(layout: Layout, folders: Iterable[str], format_name: str) -> bool:
    """Whether a required folder of a format is missing, which becomes one fault."""
    if missing := [name for name in folders if not (layout.root / name).is_dir()]:
        them = "it" if len(missing) == 1 else "them"
        no = "/ and no ".join(missing)
        layout.faults.append(f"there is no {no}/, as {format_name} has {them}")
    return bool(missing)


def class_names(layout: Layout) -> tuple[str, ...]:
    """The lines of classes.txt, or of labelme's class_names.txt; empty if there is neither. Errors
    in it become faults.
    """
    path = file_named(layout.root, _NAME_FILES)
    if path is None or (text := read_text(layout, path)) is None:
        return ()
    given = [line.strip() for line in text.splitlines() if line.strip()]
    if given[:1] == [_LABELME_IGNORE]:
        del given[0]
    names = tuple(BACKGROUND if name == _LABELME_BACKGROUND else name for name in given)
    if not 2 <= len(names) <= IGNORE_INDEX:
        layout.faults.append(
            f"{path.name} must name 2 to 255 classes, one a line, the background's first if there"
            f" is one; it names {len(names)}"
        )
        return ()
    if len(set(names)) < len(names):
        layout.faults.append(f"{path.name} names a class twice")
    return names


def class_order(layout: Layout, labels: Iterable[str]) -> tuple[str, ...]:
    """The classes by index: the lines of classes.txt if it exists, else the background and the
    labels in the given order. A label that classes.txt lacks becomes a fault.
    """
    given = list(dict.fromkeys(map(one_form, labels)))
    background = background_of(given)
    wanted = [label for label in given if label != background]
    if names := class_names(layout):
        if missing := [label for label in wanted if label not in names]:
            layout.faults.append(f"labels that classes.txt does not name: {listed(missing)}")
        return names
    if len(wanted) >= IGNORE_INDEX:
        layout.faults.append(f"there may be at most 254 labels, got {len(wanted)}")
        return ()
    return (BACKGROUND, *wanted)


def class_index(classes: tuple[str, ...], label: str) -> int:
    """The index of a label; 255 (ignore) for a label without a class, which is a fault already."""
    for name in (label, one_form(label)):
        if name in classes:
            return classes.index(name)
    return 0 if label.casefold() == BACKGROUND else IGNORE_INDEX


def export_files(folder: Path) -> list[Path]:
    """The visible JSON files directly in a folder; none if there are more than 20."""
    files = files_with(folder, ".json")
    return files if len(files) <= MAX_EXPORT_FILES else []


def head(path: Path, max_bytes: int = _HEAD_BYTES) -> bytes:
    """The first bytes of a file after BOM and white space; empty if it cannot be read."""
    try:
        if not path.is_file():  # opening a pipe would wait for ever
            return b""
        with path.open("rb") as file:
            return file.read(max_bytes).lstrip(b"\xef\xbb\xbf \t\r\n")
    except OSError:
        return b""


def ends(path: Path, max_bytes: int = _END_BYTES) -> bytes:
    """The first and last bytes of a file, where the keys of a large JSON object stand."""
    held = head(path, max_bytes)
    if not held:  # a pipe, too
        return b""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - max_bytes))
            return held + file.read(max_bytes)
    except OSError:
        return b""


def read_json(path: Path) -> Any:
    """The content of a JSON file, cached until the file changes. Raises InputError."""
    return _parsed(path, file_version(path))


def file_version(path: Path) -> tuple[int, int]:
    """Modification time in ns and size: a key for caches of the content. Raises InputError."""
    try:
        about = path.stat()
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}") from error
    return about.st_mtime_ns, about.st_size


@lru_cache(maxsize=4)
def _parsed(path: Path, _version: tuple[int, int]) -> Any:
    return parse_json(path)


def parse_json(path: Path, hook: Callable[[dict[str, Any]], object] | None = None) -> Any:
    """The content of a JSON file; `hook` replaces each parsed object. Raises InputError."""
    try:
        text = read_bounded(path, MAX_JSON_BYTES).decode("utf-8-sig")
        return json.loads(text, object_hook=hook)
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path} cannot be read as JSON: {str(error) or 'too deep'}") from error


def objects(value: object, what: str) -> list[dict[str, Any]]:
    """A list of JSON objects. Raises InputError for another value of `what`."""
    if not isinstance(value, list) or not all(isinstance(one, dict) for one in value):
        raise InputError(f"its {what} must be a list of objects, got {value!r:.40}")
    return value


def decode_base64(value: object) -> bytes:
    """Bytes written as base64, with or without the head of a data URL. Raises InputError."""
    if not isinstance(value, str):
        raise InputError(f"its bitmap must be a text, got {value!r:.40}")
    try:
        return base64.b64decode(value.rpartition("base64,")[2], validate=True)
    except ValueError as error:
        raise InputError(f"its bitmap is no base64 ({error})") from error
