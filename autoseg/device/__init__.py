"""Devices: machines that measure and run ONNX models, local or over SSH."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from autoseg.core.errors import InputError
from autoseg.device.protocol import Device

if TYPE_CHECKING:
    from autoseg.device.board import Board
    from autoseg.device.device_profile import Profile

__all__ = ["Device", "board_of", "resolve"]


def resolve(
    device: str | Path | Device | Sequence[str | Path | Device] | None,
    *,
    accept_new_host_key: bool = False,
) -> Device:
    """A device from a shipped name, a profile file, `user@host[:port]`, or itself.

    None is this machine; several devices become a Group and must be alike. `accept_new_host_key`
    trusts a board that ~/.ssh/known_hosts does not list yet. Raises InputError for an unknown name
    and for a faulty profile.
    """
    if device is None:
        device = "local"
    if isinstance(device, str | Path):
        from autoseg.device.device_profile import load_profile

        return board_of(load_profile(device), accept_new_host_key=accept_new_host_key)
    if not isinstance(device, Sequence):
        return device
    members = [resolve(each, accept_new_host_key=accept_new_host_key) for each in device]
    if not members:
        raise InputError("give at least one device, such as local or pi@10.0.0.7")
    if len(members) == 1:
        return members[0]
    from autoseg.device.group import Group

    return Group(members)


def board_of(
    profile: Profile,
    *,
    accept_new_host_key: bool = False,
    shapes: Mapping[str, Sequence[int]] | None = None,
) -> Board:
    """The machine of a profile, not connected yet; `shapes` as for `Board`."""
    if profile.kind == "local":
        from autoseg.device.local import local_device

        return local_device(profile, shapes=shapes)
    from autoseg.device.ssh import ssh_device

    return ssh_device(profile, accept_new_host_key=accept_new_host_key, shapes=shapes)
