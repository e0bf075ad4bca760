"""Unpack a .zip of a data set into the user's cache; other archives are refused by name.

A zip comes from anywhere: names, sizes and kinds of its entries are checked before anything is
written. What is unpacked is kept by the digest of the file, so that it happens once.
"""

from __future__ import annotations

import logging
import secrets
import shutil
import stat
import struct
import time
import zipfile
import zlib
from collections import Counter
from functools import lru_cache
from pathlib import Path

from autoseg.core.errors import InputError
from autoseg.core.serialize import file_digest
from autoseg.data.layout import listed

log = logging.getLogger(__name__)

# The directory of a zip is held in memory, about 1 KiB an entry.
MAX_ENTRIES = 1_000_000
MAX_DIRECTORY_BYTES = 128 * 2**20
# Of the free space: the caches of a run need some, too.
_MAX_SHARE_OF_FREE = 0.8
# A text or an uncompressed mask shrinks up to a thousandfold; such files are small. More than this
# for the whole file is a bomb.
_MAX_RATIO = 200
_SMALL_BYTES = 2**30
_MAX_DRAFT_AGE_S = 86400
_ENCRYPTED, _UTF_8 = 0x1, 0x800
_END, _END_64_PLACE = b"PK\x05\x06", b"PK\x06\x07"
# The end record and its comment, the 64-bit record before it, and the place of that one.
_END_BYTES, _MAX_COMMENT_BYTES, _END_64_BYTES, _PLACE_BYTES = 22, 65535, 56, 20
_LFS_HEAD = b"version https://git-lfs"
_SKIPPED = "__MACOSX"  # copies of the files' attributes
# What zipfile raises for damaged files: names that are no UTF-8 although marked so, cut fields …
_DAMAGED = (
    OSError, zipfile.BadZipFile, NotImplementedError, zlib.error, EOFError, ValueError,
    RuntimeError, struct.error,
)  # fmt: skip
# Others (Deflate64, bzip2, LZMA) cannot be read, or take memory as the file states it.
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_ARCHIVES = (".tar", ".tgz", ".gz", ".bz2", ".xz", ".zst", ".7z", ".rar")
_TABLES = (".parquet", ".arrow", ".h5", ".hdf5", ".tfrecord", ".npz", ".lmdb", ".mdb")


def folder_of(data: Path) -> Path:
    """The folder of a data set: `data` itself, or where a .zip is unpacked.

    Raises InputError for other files, and for a zip that is damaged, encrypted, too large, or has
    entries that lead out of its folder.
    """
    if not data.is_file():
        return data
    name = data.name.lower()
    if name.endswith(".zip"):
        return _unpacked(data)
    if name.endswith(_TABLES):
        raise InputError(
            f"{data} is not read: write its pictures and masks as files, images/NAME.png and"
            " masks/NAME.png, and give the folder"
        )
    if name.endswith(_ARCHIVES):
        raise InputError(f"{data} is not read: unpack it and give the folder, or make it a .zip")
    raise InputError(f"{data} is a file: give the folder that holds the data set, or a .zip of it")


def cache_folder() -> Path:
    """Where zips are unpacked: a folder a digest."""
    return Path.home() / ".cache" / "autoseg" / "unpacked"


def _unpacked(path: Path) -> Path:
    """The unpacked folder; in it, the only folder where there is nothing else."""
    try:
        _check_directory(path)  # before the digest of what may be very large
        about = path.stat()
        folder = cache_folder() / _digest(path.resolve(), about.st_size, about.st_mtime_ns)
        if not folder.is_dir():
            _unpack(path, folder)
        return _inner(folder)
    except _DAMAGED as error:
        raise InputError(
            f"{path} cannot be unpacked ({error}): unpack it yourself and give the folder"
        ) from error


@lru_cache(maxsize=8)
def _digest(path: Path, _size: int, _time_ns: int) -> str:
    return file_digest(path)[:32]


def _inner(folder: Path) -> Path:
    while len(inside := list(folder.iterdir())) == 1 and inside[0].is_dir():
        folder = inside[0]
    return folder


