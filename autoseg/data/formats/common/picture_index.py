"""The pictures below a data folder, looked up by the paths and addresses in annotation files."""

from __future__ import annotations

import os
import re
from collections import defaultdict
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


class PictureIndex:
    """The pictures below a folder without hidden ones, by file name and by the name that an upload
    makes of it.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.paths = [p for p in visible_files(root) if p.name.lower().endswith(SUFFIXES)]
        self._by_name: dict[str, list[Path]] = defaultdict(list)
        self._by_upload: dict[str, list[Path]] = defaultdict(list)
        for path in self.paths:
            self._by_name[path.name].append(path)
            self._by_upload[_upload_name(path.name)].append(path)

    def find(self, reference: object, near: Path | None = None) -> Path | None:
        """The picture of a path or address: by its file name, then by the folders before it, then
        by its distance from the folder `near`. None if there is none.

        Raises InputError where several pictures match equally well.
        """
        parts = path_parts(reference)
        if not parts:
            raise InputError(f"it names no picture, got {reference!r:.80}")
        found = self._by_name.get(parts[-1]) or self._by_upload.get(_upload_name(parts[-1])) or []
        folders = () if near is None else near.parts
        matches = [
            (_common(path.parts[-2::-1], parts[-2::-1]), _common(path.parts[:-1], folders))
            for path in found
        ]
        best = [p for p, match in zip(found, matches, strict=True) if match == max(matches)]
        if len(best) > 1:
            names = " and ".join(path.relative_to(self.root).as_posix() for path in best[:2])
            raise InputError(f"its picture {parts[-1]!r:.80} may be {names}")
        return best[0] if best else None


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


def _common(one: tuple[str, ...], other: tuple[str, ...]) -> int:
    """The number of equal parts at the beginning of two paths."""
    return len(os.path.commonprefix([one, other]))
