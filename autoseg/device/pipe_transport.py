"""A runner that is a process of this machine, at the other end of two pipes."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import sys
import tempfile
import weakref
from typing import IO

from autoseg.core.text import bounded
from autoseg.device import runner
from autoseg.device.rpc import HEARTBEAT_TIMEOUT_S, ConnectionLost, NoHeartbeat, RunnerExited

CHUNK_BYTES = 1 << 16
# What Python and the dynamic linker need to find the same libraries; the rest stays out.
PASSED_ENVIRONMENT = (
    "PATH",
    "HOME",
    "LANG",
    "TMPDIR",
    "LD_LIBRARY_PATH",
    "DYLD_LIBRARY_PATH",
    "PYTHONPATH",
)


class PipeTransport:
    """The Transport to a new runner; it ends when this is closed, forgotten, or dies with us."""

    def __init__(self, python: str = sys.executable) -> None:
        self._complaints = tempfile.TemporaryFile()
        self._process = subprocess.Popen(
            # -P: the runner's own folder must not shadow anybody's modules.
            [python, "-P", runner.__file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._complaints,
            env={name: os.environ[name] for name in PASSED_ENVIRONMENT if name in os.environ},
            bufsize=0,
            # Ctrl-C is for us: we decide whether the runner ends.
            start_new_session=True,
        )
        os.set_blocking(_fd(self._process.stdin), False)
        self.close = weakref.finalize(self, _end, self._process, os.getpid())

    def send(self, data: bytes) -> None:
        """Sends everything. Raises Lost, and Silent where nothing was taken for QUIET_S."""
        pipe, view = _fd(self._process.stdin), memoryview(data)
        while view:
            if not _ready(pipe, selectors.EVENT_WRITE, HEARTBEAT_TIMEOUT_S):
                raise NoHeartbeat(f"took nothing for {HEARTBEAT_TIMEOUT_S:g} s")
            try:
                view = view[os.write(pipe, view) :]
            except BlockingIOError:
                continue
            except OSError as error:
                raise self._loss() from error

    def receive(self, timeout_s: float) -> bytes:
        """At least one byte. Raises TimeoutError, and Lost at the end."""
        pipe = _fd(self._process.stdout)
        if not _ready(pipe, selectors.EVENT_READ, timeout_s):
            raise TimeoutError
        chunk = os.read(pipe, CHUNK_BYTES)
        if not chunk:
            raise self._loss()
        return chunk

    def _loss(self) -> ConnectionLost:
        try:
            code = self._process.wait(timeout=2)
        except subprocess.TimeoutExpired:
            return RunnerExited("closed its pipes")
        self._complaints.seek(max(0, self._complaints.seek(0, os.SEEK_END) - 1000))
        said = bounded(self._complaints.read(), 500)
        how = f"was ended by signal {-code}" if code < 0 else f"exited with code {code}"
        hint = " (often: out of memory)" if code == -signal.SIGKILL else ""
        return RunnerExited(f"{how}{hint}{': ' if said else ''}{said}")


def _fd(pipe: IO[bytes] | None) -> int:
    if pipe is None or pipe.closed:
        raise ConnectionLost("is closed")
    return pipe.fileno()


def _ready(fd: int, event: int, timeout_s: float) -> bool:
    with selectors.DefaultSelector() as selector:
        selector.register(fd, event)
        return bool(selector.select(timeout_s))


def _end(process: subprocess.Popen[bytes], owner: int) -> None:
    """Ends the runner at once, unless we are a fork of the process that started it."""
    if os.getpid() != owner:
        return
    # Its child ends with it. The pipes are left to be collected: a thread may wait on them.
    with contextlib.suppress(ProcessLookupError):
        process.kill()
    process.wait()
