"""The one resize: alone on a board, antialiased, indices kept."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from autoseg.data import resize


def test_resize_frame_averages_instead_of_sampling():
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::2] = 255
    small = resize.resize_frame(stripes, (8, 8), 3)
    assert small.shape == (8, 8, 3)
    assert abs(small.astype(int) - 127).max() <= 6


def test_resize_frame_to_one_channel_is_luma():
    red = np.zeros((10, 20, 3), np.uint8)
    red[..., 0] = 255
    assert (resize.resize_frame(red, (4, 6), 1) == 76).all()
    assert resize.resize_frame(red, (4, 6), 1).shape == (4, 6, 1)
    with pytest.raises(ValueError, match="channels must be 1 .* got 2"):
        resize.resize_frame(red, (4, 6), 2)


def test_resize_mask_is_nearest_of_pillow_to_the_pixel():
    rng = np.random.default_rng(0)
    for _ in range(150):
        height, width, new_height, new_width = (int(n) for n in rng.integers(1, 700, 4))
        mask = rng.integers(0, 256, (height, width), dtype=np.uint8)
        wanted = Image.fromarray(mask).resize((new_width, new_height), Image.Resampling.NEAREST)
        assert np.array_equal(resize.resize_mask(mask, (new_height, new_width)), wanted)


def test_resize_file_runs_without_autoseg(tmp_path):
    (tmp_path / "resize.py").write_bytes(Path(resize.__file__).read_bytes())
    code = (
        "import sys, numpy as np, resize; "
        "print(resize.resize_frame(np.ones((9, 9, 3), np.uint8), (3, 3), 1).ravel().tolist()); "
        "sys.exit('autoseg' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == str([1] * 9)
