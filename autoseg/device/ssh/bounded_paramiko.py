"""Parts of paramiko, made safe: bounded memory; and an agent at any socket."""

from __future__ import annotations

import math
import os
import socket
import time
from pathlib import Path
from typing import Any

from paramiko.agent import AgentSSH
from paramiko.buffered_pipe import BufferedPipe
from paramiko.channel import Channel
from paramiko.packet import Packetizer
from paramiko.ssh_exception import SSHException

# As OpenSSH: PACKET_MAX_SIZE, and its limit for lines before a server's identification.
MAX_PACKET_BYTES = 256 << 10
MAX_GREETING_BYTES = 64 << 10
# Twice paramiko's window, which a correct server can never reach.
MAX_WAITING_BYTES = 4 << 20


class BoundedPacketizer(Packetizer):  # type: ignore[misc]
    """Refuses oversized packets and greetings."""

    _greeted = 0
    _deadline = math.inf

    def read_all(self, n: int, check_rekey: bool = False) -> Any:
        if n > MAX_PACKET_BYTES:
            raise SSHException(f"a packet of {n} bytes")
        return super().read_all(n, check_rekey)

    def _read_timeout(self, timeout: float) -> Any:
        some = super()._read_timeout(timeout)
        self._greeted += len(some)
        if self._greeted > MAX_GREETING_BYTES:
            raise SSHException("a greeting without an end")
        return some

    # Instead of paramiko's timer, a thread that a program waits for at its exit.
    def start_handshake(self, timeout: float) -> None:
        self._deadline = time.monotonic() + timeout

    def handshake_timed_out(self) -> bool:
        return time.monotonic() > self._deadline

    def complete_handshake(self) -> None:
        self._deadline = math.inf


class BoundedPipe(BufferedPipe):  # type: ignore[misc]
    """Refuses bytes beyond a full window."""

    def feed(self, data: Any) -> None:
        if len(self) + len(data) > MAX_WAITING_BYTES:
            raise SSHException("more bytes than the window allows")
        super().feed(data)


def bound(channel: Channel) -> None:
    """Bounds the buffers of a channel, which may already hold bytes."""
    # Not a new pipe, which would lose bytes: behind a jump host an sshd sends at once.
    channel.in_buffer.__class__ = BoundedPipe
    channel.in_stderr_buffer.__class__ = BoundedPipe


class AgentAt(AgentSSH):  # type: ignore[misc]
    """The agent at a socket; paramiko's own class only finds that of the environment.

    Raises OSError and SSHException where none answers.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connection.connect(os.fspath(path))
            self._connect(connection)
        except BaseException:
            connection.close()
            raise

    def close(self) -> None:
        self._close()
