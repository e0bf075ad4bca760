"""Files that a reader sees whole or not at all, and no more of than memory holds."""

from __future__ import annotations

import secrets
import stat
from pathlib import Path

from autoseg.core.errors import InputError


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write a file, text in UTF-8, so that a reader never sees half of it; raises OSError.

    Characters outside UTF-8, as in a file's name of another encoding, are written as escapes.
    """
    data = content if isinstance(content, bytes) else content.encode("utf-8", "backslashreplace")
    # A random name: another process may be writing the same file.
    temporary = path.with_name(f".{secrets.token_hex(8)}.tmp")
    try:
        temporary.write_bytes(data)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def read_bounded(path: Path, max_bytes: int) -> bytes:
    """The content of a file. Raises OSError, and InputError for one over `max_bytes`, or for what
    is no file, such as a pipe.
    """
    try:
        about = path.stat()
    except ValueError as error:  # zeros and lone surrogates, which file names in files may hold
        raise InputError(f"{str(path)!r} is no name of a file") from error
    if not stat.S_ISREG(about.st_mode):
        raise InputError(f"{path} is no file")
    if about.st_size > max_bytes:
        raise InputError(f"{path} is over {max_bytes / 2**20:,g} MiB, too large to be read")
    return path.read_bytes()


def lfs_pointer(path: Path) -> str:
    """What is wrong with a file that Git LFS left a pointer for; empty where it is none.

    https://github.com/git-lfs/git-lfs/blob/main/docs/spec.md
    """
    try:
        with path.open("rb") as file:
            head = file.read(1024)
    except OSError:
        return ""
    if not head.startswith(b"version https://git-lfs.github.com/spec/"):
        return ""
    return (
        f"{path} is a pointer of Git LFS, not the file it stands for; in its repository, run: "
        "git lfs install && git lfs pull"
    )
