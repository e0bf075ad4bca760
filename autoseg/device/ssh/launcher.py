"""Starts runners on a board over one SSH connection, kept and reopened."""

from __future__ import annotations

import functools
import ipaddress
import socket
import time
from collections.abc import Sequence
from typing import NamedTuple

from autoseg.core.errors import DeviceError, InputError
from autoseg.device.device_profile import Profile
from autoseg.device.rpc_schema import CHECK_POWER, ConnectionLost, NoHeartbeat
from autoseg.device.ssh import start_runner
from autoseg.device.ssh.channel import PIECE_BYTES, ChannelTransport
from autoseg.device.ssh.config import hops_of
from autoseg.device.ssh.connection import ConnectError, SshConnection

MAX_OUTPUT_BYTES = 1 << 20


class Ran(NamedTuple):
    """The exit code, stdout and stderr of a command on the board, the last MiB of each at most."""

    code: int
    out: bytes
    err: bytes


class SshLauncher:
    """Launcher for a profile's board. Construction reads ~/.ssh/config and does not connect."""

    shares_files = False
    claim_wait_s = 45.0
    keeps_claim = True

    def __init__(self, profile: Profile, *, accept_new_host_key: bool = False) -> None:
        self._profile = profile
        self._hops = hops_of(profile)
        self.name = self._hops[-1].name
        self._accept = accept_new_host_key
        self._connection: SshConnection | None = None

    @functools.cached_property
    def here(self) -> bool:
        """Whether every hop is on this machine."""
        return all(_is_own(hop.host, hop.port) for hop in self._hops)

    def open(self) -> ChannelTransport:
        """Starts a runner. Raises DeviceError; InputError where the user must decide."""
        try:
            return start_runner.start(self._connected(), self.name, self._profile.python)
        except ConnectError:
            self.close()
            raise

    def run_command(self, argv: Sequence[str], stdin: bytes = b"", limit_s: float = 60.0) -> Ran:
        """Runs one command.

        The words are quoted, so that no shell there interprets them. Raises DeviceError, also
        after `limit_s`.
        """
        if any("\0" in word for word in argv):
            raise InputError("a word of a command cannot contain a zero byte")
        transport = ChannelTransport(
            self._connected(), self._connected().session(start_runner.COMMAND)
        )
        return _finished(transport, start_runner.quoted(argv).encode() + stdin, self.name, limit_s)

    def close(self) -> None:
        """Closes the connection; closing twice is fine."""
        if self._connection:
            self._connection.close()
        self._connection = None

    def _connected(self) -> SshConnection:
        if self._connection is None or not self._connection.alive:
            # After a lost board, its jump hosts may still be connected.
            self.close()
            connection = SshConnection(self._hops, accept_new_host_key=self._accept)
            connection.open()
            self._connection = connection
        return self._connection


def _finished(transport: ChannelTransport, given: bytes, name: str, limit_s: float) -> Ran:
    deadline, output = time.monotonic() + limit_s, bytearray()
    try:
        for start in range(0, len(given), PIECE_BYTES):
            if time.monotonic() >= deadline:
                raise TimeoutError
            transport.send(given[start : start + PIECE_BYTES])
        transport.close_stdin()
        while True:
            output += transport.receive(max(0.0, deadline - time.monotonic()))
            del output[:-MAX_OUTPUT_BYTES]
            if time.monotonic() >= deadline:
                raise TimeoutError
    except ConnectionLost as error:
        code = transport.status(0.0)
        if code is None:
            raise DeviceError(f"{name}: a command {error}; {CHECK_POWER}") from error
        return Ran(code, bytes(output), transport.stderr())
    except (TimeoutError, NoHeartbeat) as error:
        raise DeviceError(f"{name}: a command did not end within {limit_s:g} s") from error
    finally:
        transport.close()


def _is_own(host: str, port: int) -> bool:
    """Whether a host is this machine: packets to it would have the same source address."""
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
        if ipaddress.ip_address(str(address[0]).partition("%")[0]).is_loopback:
            return True
        with socket.socket(family, kind) as probe:
            # Sends nothing: it only looks up the route.
            probe.connect(address)
            return bool(probe.getsockname()[0] == address[0])
    except (OSError, UnicodeError, ValueError):
        return False
