"""Parts of paramiko, made safe: bounded memory, and no command from an ssh config is run."""

from __future__ import annotations

import math
import time
from typing import Any

from paramiko.buffered_pipe import BufferedPipe
from paramiko.channel import Channel
from paramiko.config import SSHConfig
from paramiko.packet import Packetizer
from paramiko.ssh_exception import SSHException

from autoseg.core.errors import InputError

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


class CommandlessConfig(SSHConfig):  # type: ignore[misc]
    """Refuses `Match exec` where paramiko would run its command."""

    def _tokenize(self, config: Any, target_hostname: str, key: str, value: str) -> Any:
        if key == "match-exec":
            raise InputError(
                f"the ssh config for {target_hostname} depends on a command (`Match exec`), which "
                "autoseg does not run; use Host, or exclude this board: "
                f"Match !originalhost {target_hostname} exec ..."
            )
        return super()._tokenize(config, target_hostname, key, value)
