"""One measurement at a time on a machine, whoever asks: two at once would time each other."""

import fcntl
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from autoseg.records import DeviceError

POLL_S = 0.02


def lock_path() -> Path:
    """The file that all users of this machine lock."""
    return Path(tempfile.gettempdir()) / "autoseg-measuring.lock"


@contextmanager
def machine_lock(what: str, wait_s: float) -> Iterator[int]:
    """Holds this machine, saying for what; yields the file descriptor that holds it.

    The system lets go once every process with the descriptor has ended: a kill -9 leaves nothing.
    Raises DeviceError, naming the holder, when another still has it after `wait_s`.
    """
    descriptor = _open(lock_path())
    try:
        _wait(descriptor, wait_s)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"process {os.getpid()}, {what}".encode(), 0)
        yield descriptor
    finally:
        os.close(descriptor)


def _open(path: Path) -> int:
    flags = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        try:
            # A shared folder lets nobody "create" a file that another user already made.
            return os.open(path, flags)
        except FileNotFoundError:
            descriptor = os.open(path, flags | os.O_CREAT, 0o666)
            os.fchmod(descriptor, 0o666)
            return descriptor
    except OSError as error:
        raise DeviceError(f"cannot use the lock file {path}: {error}; remove it") from error


def _wait(descriptor: int, wait_s: float) -> None:
    deadline = time.monotonic() + wait_s
    while True:
        try:
            return fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            if time.monotonic() >= deadline:
                holder = os.pread(descriptor, 500, 0).decode(errors="replace")
                text = f"this machine is being measured by {holder or 'another process'}"
                raise DeviceError(f"{text}; waited {wait_s:g} s, try again later") from error
            time.sleep(POLL_S)
