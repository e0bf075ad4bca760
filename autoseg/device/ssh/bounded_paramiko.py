"""paramiko's parts as they are safe here: none grows without an end, none runs a command."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Any

from paramiko.buffered_pipe import BufferedPipe
from paramiko.config import SSHConfig
from paramiko.packet import Packetizer
from paramiko.ssh_exception import SSHException

from autoseg.core.errors import InputError

if TYPE_CHECKING:
    from paramiko.channel import Channel

# As OpenSSH: PACKET_MAX_SIZE, and what it reads before a server says that it is one.
MAX_PACKET_BYTES = 256 << 10
MAX_GREETING_BYTES = 64 << 10
# Twice paramiko's window: what a server that keeps to it can never reach.
MAX_WAITING_BYTES = 4 << 20


class BoundedPacketizer(Packetizer):  # type: ignore[misc]
    """Refuses packets, and greetings, of a size that no SSH server has."""

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

    # paramiko's own timer is a thread that a program waits for at its exit.
    def start_handshake(self, timeout: float) -> None:
        self._deadline = time.monotonic() + timeout

    def handshake_timed_out(self) -> bool:
        return time.monotonic() > self._deadline

    def complete_handshake(self) -> None:
        self._deadline = math.inf


class BoundedPipe(BufferedPipe):  # type: ignore[misc]
    """Refuses what comes in spite of a full window."""

    def feed(self, data: Any) -> None:
        if len(self) + len(data) > MAX_WAITING_BYTES:
            raise SSHException("more bytes than the window allows")
        super().feed(data)


def bound(channel: Channel) -> None:
    """Bounds what may wait in a channel, also where something does already."""
    # A new pipe would lose what comes meanwhile: behind a jump host an sshd speaks at once.
    channel.in_buffer.__class__ = BoundedPipe
    channel.in_stderr_buffer.__class__ = BoundedPipe


class CommandlessConfig(SSHConfig):  # type: ignore[misc]
    """Refuses `Match exec` where paramiko would run its command."""

    def _tokenize(self, config: Any, target_hostname: str, key: str, value: str) -> Any:
        if key == "match-exec":
            raise InputError(
                f"which lines of the ssh config hold for {target_hostname} is asked of a command "
                "(`Match exec`), which autoseg does not run; say it with Host, or keep it from "
                f"this board: Match !originalhost {target_hostname} exec ..."
            )
        return super()._tokenize(config, target_hostname, key, value)
