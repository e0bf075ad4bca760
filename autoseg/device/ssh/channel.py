"""One command on a board: its input, output and last complaints over one SSH channel."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from autoseg.core.text import bounded
from autoseg.device import rpc
from autoseg.device.rpc_errors import ConnectionLost, NoHeartbeat, RunnerExited
from autoseg.device.ssh.connection import SshConnection

if TYPE_CHECKING:
    from paramiko.channel import Channel

PIECE_BYTES = 64 << 10
# How long a pause may be until a deadline is looked at; bytes that come end it at once.
POLL_S = 0.25
CLOSE_S = 5.0
KEPT_COMPLAINTS_BYTES = 64 << 10


class ChannelTransport:
    """A link's Transport over a channel; it closes the channel, not the connection."""

    def __init__(self, connection: SshConnection, channel: Channel) -> None:
        self._connection = connection
        self._channel = channel
        # Fixed, since sending and receiving happen in two threads and paramiko has one setting.
        channel.settimeout(POLL_S)
        self._waiting = b""
        self._complaints = bytearray()
        self._drain = threading.Thread(target=self._drained, daemon=True)
        self._drain.start()

    def send(self, data: bytes) -> None:
        """Sends everything. Raises Lost, and Silent where nothing was taken for QUIET_S."""
        view = memoryview(data)
        while view:
            # Each piece has its time: how long all of it may take is the asker's to say.
            with self._connection.within(rpc.HEARTBEAT_TIMEOUT_S) as late:
                try:
                    view = view[self._some(view, late) :]
                except (OSError, EOFError, _paramiko_error()) as error:
                    if late.is_set():
                        raise NoHeartbeat(
                            f"it took no bytes for {rpc.HEARTBEAT_TIMEOUT_S:g} s"
                        ) from error
                    raise self._loss() from error

    def receive(self, timeout_s: float) -> bytes:
        """At least one byte. Raises TimeoutError, and Lost at the end."""
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
        """What was read too far: the next `receive` gives it."""
        self._waiting = data + self._waiting

    def shut(self) -> None:
        """Ends the command's input."""
        self._channel.shutdown_write()

    def close(self) -> None:
        """Ends the command by ending its input; closing twice is fine."""
        with self._connection.within(CLOSE_S):
            self._channel.close()

    def complaints(self) -> bytes:
        """The last of what it wrote to its standard error."""
        self._drain.join(POLL_S)
        return bytes(self._complaints)

    def status(self, limit_s: float) -> int | None:
        """The exit code; None for a command that was ended by a signal, or never told."""
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
        """Takes every complaint at once: a full window of them would stop the command."""
        while True:
            try:
                some = self._channel.recv_stderr(PIECE_BYTES)
            except TimeoutError:
                continue
            if not some:
                return
            self._complaints += some
            del self._complaints[:-KEPT_COMPLAINTS_BYTES]

    def _loss(self) -> ConnectionLost:
        code = self.status(2.0)
        said = bounded(self.complaints()[-500:])
        ending = f": {said}" if said else ""
        if code is not None:
            return RunnerExited(f"exited with code {code}{ending}")
        # paramiko ends the channels of a connection that broke before it says that it did.
        time.sleep(POLL_S)
        if self._connection.alive:
            return RunnerExited(f"was ended by a signal (often: out of memory){ending}")
        return ConnectionLost(f"ended with the connection{ending}")


def _paramiko_error() -> type[Exception]:
    from paramiko.ssh_exception import SSHException

    error: type[Exception] = SSHException
    return error
