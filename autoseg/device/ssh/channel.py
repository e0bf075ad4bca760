"""One command on a board: stdin, stdout and the end of stderr over one SSH channel."""

from __future__ import annotations

import threading
import time
from contextlib import suppress

from paramiko.channel import Channel
from paramiko.ssh_exception import SSHException

from autoseg.core.text import bounded
from autoseg.device import rpc
from autoseg.device.rpc_schema import ConnectionLost, NoHeartbeat, RunnerExited
from autoseg.device.ssh.connection import SshConnection

PIECE_BYTES = 64 << 10
# The interval at which deadlines are checked; received bytes end a wait at once.
POLL_S = 0.25
CLOSE_S = 5.0
MAX_STDERR_BYTES = 64 << 10


class ChannelTransport:
    """A Transport over an SSH channel; it closes the channel, not the connection."""

    def __init__(self, connection: SshConnection, channel: Channel) -> None:
        self._connection = connection
        self._channel = channel
        # Constant, as two threads send and receive and paramiko has one setting for both.
        channel.settimeout(POLL_S)
        self._waiting = b""
        self._stderr = bytearray()
        self._drain = threading.Thread(target=self._drained, daemon=True)
        self._drain.start()

    def send(self, data: bytes) -> None:
        """Sends all data. Raises ConnectionLost; NoHeartbeat after HEARTBEAT_TIMEOUT_S."""
        view = memoryview(data)
        while view:
            # The limit is per piece: the caller limits the whole.
            with self._connection.within(rpc.HEARTBEAT_TIMEOUT_S) as late:
                try:
                    view = view[self._some(view, late) :]
                except (OSError, EOFError, SSHException) as error:
                    if late.is_set():
                        raise NoHeartbeat(
                            f"it read no bytes for {rpc.HEARTBEAT_TIMEOUT_S:g} s"
                        ) from error
                    raise self._loss() from error

    def receive(self, timeout_s: float) -> bytes:
        """At least one byte. Raises TimeoutError; ConnectionLost at the end of the stream."""
        if self._waiting:
            some, self._waiting = self._waiting, b""
            return some
        deadline = time.monotonic() + timeout_s
        while True:
            try:
                some = self._channel.recv(PIECE_BYTES)
            except TimeoutError:
                if time.monotonic() >= deadline:
                    raise
                continue
            if not some:
                raise self._loss()
            return bytes(some)

    def put_back(self, data: bytes) -> None:
        """Returns bytes that were read too far to the next `receive`."""
        self._waiting = data + self._waiting

    def close_stdin(self) -> None:
        """Ends the command's input."""
        self._channel.shutdown_write()

    def close(self) -> None:
        """Ends the command by ending its input; closing twice is fine."""
        # A connection that has just ended is closed already.
        with self._connection.within(CLOSE_S), suppress(OSError, EOFError, SSHException):
            self._channel.close()

    def stderr(self) -> bytes:
        """The end of the command's stderr."""
        self._drain.join(POLL_S)
        return bytes(self._stderr)

    def status(self, limit_s: float) -> int | None:
        """The exit code; None for a command that ended by a signal, or without a status."""
        self._channel.status_event.wait(limit_s)
        code = self._channel.exit_status
        return code if code >= 0 else None

    def _some(self, view: memoryview, late: threading.Event) -> int:
        while not late.is_set():
            try:
                sent = self._channel.send(view[:PIECE_BYTES])
            except TimeoutError:
                continue
            if sent == 0:
                raise EOFError
            return int(sent)
        raise EOFError

    def _drained(self) -> None:
        """Reads stderr at once: a full window would block the command."""
        while True:
            try:
                some = self._channel.recv_stderr(PIECE_BYTES)
            except TimeoutError:
                continue
            if not some:
                return
            self._stderr += some
            del self._stderr[:-MAX_STDERR_BYTES]

    def _loss(self) -> ConnectionLost:
        code = self.status(2.0)
        output = bounded(self.stderr()[-500:])
        ending = f": {output}" if output else ""
        if code is not None:
            return RunnerExited(f"exited with code {code}{ending}")
        # paramiko closes the channels of a broken connection before it reports the break.
        time.sleep(POLL_S)
        if self._connection.alive:
            return RunnerExited(f"was ended by a signal (often: out of memory){ending}")
        return ConnectionLost(f"ended with the connection{ending}")
