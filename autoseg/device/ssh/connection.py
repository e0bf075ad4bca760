"""An SSH connection to a board, through its jump hosts, every host key on the way verified."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import threading
import weakref
from collections.abc import Iterator, Sequence
from typing import Any

from paramiko.channel import Channel
from paramiko.ssh_exception import (
    AuthenticationException,
    BadAuthenticationType,
    ChannelException,
    IncompatiblePeer,
    SSHException,
)
from paramiko.transport import Transport

from autoseg.core.errors import DeviceError
from autoseg.core.text import bounded
from autoseg.device.rpc_schema import CHECK_POWER
from autoseg.device.ssh import known_hosts
from autoseg.device.ssh.bounded_paramiko import BoundedPacketizer, bound
from autoseg.device.ssh.config import Hop
from autoseg.device.ssh.keys import Identities
from autoseg.device.ssh.known_hosts import HostKey, UnknownHostKey

log = logging.getLogger(__name__)

CONNECT_S = 15.0
AUTH_S = 30.0
KEEPALIVE_S = 15
# Disabled by default in OpenSSH as well.
DISABLED_ALGORITHMS = {
    "ciphers": ["aes128-cbc", "aes192-cbc", "aes256-cbc", "3des-cbc"],
    "macs": ["hmac-md5", "hmac-md5-96", "hmac-sha1-96"],
}

# Errors reach the user once, as our messages; a logger of our own does not affect other users of
# paramiko.
_quiet = logging.getLogger("paramiko.autoseg")
_quiet.setLevel(logging.CRITICAL + 1)
_quiet.propagate = False


_sockets: weakref.WeakSet[socket.socket] = weakref.WeakSet()


def _leave_to_parent() -> None:
    """Closes a fork's copies of sockets, which could break the connections when it ends."""
    for each in list(_sockets):
        each.close()


os.register_at_fork(after_in_child=_leave_to_parent)


class ConnectError(DeviceError):
    """The board did not answer properly: it may be booting, so a retry can help."""


class SshConnection:
    """One authenticated connection, through all of `hops`."""

    def __init__(self, hops: Sequence[Hop], *, accept_new_host_key: bool) -> None:
        self._hops = hops
        self._accept = accept_new_host_key
        self._transports: list[Transport] = []

    def open(self) -> None:
        """Connects. Raises InputError for host keys and key files, DeviceError for the rest."""
        try:
            self._authenticate(self._hops[-1], self._to_last())
        except BaseException:
            self.close()
            raise

    def key_shown(self) -> HostKey:
        """The first unknown host key on the way; the board's own where all are known.

        Connects as far as needed, and closes. Raises as `open`.
        """
        try:
            return known_hosts.of_key(self._hops[-1], self._to_last().get_remote_server_key())
        except UnknownHostKey as error:
            return error.key
        finally:
            self.close()

    @property
    def alive(self) -> bool:
        return all(transport.is_active() for transport in self._transports)

    def session(self, command: str) -> Channel:
        """A channel with a command started on the board. Raises ConnectError."""
        with self.within(CONNECT_S), foreign(self._hops[-1].name):
            channel = self._transports[-1].open_session(timeout=CONNECT_S)
            bound(channel)
            channel.exec_command(command)
            return channel

    @contextlib.contextmanager
    def within(self, limit_s: float) -> Iterator[threading.Event]:
        """Closes the connection after `limit_s` inside the block, and sets the event.

        Some calls of paramiko never return while a board reads no bytes.
        """
        late = threading.Event()

        def end() -> None:
            late.set()
            self.close()

        timer = threading.Timer(limit_s, end)
        timer.daemon = True
        timer.start()
        try:
            yield late
        finally:
            timer.cancel()

    def close(self) -> None:
        """Closes all hops; closing twice is fine."""
        for transport in reversed(self._transports):
            transport.close()

    def _to_last(self) -> Transport:
        """A connection to the board, authenticated at its jump hosts."""
        for hop in self._hops[:-1]:
            self._authenticate(hop, self._start(hop))
        return self._start(self._hops[-1])

    def _start(self, hop: Hop) -> Transport:
        """A connection to one hop with a trusted host key, not yet authenticated."""
        transport = _handshake(hop, self._socket(hop))
        self._transports.append(transport)
        key = known_hosts.of_key(hop, transport.get_remote_server_key())
        if not key.known:
            if not self._accept:
                raise UnknownHostKey(key, self._hops[-1].name)
            path = known_hosts.add(key)
            log.warning("%s: accepted its host key %s into %s", hop.name, key, path)
        return transport

    def _socket(self, hop: Hop) -> Any:
        if not self._transports:
            return _tcp(hop)
        before = self._hops[len(self._transports) - 1]
        with foreign(before.name):
            try:
                channel = self._transports[-1].open_channel(
                    "direct-tcpip", (hop.host, hop.port), ("127.0.0.1", 0), timeout=CONNECT_S
                )
                bound(channel)
                return channel
            except ChannelException as error:
                raise ConnectError(
                    f"{hop.name}: the jump host {before.name} cannot connect to port {hop.port} "
                    f"of {hop.host} ({bounded(error.text)})"
                ) from error

    def _authenticate(self, hop: Hop, transport: Transport) -> None:
        identities, tried = Identities(hop), []
        for name, key in identities:
            if not transport.is_active():
                break
            tried.append(name)
            with foreign(hop.name):
                try:
                    further = transport.auth_publickey(hop.user, key)
                except BadAuthenticationType as error:
                    others = bounded(", ".join(error.allowed_types))
                    raise DeviceError(
                        f"{hop.name} accepts no keys (only {others}), and autoseg sends no "
                        "passwords; allow PubkeyAuthentication there"
                    ) from error
                except AuthenticationException:
                    continue
            if further:
                more = bounded(", ".join(further))
                raise DeviceError(
                    f"{hop.name} requires {more} besides a key; autoseg only has keys"
                )
            transport.set_keepalive(KEEPALIVE_S)
            return
        raise DeviceError(_refusal(hop, identities, tried, transport.is_active()))


