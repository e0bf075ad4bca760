"""Devices: what a model must run on, and what it says about a model."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from autoseg.core.errors import InputError
from autoseg.core.records import DeviceInfo, Measurement, MeasurePlan

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from autoseg.device.board import Board
    from autoseg.device.profile import Profile
    from autoseg.device.replies import Node

    Image = npt.NDArray[np.uint8]


class Device(Protocol):
    """Something that times and runs ONNX files, one measurement at a time.

    Constructing one neither connects nor starts anything: the first verb does. Each raises
    DeviceError for the machine's fault, CandidateError for the model's, InputError for the
    caller's.
    """

    def describe(self) -> DeviceInfo:
        """What this machine is, and what a measurement may be reused under."""

    def measure(self, onnx: Path, plan: MeasurePlan) -> Measurement:
        """Times one ONNX file on random frames, as long as the plan asks for."""

    def predict(self, onnx: Path, images: Iterable[Image]) -> list[Image]:
        """Class maps (uint8, H x W) of frames (uint8, H x W x C) of the model's input size."""

    def nodes(self, onnx: Path, runs: int = 20) -> list[Node]:
        """The operators of a model as this machine runs them, each with its mean ms a run."""

    def close(self) -> None:
        """Lets go of what the verbs took; closing twice is fine."""


def resolve(
    device: str | Path | Device | Sequence[str | Path | Device] | None,
    *,
    accept_new_host_key: bool = False,
) -> Device:
    """A device from a shipped name, a profile file, `user@host[:port]`, or itself.

    None is this machine; several share a run's measurements and must be boards of one kind.
    `accept_new_host_key` trusts a board that ~/.ssh/known_hosts does not know yet. Raises
    InputError for a name that nothing has, and for a profile with faults.
    """
    if device is None:
        device = "local"
    if isinstance(device, str | Path):
        return _named(device, accept_new_host_key)
    if not isinstance(device, Sequence):
        return device
    members = [resolve(each, accept_new_host_key=accept_new_host_key) for each in device]
    if not members:
        raise InputError("give at least one device, such as local or pi@10.0.0.7")
    if len(members) == 1:
        return members[0]
    from autoseg.device.group import Group

    return Group(members)


def _named(device: str | Path, accept_new_host_key: bool) -> Device:
    from autoseg.device.profile import load_profile

    return board_of(load_profile(device), accept_new_host_key=accept_new_host_key)


def board_of(profile: Profile, *, accept_new_host_key: bool = False) -> Board:
    """The machine that a profile speaks of, not connected yet."""
    if profile.kind == "local":
        from autoseg.device.local import local_device

        return local_device(profile)
    from autoseg.device.ssh import ssh_device

    return ssh_device(profile, accept_new_host_key=accept_new_host_key)
