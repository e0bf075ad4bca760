"""Devices: what a model must run on, and what it says about a model."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from autoseg.records import DeviceInfo, InputError, Measurement, MeasurePlan
from autoseg.shipped import find, load, names

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

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

    def close(self) -> None:
        """Lets go of what the verbs took; closing twice is fine."""


def resolve(device: str | Path | Device | None) -> Device:
    """A device from a shipped name, a profile file, or itself; None is this machine.

    Raises InputError for a name that nothing has, and for boards over SSH.
    """
    if device is None:
        device = "local"
    if not isinstance(device, str | Path):
        return device
    if "@" in str(device) and not Path(device).exists():
        raise InputError(
            f"device {str(device)!r}: boards over SSH are not available in this version yet; "
            f"use one of: {', '.join(names('devices'))}, or a profile file"
        )
    from autoseg.device.local import LocalDevice
    from autoseg.device.profile import Profile

    return LocalDevice(load(find("devices", device), Profile))
