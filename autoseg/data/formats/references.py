"""Annotation files, and the pictures they name: only what lies below the data folder is found."""

from __future__ import annotations

import base64
import json
import os
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from autoseg.core.errors import InputError
from autoseg.core.records import IGNORE_INDEX
from autoseg.data.dataset import Sample
from autoseg.data.formats.pairing import SPLIT_NAMES
from autoseg.data.formats.plain import class_names
from autoseg.data.layout import Found, listed
from autoseg.data.pictures import SUFFIXES

BACKGROUND = "background"
# Where Label Studio's addresses hold the file: /data/local-files/?d=…, /storage-data/…?filepath=…
_SERVED = ("/data/", "/storage-data/")
_QUERIES = ("d", "filepath")
_UPLOAD_PREFIX = re.compile(r"^([0-9a-f]{8}-)+")


def read_json(path: Path) -> Any:
    """What a JSON file holds, kept for its readers as long as the file does not change. Raises
    InputError.
    """
    return _parsed(path, stamp(path))


def stamp(path: Path) -> tuple[int, int]:
    """What tells that a file has changed: its time in ns and its size. Raises InputError."""
    try:
        about = path.stat()
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}") from error
    return about.st_mtime_ns, about.st_size


@lru_cache(maxsize=4)
def _parsed(path: Path, _stamp: tuple[int, int]) -> Any:
    return parse_json(path)


def parse_json(path: Path, hook: Callable[[dict[str, Any]], object] | None = None) -> Any:
    """What a JSON file holds; `hook` replaces each object as it is parsed. Raises InputError."""
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"), object_hook=hook)
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path} cannot be read as JSON: {str(error) or 'too deep'}") from error


@dataclass(frozen=True)
class Pictures:
    """The pictures below a folder, by file name and by the name that an upload leaves of it."""

    root: Path
    by_name: dict[str, list[Path]]
    by_upload: dict[str, list[Path]]

    def find(self, reference: object, near: Path | None = None) -> Path | None:
        """The picture that a path or an address means: its file name counts, then the folders
        before it, then how near it lies to the folder `near`. None where it is not there; raises
        InputError where it may be several.
        """
        parts = path_parts(reference)
        if not parts:
            raise InputError(f"it names no picture, got {reference!r:.80}")
        found = self.by_name.get(parts[-1]) or self.by_upload.get(_upload(parts[-1])) or []
        ends = parts[-2::-1]
        folders = () if near is None else near.parts
        alike = [
            (_in_common(path.parts[-2::-1], ends), _in_common(path.parts[:-1], folders))
            for path in found
        ]
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


def class_order(found: Found, labels: Iterable[str]) -> tuple[str, ...]:
    """The classes by index: the lines of classes.txt where there is one, else the background and
    the labels as they come. A label that is no class becomes a fault.
    """
    wanted = [label for label in labels if label.casefold() != BACKGROUND]
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


def decode_base64(value: object) -> bytes:
    """Bytes written as base64, alone or behind the head of a data address. Raises InputError."""
    if not isinstance(value, str):
        raise InputError(f"its bitmap must be a text, got {value!r:.40}")
    try:
        return base64.b64decode(value.rpartition("base64,")[2], validate=True)
    except ValueError as error:
        raise InputError(f"its bitmap is no base64 ({error})") from error


def by_splits(found: Found, pairs: dict[Path, str]) -> dict[str, list[Sample]]:
    """Samples in the splits that folders above the pictures are named after (train, valid …), or
    all in one where none is.
    """
    splits: dict[str, list[tuple[Path, str]]] = defaultdict(list)
    for picture, mask in pairs.items():
        splits[split_of(picture.relative_to(found.root).parent.as_posix())].append((picture, mask))
    return named_splits(found, splits)


def named_splits(
    found: Found, splits: dict[str, list[tuple[Path, str]]]
) -> dict[str, list[Sample]]:
    """Samples by split. With fewer than two splits there is none; pairs without a split beside
    others become a fault.
    """
    if len(splits.keys() - {""}) < 2:
        return {"": with_stems(found.root, [pair for pairs in splits.values() for pair in pairs])}
    if lost := [picture.name for picture, _ in splits.pop("", ())]:
        found.faults.append(f"in no folder of a split, as others are: {listed(sorted(lost))}")
    return {split: with_stems(found.root, pairs) for split, pairs in splits.items()}


def split_of(name: str) -> str:
    """The split that a file or folder is named after (instances_train2017, valid/…), else ""."""
    words = re.findall("[a-z]+", name.lower())
    return next((SPLIT_NAMES[word] for word in reversed(words) if word in SPLIT_NAMES), "")


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


def _in_common(one: tuple[str, ...], other: tuple[str, ...]) -> int:
    """How many parts two paths begin with alike."""
    return next(
        (n for n, (a, b) in enumerate(zip(one, other, strict=False)) if a != b),
        min(len(one), len(other)),
    )
