"""The public fake: deterministic, counting, and able to fail when told."""

from pathlib import Path

import pytest

from autoseg.core.errors import DeviceError
from autoseg.core.records import Constraints, MeasurePlan
from autoseg.device.fake import FakeDevice

SCREEN = MeasurePlan.screen(Constraints(max_latency_ms=33.0, min_iou=0.95))


def test_fake_device_gives_the_same_figures_for_the_same_file(segments: Path) -> None:
    assert FakeDevice().measure(segments, SCREEN) == FakeDevice().measure(segments, SCREEN)


def test_fake_device_has_the_given_latency(segments: Path, dynamic: Path) -> None:
    assert FakeDevice(7.5).measure(segments, SCREEN).p50_ms == 7.5
    by_name = FakeDevice(lambda onnx: 2.0 if onnx.stem == "dynamic" else 1.0)
    assert by_name.measure(dynamic, SCREEN).p50_ms == 2.0
    assert by_name.measured == [dynamic]


def test_fake_device_fails_once_on_the_given_measurement(segments: Path) -> None:
    device = FakeDevice(1.0, fail_on=2)
    device.measure(segments, SCREEN)
    with pytest.raises(DeviceError, match="measurement 2"):
        device.measure(segments, SCREEN)
    assert device.measure(segments, MeasurePlan.confirm()).p99_ms is not None
    assert len(device.measured) == 3
