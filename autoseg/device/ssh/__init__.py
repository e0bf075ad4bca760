"""Boards over SSH, as safely as OpenSSH connects; with keys only, never a password."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from autoseg.device.board import Board
from autoseg.device.device_profile import Profile
from autoseg.device.ssh.config import hops_of
from autoseg.device.ssh.connection import SshConnection
from autoseg.device.ssh.known_hosts import HostKey
from autoseg.device.ssh.known_hosts import add as add_host_key
from autoseg.device.ssh.launcher import SshLauncher

__all__ = ["SshLauncher", "add_host_key", "fetch_host_keys", "ssh_device"]


def ssh_device(
    profile: Profile,
    *,
    accept_new_host_key: bool = False,
    shapes: Mapping[str, Sequence[int]] | None = None,
) -> Board:
    """The board of a profile, not connected yet; `shapes` as for `Board`.

    Raises InputError for an unusable ssh config.
    """
    launcher = SshLauncher(profile, accept_new_host_key=accept_new_host_key)
    return Board(profile, launcher, shapes=shapes)


def fetch_host_keys(profile: Profile) -> Iterator[HostKey]:
    """The unknown host keys on the way to a board, then the board's own, which is known.

    The next is fetched through the hops before it, so add each first. Raises InputError for a key
    that changed, DeviceError for a board that does not answer.
    """
    hops, known = hops_of(profile), False
    while not known:
        key = SshConnection(hops, accept_new_host_key=False).key_shown()
        yield key
        known = key.known
