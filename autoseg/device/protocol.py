"""The Device protocol: what a model is measured and run on."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from autoseg.core.records import DeviceInfo, Measurement, MeasurePlan

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from autoseg.device.rpc_schema import Node

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
