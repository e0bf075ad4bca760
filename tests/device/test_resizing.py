"""The resizes as graphs do what the one resize does."""

from pathlib import Path

import numpy as np
import pytest

from autoseg.data.resize import resize_frame, resize_mask
from autoseg.device.graphs import frame_resize, map_resize
from autoseg.device.session import open_session

RNG = np.random.default_rng(0)


def through(graph: bytes, array: np.ndarray, folder: Path) -> np.ndarray:
    path = folder / "resize.onnx"
    path.write_bytes(graph)
    return open_session(path).run(None, {"picture": array[None]})[0][0]


@pytest.mark.parametrize("hw", [(48, 64), (200, 60), (75, 101)])
@pytest.mark.parametrize("channels", [1, 3])
def test_frame_resize_of_a_picture_gives_the_frame_of_training(hw, channels, tmp_path):
    picture = RNG.integers(0, 256, (75, 101, 3), dtype=np.uint8)
    frame = resize_frame(picture, hw, channels)
    given = picture if channels == 3 else resize_frame(picture, (75, 101), 1)
    found = through(frame_resize((75, 101), hw, channels), given, tmp_path)
    assert found.shape == frame.shape
    assert np.abs(found.astype(int) - frame).mean() < 0.5


@pytest.mark.parametrize("hw", [(48, 64), (480, 640), (75, 101), (31, 17)])
def test_map_resize_of_a_class_map_gives_the_size_of_the_picture(hw, tmp_path):
    class_map = RNG.integers(0, 9, (48, 64), dtype=np.uint8)
    found = through(map_resize((48, 64), hw), class_map, tmp_path)
    assert (found == resize_mask(class_map, hw)).mean() > 0.9  # but for ties
