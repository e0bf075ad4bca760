"""Boards over SSH: reached as safely as ssh does, with keys only, and never a password."""

from __future__ import annotations

from pathlib import Path

from autoseg.device.board import Board
from autoseg.device.device_profile import Profile
from autoseg.device.ssh import known_hosts
from autoseg.device.ssh.known_hosts import HostKey
from autoseg.device.ssh.launcher import SshLauncher

__all__ = ["HostKey", "SshLauncher", "add_host_key", "fetch_host_key", "ssh_device"]


def ssh_device(profile: Profile, *, accept_new_host_key: bool = False) -> Board:
    """The board of a profile, not connected yet. Raises InputError for an unusable ssh config."""
    return Board(profile, SshLauncher(profile, accept_new_host_key=accept_new_host_key))


def fetch_host_key(profile: Profile) -> HostKey:
    """The first host key on the way to a board that is not known; the board's where all are.

    A board behind jump hosts has several: ask again after each that was added. Raises InputError
    for a key that changed, DeviceError for a board that does not answer.
    """
    return SshLauncher(profile).host_key()


def add_host_key(key: HostKey) -> Path:
    """Accepts a host key into the user's known_hosts file, which it returns."""
    return known_hosts.add(key)
