"""The pictures below a data folder, looked up by the paths and addresses in annotation files."""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

from autoseg.core.errors import InputError
from autoseg.data.formats.common.files import visible_files
from autoseg.data.pictures import SUFFIXES

# Label Studio's addresses hold the file in a query: /data/local-files/?d=…, /storage-data/…
# ?filepath=…
_SERVED = ("/data/", "/storage-data/")
_QUERIES = ("d", "filepath")
_UPLOAD_PREFIX = re.compile(r"^([0-9a-f]{8}-)+")


@dataclass(frozen=True)
class PictureIndex:
    """The pictures below a folder, by file name and by the name that an upload makes of it."""

    root: Path
    by_name: dict[str, list[Path]]
    by_upload: dict[str, list[Path]]

    def find(self, reference: object, near: Path | None = None) -> Path | None:
        """The picture of a path or address: by its file name, then by the folders before it, then
        by its distance from the folder `near`. None if there is none.

        Raises InputError where several pictures match equally well.
        """
        parts = path_parts(reference)
        if not parts:
            raise InputError(f"it names no picture, got {reference!r:.80}")
        found = self.by_name.get(parts[-1]) or self.by_upload.get(_upload_name(parts[-1])) or []
        ends = parts[-2::-1]
        folders = () if near is None else near.parts
        matches = [
            (_common_parts(path.parts[-2::-1], ends), _common_parts(path.parts[:-1], folders))
            for path in found
        ]
        best = [p for p, match in zip(found, matches, strict=True) if match == max(matches)]
        if len(best) > 1:
            names = " and ".join(path.relative_to(self.root).as_posix() for path in best[:2])
            raise InputError(f"its picture {parts[-1]!r:.80} may be {names}")
        return best[0] if best else None

    @property
    def paths(self) -> list[Path]:
        """All pictures."""
        return [path for paths in self.by_name.values() for path in paths]


def index_pictures(root: Path) -> PictureIndex:
    """Index all pictures of a folder and its subfolders, without hidden ones."""
    by_name: dict[str, list[Path]] = defaultdict(list)
    by_upload: dict[str, list[Path]] = defaultdict(list)
    for path in visible_files(root):
        if path.name.lower().endswith(SUFFIXES):
            by_name[path.name].append(path)
            by_upload[_upload_name(path.name)].append(path)
    return PictureIndex(root, dict(by_name), dict(by_upload))


def path_parts(reference: object) -> tuple[str, ...]:
    """Folders and file name at the end of a path or address; empty if it is neither."""
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


def _upload_name(name: str) -> str:
    """The name that Label Studio makes of an uploaded file: without the 8 digits before it (twice
    where its own file was uploaded), spaces as underscores, no other signs.
    """
    return re.sub(r"[^\w.-]", "", _UPLOAD_PREFIX.sub("", name).replace(" ", "_"))


def _common_parts(one: tuple[str, ...], other: tuple[str, ...]) -> int:
    """The number of equal parts at the beginning of two paths."""
    return next(
        (n for n, (a, b) in enumerate(zip(one, other, strict=False)) if a != b),
        min(len(one), len(other)),
    )