@contextlib.contextmanager
def foreign(name: str) -> Iterator[None]:
    """Turns errors of paramiko and of sockets into ConnectError, cause kept."""
    try:
        yield
    except (SSHException, OSError, EOFError) as error:
        reason = bounded(error) or "it closed the connection"
        raise ConnectError(f"{name}: the connection broke ({reason}); {CHECK_POWER}") from error


def _tcp(hop: Hop) -> socket.socket:
    at = f"{hop.name}: port {hop.port} of {hop.host}"
    try:
        found = socket.create_connection((hop.host, hop.port), timeout=CONNECT_S)
    except (socket.gaierror, UnicodeError) as error:
        raise ConnectError(
            f"{hop.name}: the name {hop.host!r} cannot be resolved; check the spelling, or give "
            "the board's address"
        ) from error
    except ConnectionRefusedError as error:
        raise ConnectError(
            f"{at} refuses connections; is sshd running there (`sudo systemctl enable --now ssh`),"
            " and is that its port?"
        ) from error
    except TimeoutError as error:
        raise ConnectError(f"{at} did not answer within {CONNECT_S:g} s; {CHECK_POWER}") from error
    except OSError as error:
        raise ConnectError(f"{at} cannot be reached ({error.strerror}); {CHECK_POWER}") from error
    # Requests are short lines, each of which would wait for a full packet.
    found.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    _sockets.add(found)
    return found


def _handshake(hop: Hop, sock: Any) -> Transport:
    transport = Transport(
        sock, disabled_algorithms=DISABLED_ALGORITHMS, packetizer_class=BoundedPacketizer
    )
    transport.set_log_channel(_quiet.name)
    transport.banner_timeout = transport.handshake_timeout = CONNECT_S
    transport.channel_timeout, transport.auth_timeout = CONNECT_S, AUTH_S
    _ask_for_known(transport, hop)
    try:
        transport.start_client(timeout=2 * CONNECT_S)
        if not transport.initial_kex_done:
            raise SSHException("it did not finish the handshake")
    except IncompatiblePeer as error:
        transport.close()
        raise DeviceError(
            f"{hop.name}: its sshd and paramiko have no algorithm in common "
            f"({bounded(error)}); update the SSH server there"
        ) from error
    except (SSHException, OSError, EOFError) as error:
        transport.close()
        raise ConnectError(
            f"{hop.name}: no proper SSH server answers at port {hop.port} of {hop.host} "
            f"({bounded(error) or 'it closed the connection'}); {CHECK_POWER}"
        ) from error
    return transport


def _ask_for_known(transport: Transport, hop: Hop) -> None:
    """Prefers host keys of known types, as a board has several."""
    options = transport.get_security_options()
    known: list[str] = []
    for kind in known_hosts.kinds_known(hop):
        known += ["rsa-sha2-512", "rsa-sha2-256"] if kind == "ssh-rsa" else [kind]
    mine = list(options.key_types)
    options.key_types = sorted(mine, key=lambda kind: kind not in known)


def _refusal(hop: Hop, identities: Identities, tried: Sequence[str], active: bool) -> str:
    notes = "".join(f"; {note}" for note in identities.skipped)
    port = f" -p {hop.port}" if hop.port != 22 else ""
    allow = f"add one with `ssh-copy-id{port} {hop.user}@{hop.host}`"
    if not tried:
        return f"{hop.name}: there is no key to offer (`ssh-keygen` makes one){notes}; {allow}"
    which = ", ".join(tried)
    if not active:
        return (
            f"{hop.name} closed the connection after the keys {which}{notes}; name the right one "
            f"with key_file in the profile, or {allow}"
        )
    return f"{hop.name} accepts none of these keys for {hop.user}: {which}{notes}; {allow}"
