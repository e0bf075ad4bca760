"""Boards over SSH, as safely as OpenSSH connects; with keys only, never a password."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from autoseg.device.board import Board
from autoseg.device.device_profile import Profile
from autoseg.device.ssh.config import hops_of
from autoseg.device.ssh.connection import SshConnection
from autoseg.device.ssh.known_hosts import HostKey
from autoseg.device.ssh.known_hosts import add as add_host_key
from autoseg.device.ssh.launcher import SshLauncher

__all__ = ["SshLauncher", "add_host_key", "fetch_host_key", "ssh_device"]


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


def fetch_host_key(profile: Profile) -> HostKey:
    """The first unknown host key on the way to a board; the board's own where all are known.

    A board behind jump hosts has several: call again after adding each. Raises InputError for a
    key that changed, DeviceError for a board that does not answer.
    """
    return SshConnection(hops_of(profile), accept_new_host_key=False).key_shown()
