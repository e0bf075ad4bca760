"""Annotation files, and the pictures they name: only what lies below the data folder is found."""

from __future__ import annotations

import json
import os
import re
from collections import Counter, defaultdict
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from autoseg.data.dataset import Sample
from autoseg.data.formats.plain import class_names
from autoseg.data.layout import Found, listed
from autoseg.data.pictures import SUFFIXES
from autoseg.records import IGNORE_INDEX, InputError

BACKGROUND = "background"
# Where Label Studio's addresses hold the file: /data/local-files/?d=…, /storage-data/…?filepath=…
_SERVED = ("/data/", "/storage-data/")
_QUERIES = ("d", "filepath")
_UPLOAD_PREFIX = re.compile(r"^([0-9a-f]{8}-)+")


def read_json(path: Path) -> Any:
    """What a JSON file holds, kept for its readers as long as the file does not change. Raises
    InputError.
    """
    try:
        about = path.stat()
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}") from error
    return _parsed(path, about.st_mtime_ns, about.st_size)


@lru_cache(maxsize=4)
def _parsed(path: Path, _changed_ns: int, _size: int) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path} cannot be read as JSON: {str(error) or 'too deep'}") from error


@dataclass(frozen=True)
class Pictures:
    """The pictures below a folder, by file name and by the name that an upload leaves of it."""

    root: Path
    by_name: dict[str, list[Path]]
    by_upload: dict[str, list[Path]]

    def find(self, reference: object) -> Path | None:
        """The picture that a path or an address means: its file name counts, then the folders
        before it. None where it is not there; raises InputError where it may be several.
        """
        parts = path_parts(reference)
        if not parts:
            raise InputError(f"it names no picture, got {reference!r:.80}")
        found = self.by_name.get(parts[-1]) or self.by_upload.get(_upload(parts[-1])) or []
        alike = [_common_end(path.parts[:-1], parts[:-1]) for path in found]
        best = [p for p, n in zip(found, alike, strict=True) if n == max(alike)]
        if len(best) > 1:
            names = " and ".join(path.relative_to(self.root).as_posix() for path in best[:2])
            raise InputError(f"its picture {parts[-1]!r:.80} may be {names}")
        return best[0] if best else None


def pictures_below(root: Path) -> Pictures:
    """All pictures of a folder and of its folders, hidden ones left out."""
    by_name: dict[str, list[Path]] = defaultdict(list)
    by_upload: dict[str, list[Path]] = defaultdict(list)
    for folder, folders, files in os.walk(root):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            if not name.startswith(".") and name.lower().endswith(SUFFIXES):
                by_name[name].append(Path(folder, name))
                by_upload[_upload(name)].append(Path(folder, name))
    return Pictures(root, dict(by_name), dict(by_upload))


def with_stems(root: Path, pairs: list[tuple[Path, str]]) -> list[Sample]:
    """Samples of (picture, mask) in the order of the pictures; where two pictures have one stem,
    theirs are their paths below `root`.
    """
    used = Counter(picture.stem for picture, _ in pairs)
    samples = []
    for picture, mask in sorted(pairs):
        stem = picture.stem
        if used[stem] > 1:
            stem = picture.relative_to(root).with_suffix("").as_posix()
        samples.append(Sample(stem, stem, str(picture), mask))
    return samples


def class_order(found: Found, labels: set[str]) -> tuple[str, ...]:
    """The classes by index: the lines of classes.txt where there is one, else the background and
    the labels in the order of their names. A label that is no class becomes a fault.
    """
    wanted = sorted(label for label in labels if label.casefold() != BACKGROUND)
    if names := class_names(found):
        missing = [label for label in wanted if label not in names]
        if missing:
            found.faults.append(f"labels that classes.txt does not name: {listed(missing)}")
        return names
    if len(wanted) >= IGNORE_INDEX:
        found.faults.append(f"254 labels or fewer can be told apart, got {len(wanted)}")
        return ()
    return (BACKGROUND, *wanted)


def class_number(classes: tuple[str, ...], label: str) -> int:
    """The index of a label; a label that is no class is a fault already, and ignored here."""
    if label in classes:
        return classes.index(label)
    return 0 if label.casefold() == BACKGROUND else IGNORE_INDEX


def path_parts(reference: object) -> tuple[str, ...]:
    """Folders and file name that a path or an address ends with; empty if it is none."""
    if not isinstance(reference, str):
        return ()
    path = reference
    if "://" in reference or reference.startswith(_SERVED):
        try:
            address = urlsplit(reference)
            query = parse_qs(address.query)
        except ValueError:
            return ()
        held = next((query[key][-1] for key in _QUERIES if key in query), None)
        path = unquote(address.path) if held is None else held
    return tuple(part for part in path.replace("\\", "/").split("/") if part not in ("", "."))


def _upload(name: str) -> str:
    """Label Studio puts 8 digits before the name of an upload (again, when its own file is
    uploaded), makes spaces underscores and drops signs.
    """
    return re.sub(r"[^\w.-]", "", _UPLOAD_PREFIX.sub("", name).replace(" ", "_"))


def _common_end(one: tuple[str, ...], other: tuple[str, ...]) -> int:
    count = 0
    for left, right in zip(reversed(one), reversed(other), strict=False):
        if left != right:
            break
        count += 1
    return count
