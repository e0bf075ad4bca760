"""Storages: where checkpoints are kept, the run's folder or any URL that fsspec opens.

A storage may be gone for a moment (a remount, a switch that restarts): `patiently` waits for it.
"""

from __future__ import annotations

import logging
import os
import re
import secrets
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, Self, TypeVar
from urllib.parse import urlsplit

from autoseg.core.errors import DeviceError, InputError

log = logging.getLogger(__name__)

# Seconds between two tries, doubled each time, and of all the waiting for a storage that is gone.
FIRST_WAIT_S, LONGEST_WAIT_S, MAX_WAIT_S = 0.5, 15.0, 180.0
# Faults that no waiting ends.
LASTING = (PermissionError, IsADirectoryError, NotADirectoryError)
# In a store of objects an empty folder does not exist: with this, one that is gone can be told.
MARKER = "autoseg.txt"
MARKER_TEXT = b"The checkpoints of a run of autoseg are kept here.\n"
WAY_OUT = "--storage is a URL such as s3://bucket/folder or file:///mnt/shared/folder"
_PROTOCOL = re.compile(r"([a-z][a-z0-9+.-]*)(::[a-z][a-z0-9+.-]*)*://", re.I)

T = TypeVar("T")


class Storage(Protocol):
    """Files of bytes in one place. It is cheap to construct, and can be pickled.

    Names hold no slash. Its verbs raise OSError; one of `LASTING` needs a person. A place that is
    not there is a fault to `read`, `write` and `names`, and never means that a file is missing.
    """

    def prepare(self) -> Self:
        """Make the place, once, before anything is written there."""

    def read(self, name: str) -> bytes | None:
        """The content of a file, None where there is none of this name."""

    def write(self, name: str, content: bytes) -> None:
        """Write a file: a kill leaves the old content or the new."""

    def remove(self, name: str) -> None:
        """Remove a file, which may be missing."""

    def names(self, prefix: str) -> list[str]:
        """The names that begin with `prefix`, among them those of halves that a kill has left."""


@dataclass(frozen=True)
class FolderStorage:
    """A folder of a mounted disk."""

    folder: Path

    def __str__(self) -> str:
        return str(self.folder)

    def prepare(self) -> Self:
        self.folder.mkdir(parents=True, exist_ok=True)
        return self

    def read(self, name: str) -> bytes | None:
        try:
            return (self.folder / name).read_bytes()
        except FileNotFoundError:
            os.stat(self.folder)
            return None

    def write(self, name: str, content: bytes) -> None:
        # A random name: a worker that was given up as lost may be writing the same file.
        draft = self.folder / _draft(name)
        try:
            with draft.open("wb") as file:
                file.write(content)
                file.flush()
                # After a power cut the name must not exist without its content.
                os.fsync(file.fileno())
            draft.replace(self.folder / name)
        finally:
            draft.unlink(missing_ok=True)

    def remove(self, name: str) -> None:
        (self.folder / name).unlink(missing_ok=True)

    def names(self, prefix: str) -> list[str]:
        return sorted(p.name for p in self.folder.iterdir() if p.name.startswith(prefix))


@dataclass(frozen=True)
class UrlStorage:
    """A folder behind a URL, as the drivers of fsspec open it (https://filesystem-spec.rtfd.io).

    A file is replaced by a move, which is atomic where the file system's own is.
    """

    url: str

    def __str__(self) -> str:
        return self.url

    def prepare(self) -> Self:
        with self._opened() as (files, root):
            # Not the parents: the first of them may be a bucket, which is the user's to make.
            # Where the folder needs one that is not there, writing to it fails.
            with suppress(FileExistsError, FileNotFoundError):
                files.mkdir(root, create_parents=False)
            files.pipe_file(f"{root}/{MARKER}", MARKER_TEXT)
        return self

    def read(self, name: str) -> bytes | None:
        with self._opened() as (files, root):
            try:
                return bytes(files.cat_file(f"{root}/{name}"))
            except FileNotFoundError:
                files.info(f"{root}/{MARKER}")
                return None

    def write(self, name: str, content: bytes) -> None:
        with self._opened() as (files, root):
            draft = f"{root}/{_draft(name)}"
            files.pipe_file(draft, content)
            files.mv(draft, f"{root}/{name}")

    def remove(self, name: str) -> None:
        with self._opened() as (files, root):
            with suppress(FileNotFoundError):
                files.rm_file(f"{root}/{name}")

    def names(self, prefix: str) -> list[str]:
        with self._opened() as (files, root):
            files.invalidate_cache(root)  # others write there
            found = [path.rstrip("/").rpartition("/")[2] for path in files.ls(root, detail=False)]
            if MARKER not in found:
                raise FileNotFoundError(f"{self.url} is gone")
            return sorted(n for n in found if n.startswith(prefix) and n != MARKER)

    @contextmanager
    def _opened(self) -> Iterator[tuple[Any, str]]:
        """The file system, which fsspec keeps for the next time, and the folder in it.

        A driver's own exceptions become OSError here and nowhere else.
        """
        from fsspec.core import url_to_fs

        try:
            files, root = url_to_fs(self.url)
            yield files, root.rstrip("/")
        except OSError:
            raise
        except Exception as error:
            raise OSError(f"{type(error).__name__}: {error}") from error


