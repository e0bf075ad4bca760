"""This machine as a device; the runner is a process of its own, connected by two pipes."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import sys
import tempfile
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import IO

from autoseg.core.errors import DeviceError
from autoseg.core.text import bounded
from autoseg.device import runner
from autoseg.device.board import Board
from autoseg.device.device_profile import Profile
from autoseg.device.rpc import HEARTBEAT_TIMEOUT_S, Transport
from autoseg.device.rpc_schema import ConnectionLost, NoHeartbeat, RunnerExited

CHUNK_BYTES = 1 << 16
# Needed by Python and the dynamic linker to find the same libraries; no other variable is passed.
PASSED_ENVIRONMENT = "PATH HOME LANG TMPDIR LD_LIBRARY_PATH DYLD_LIBRARY_PATH PYTHONPATH".split()


@dataclass
class LocalLauncher:
    """Starts runners on this machine, connected by two pipes."""

    name: str = "this machine"
    here: bool = True
    shares_files: bool = True
    keeps_claim: bool = False
    claim_wait_s: float = 300.0

    def open(self) -> Transport:
        """Starts a runner. Raises DeviceError."""
        try:
            return PipeTransport()
        except OSError as error:
            raise DeviceError(f"{self.name} cannot start the runner: {error}") from error

    def close(self) -> None:
        """Does nothing: only runners were started."""


def local_device(
    profile: Profile | None = None, *, shapes: Mapping[str, Sequence[int]] | None = None
) -> Board:
    """This machine, timed as its profile says; `shapes` fills sizes that a model leaves open."""
    return Board(profile or Profile(name="local", kind="local"), LocalLauncher(), shapes=shapes)


class PipeTransport:
    """The Transport of a new runner, which ends with this object and with our process."""

    def __init__(self) -> None:
        self._stderr = tempfile.TemporaryFile()
        self._process = subprocess.Popen(
            # -P: the runner's folder must not shadow other modules.
            [sys.executable, "-P", runner.__file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            env={name: os.environ[name] for name in PASSED_ENVIRONMENT if name in os.environ},
            bufsize=0,
            # Ctrl-C must not reach the runner: we decide when it ends.
            start_new_session=True,
        )
        os.set_blocking(_fd(self._process.stdin), False)
        self.close = weakref.finalize(self, _end, self._process, os.getpid())

    def send(self, data: bytes) -> None:
        """Sends all data. Raises ConnectionLost; NoHeartbeat after HEARTBEAT_TIMEOUT_S."""
        pipe, view = _fd(self._process.stdin), memoryview(data)
        while view:
            if not _ready(pipe, selectors.EVENT_WRITE, HEARTBEAT_TIMEOUT_S):
                raise NoHeartbeat(f"read nothing for {HEARTBEAT_TIMEOUT_S:g} s")
            try:
                view = view[os.write(pipe, view) :]
            except BlockingIOError:
                continue
            except OSError as error:
                raise self._loss() from error

    def receive(self, timeout_s: float) -> bytes:
        """At least one byte. Raises TimeoutError; ConnectionLost at the end of the stream."""
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
        self._stderr.seek(max(0, self._stderr.seek(0, os.SEEK_END) - 1000))
        output = bounded(self._stderr.read(), 500)
        how = f"was ended by signal {-code}" if code < 0 else f"exited with code {code}"
        hint = " (often: out of memory)" if code == -signal.SIGKILL else ""
        return RunnerExited(f"{how}{hint}{': ' if output else ''}{output}")


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
    # Its child ends with it. The pipes stay open until collected: a thread may wait on them.
    with contextlib.suppress(ProcessLookupError):
        process.kill()
    process.wait()