def _unpack(path: Path, folder: Path) -> None:
    """Unpack completely, or leave nothing. Raises InputError."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    _remove_old_drafts(folder)
    draft = folder.parent / f".{folder.name}.{secrets.token_hex(4)}"
    try:
        with zipfile.ZipFile(path) as file:
            entries = _entries(path, file)
            _check_size(path, entries, shutil.disk_usage(folder.parent).free)
            log.info("unpacking %s into %s", path, folder)
            draft.mkdir()
            for name, entry in entries.items():
                _write(file, entry, draft / name)
        if not folder.is_dir():  # another process may have unpacked it meanwhile
            draft.rename(folder)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _write(file: zipfile.ZipFile, entry: zipfile.ZipInfo, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    # No more than the stated size is ever decompressed, and then the checksum is compared.
    with file.open(entry) as packed, target.open("xb") as written:
        shutil.copyfileobj(packed, written, 2**20)


def _remove_old_drafts(folder: Path) -> None:
    """Remove what a killed process left."""
    for draft in folder.parent.glob(f".{folder.name}.*"):
        if time.time() - draft.stat().st_mtime > _MAX_DRAFT_AGE_S:
            shutil.rmtree(draft, ignore_errors=True)


def _entries(path: Path, file: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    """The files by their relative names. Raises InputError for any entry that is not safe."""
    infos = [info for info in file.infolist() if info.filename.split("/")[0] != _SKIPPED]
    if encrypted := [info for info in infos if info.flag_bits & _ENCRYPTED]:
        raise InputError(
            f"{path} is encrypted ({_shown(encrypted)}): unpack it with its password and give the"
            " folder"
        )
    if links := [info for info in infos if _is_special(info)]:
        raise InputError(f"{path} holds links or devices, which are not unpacked: {_shown(links)}")
    if other := [info for info in infos if info.compress_type not in _METHODS]:
        raise InputError(
            f"{path} is packed by another method than Deflate ({_shown(other)}): unpack it"
            " yourself and give the folder"
        )
    if unsafe := [info for info in infos if not _is_inside(_name(info))]:
        raise InputError(f"{path} has entries that lead out of its folder: {_shown(unsafe)}")
    files = [info for info in infos if not _name(info).endswith("/")]
    counts = Counter(map(_name, files))
    if twice := [info for info in files if counts[_name(info)] > 1]:
        raise InputError(f"{path} has several files of one name: {_shown(twice)}")
    if old := [info for info in files if _is_no_utf_8(info)]:
        log.warning("%s: names that are no UTF-8, read as code page 437: %s", path, _shown(old))
    return {_name(info): info for info in files}


def _shown(infos: list[zipfile.ZipInfo]) -> str:
    return listed([info.filename[:80] for info in infos])


def _is_special(info: zipfile.ZipInfo) -> bool:
    """Whether Unix attributes, if there are any, say that it is no file and no folder."""
    mode = info.external_attr >> 16
    return bool(stat.S_IFMT(mode)) and not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def _name(info: zipfile.ZipInfo) -> str:
    """The name with / between folders (old Windows programs write backslashes). Names without the
    mark of UTF-8 may be it all the same: macOS leaves the mark out.
    """
    name = info.filename
    if not info.flag_bits & _UTF_8 and not name.isascii() and not _is_no_utf_8(info):
        name = name.encode("cp437").decode("utf-8")
    return name.replace("\\", "/")


def _is_no_utf_8(info: zipfile.ZipInfo) -> bool:
    if info.flag_bits & _UTF_8 or info.filename.isascii():
        return False
    try:
        info.filename.encode("cp437").decode("utf-8")
    except UnicodeError:
        return True
    return False


def _is_inside(name: str) -> bool:
    parts = name.split("/")
    drive = parts[0][:1].isalpha() and parts[0][1:2] == ":"
    return not (drive or ".." in parts or name.startswith("/") or "\0" in name)


def _check_size(path: Path, entries: dict[str, zipfile.ZipInfo], free_bytes: int) -> None:
    if len(entries) > MAX_ENTRIES:
        raise InputError(f"{path} has {len(entries)} entries, more than {MAX_ENTRIES}")
    total = sum(info.file_size for info in entries.values())
    packed = path.stat().st_size
    if total > max(_SMALL_BYTES, _MAX_RATIO * packed):
        raise InputError(
            f"{path} of {_mib(packed)} would become {_mib(total)}, over {_MAX_RATIO} times as"
            " much: unpack it yourself if you trust it, and give the folder"
        )
    if total > _MAX_SHARE_OF_FREE * free_bytes:
        raise InputError(
            f"{path} would become {_mib(total)}, and {_mib(free_bytes)} are free in"
            f" {cache_folder()}: make room, or unpack it elsewhere and give the folder"
        )


def _mib(size_bytes: int) -> str:
    return f"{-(-size_bytes // 2**20):,} MiB"


def _check_directory(path: Path) -> None:
    """Raise InputError for a file that is no zip, or whose directory would fill the memory."""
    with path.open("rb") as file:
        if file.read(len(_LFS_HEAD)) == _LFS_HEAD:
            raise InputError(f"{path} is a pointer of Git LFS: fetch the file with `git lfs pull`")
    if (size := _directory_bytes(path)) > MAX_DIRECTORY_BYTES:
        raise InputError(
            f"{path} has a directory of {_mib(size)}, more than {_mib(MAX_DIRECTORY_BYTES)}:"
            " unpack it yourself and give the folder"
        )
    if not zipfile.is_zipfile(path):
        raise InputError(f"{path} is no zip file, or not all of it: get it again")


def _directory_bytes(path: Path) -> int:
    """The size of a zip's directory as its end records state it (APPNOTE.TXT 4.3.14 to 4.3.16), at
    the places where `zipfile` looks for them.
    """
    before = _END_64_BYTES + _PLACE_BYTES
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - before - _END_BYTES - _MAX_COMMENT_BYTES))
        tail = bytes(before) + file.read()
    place = len(tail) - _END_BYTES
    if not tail.startswith(_END, place):  # there is a comment behind it
        place = tail.rfind(_END, 0, place)
    if place < before:
        return 0
    (size,) = struct.unpack_from("<L", tail, place + 12)
    if tail.startswith(_END_64_PLACE, place - _PLACE_BYTES):
        (size,) = struct.unpack_from("<Q", tail, place - before + 40)
    return int(size)
