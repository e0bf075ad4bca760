"""The Device protocol: measures and runs ONNX models on one machine or several."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from autoseg.core.errors import DeviceError
from autoseg.core.records import DeviceInfo, Measurement, MeasurePlan

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from autoseg.device.rpc_schema import Node

    Image = npt.NDArray[np.uint8]


class Device(Protocol):
    """Measures and runs ONNX files, one measurement at a time per machine.

    Construction neither connects nor starts anything: the first call does. Every method raises
    DeviceError for the machine's fault, CandidateError for the model's, InputError for the
    caller's.
    """

    def describe(self) -> DeviceInfo:
        """The machine's identity: a measurement may be reused where it is the same."""

    def measure(self, onnx: Path, plan: MeasurePlan) -> Measurement:
        """Times one ONNX file on random frames, for as long as the plan demands.

        The figures are of the plan's `latency`: a device that cannot time whole frames raises
        DeviceError where they are promised.
        """

    def predict(self, onnx: Path, images: Iterable[Image]) -> list[Image]:
        """Class maps uint8 `[h, w]` of frames uint8 `[H, W, C]` of the model's input size."""

    def nodes(self, onnx: Path, runs: int = 20) -> list[Node]:
        """The nodes of a model as the machine runs them, each with its mean ms per run."""

    def close(self) -> None:
        """Releases all that the other methods acquired; closing twice is fine."""


def measured(device: Device, onnx: Path, plan: MeasurePlan) -> Measurement:
    """What a device measured. Raises DeviceError where it is not of the plan's latency."""
    found = device.measure(onnx, plan)
    if found.latency != plan.latency:
        raise DeviceError(
            f"{device.describe().name} measured the {found.latency}, where the plan asks for the "
            f"{plan.latency}: its class must do as MeasurePlan.latency and frame_hw say, or "
            "promise the model alone with --latency model"
        )
    return found
