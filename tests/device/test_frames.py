"""Whole frames on a device: with the one resize, beside the model, or not where they cannot be."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from autoseg.core.errors import DeviceError, InputError
from autoseg.core.records import MeasurePlan
from autoseg.data import resize
from autoseg.device import runner
from autoseg.device.board import Board
from autoseg.device.local import local_device
from autoseg.device.session import open_session

HW = (48, 80)
BOTH = MeasurePlan(
    phase="screen", statistic="p50", ceiling_ms=1000.0, warmup_s=0.01, frame_hw=HW
)  # fmt: skip


@pytest.fixture
def board() -> Iterator[Board]:
    opened = local_device()
    yield opened
    opened.close()


class Seen:
    """A session that keeps what it was fed."""

    def __init__(self, onnx: Path) -> None:
        self.session, self.fed = open_session(onnx), []

    def get_inputs(self) -> Any:
        return self.session.get_inputs()

    def run(self, names: Any, feeds: dict[str, Any]) -> Any:
        self.fed.append(feeds["frame"])
        return self.session.run(names, feeds)


def test_a_frame_of_the_runner_is_resized_to_the_pixels_of_training(segments):
    seen = Seen(segments)
    model = runner.Model(seen, {"frame": np.zeros((1, 24, 32, 3), np.uint8)}, {})
    frames = runner.FrameModel(model, HW, Path(resize.__file__).read_text())
    frames.run()
    assert np.array_equal(seen.fed[0][0], resize.resize_frame(frames.picture, (24, 32), 3))
    assert frames.picture.shape == (*HW, 3) and len(frames.parts_ms[0]) == 3


def test_measure_of_frames_refuses_a_model_that_takes_none(board, dynamic):
    with pytest.raises(InputError, match="uint8"):
        board.measure(dynamic, BOTH)


def test_measure_without_pillow_times_the_model_and_refuses_to_promise_frames(
    board, segments, monkeypatch
):
    without = board.hello().model_copy(update={"pillow": None})
    monkeypatch.setattr(board, "hello", lambda: without)
    found = board.measure(segments, BOTH)
    assert found.frame is None and found.beside is None and found.p50_ms > 0
    with pytest.raises(DeviceError, match="devices setup.*--latency model"):
        board.measure(segments, replace(BOTH, latency="frame"))