def _draft(name: str) -> str:
    return f"{name}.{secrets.token_hex(4)}.tmp"


def storage_at(url: str) -> Storage:
    """The storage of a URL. Raises InputError for a URL that no driver here opens."""
    check_url(url)
    if url.startswith("file://"):  # with all that a local disk can promise
        return FolderStorage(Path(url.removeprefix("file://")))
    from fsspec.core import url_to_fs
    from fsspec.registry import known_implementations

    *_, protocol = url.partition("://")[0].split("::")
    try:
        url_to_fs(url)
    except ImportError as error:
        package = known_implementations.get(protocol, {}).get("class", "").partition(".")[0]
        missing = package if package not in ("", "fsspec") else error.name or "its driver"
        raise InputError(
            f"--storage {url} needs a driver that is not installed: pip install {missing}"
        ) from error
    except Exception as error:
        raise InputError(f"--storage {url} cannot be opened ({error}); {WAY_OUT}") from error
    return UrlStorage(url)


def check_url(url: str) -> None:
    """Raises InputError for what is no URL that workers can open, or holds a password."""
    scheme = _PROTOCOL.match(url)
    if scheme is None:
        folder = f": for a folder, file://{os.path.abspath(url)}" if "://" not in url else ""
        raise InputError(f"{WAY_OUT}, got {url!r}{folder}")
    if _may_hold_secret(url):
        raise InputError(
            "--storage must hold no password and no query (?...), since run.yaml and the log show "
            "it: give secrets to the driver by its own configuration or environment, such as "
            "AWS_PROFILE"
        )
    if scheme[0].startswith("memory"):
        raise InputError("--storage memory:// is lost with its process, and workers have others")
    if scheme[0] == "file://" and not url.startswith("file:///"):
        raise InputError(f"{WAY_OUT}, with three slashes, got {url!r}")


def _may_hold_secret(url: str) -> bool:
    try:
        parts = [urlsplit(part) for part in url.split("::")]
        return any(part.password is not None or part.query for part in parts)
    except ValueError:  # no URL: whatever is in it is not shown
        return True


def require_usable(storage: Storage, needed: Collection[str] | None) -> None:
    """Raises InputError where a run cannot keep its checkpoints in a storage.

    `needed` are those that a continued run goes on from; None for a new run, whose place must be
    empty: files of the same name would be taken for its own.
    """
    try:
        if needed:
            _require_any(storage, needed)
        storage.prepare()
        if needed is None and (found := storage.names("")):
            raise InputError(
                f"{storage} holds files already, such as {found[0]}: choose another --name or "
                "--storage, or remove them"
            )
        _try(storage)
    except OSError as error:
        raise InputError(
            f"checkpoints cannot be kept in {storage} ({error}): see that it exists, and that you "
            "may read and write there, or choose another --storage"
        ) from error


def _require_any(storage: Storage, needed: Collection[str]) -> None:
    try:
        found = set(storage.names(""))
    except OSError as error:
        log.debug("%s", storage, exc_info=True)
        found, gone = set(), f" ({error})"
    else:
        gone = ""
    if not found.intersection(needed):
        raise InputError(
            f"of the {len(needed)} checkpoint(s) that the run goes on from none is in "
            f"{storage}{gone}: bring it back, or move them and say --storage NEWPLACE"
        )


def _try(storage: Storage) -> None:
    name, content = f"try.{secrets.token_hex(4)}", secrets.token_bytes(16)
    storage.write(name, content)
    kept = storage.read(name)
    storage.remove(name)
    if kept != content:
        raise OSError("it does not keep what is written to it")


def patiently(
    do: Callable[[], T], storage: Storage, alive: Callable[[], None] = lambda: None
) -> T:
    """What `do` returns, tried again for `MAX_WAIT_S` seconds while the storage is gone.

    `alive` is called before each wait, for a watchdog. Raises DeviceError.
    """
    # A sum of waits: a paused worker's clock goes on.
    waited_s, wait_s = 0.0, FIRST_WAIT_S
    while True:
        try:
            return do()
        except OSError as error:
            cause = error.strerror or error  # without the name of a draft
            if isinstance(error, LASTING) or waited_s >= MAX_WAIT_S:
                text = f"checkpoints in {storage} cannot be read or written ({cause})"
                raise DeviceError(f"{text}: fix that, then --resume") from error
            if not waited_s:
                log.warning("waiting for the checkpoints in %s (%s)", storage, cause)
        alive()
        time.sleep(wait_s)
        waited_s += wait_s
        wait_s = min(2 * wait_s, LONGEST_WAIT_S)
