"""The one resize: alone on a board, antialiased, indices kept."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from autoseg.data import resize
from autoseg.train import metrics


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


def test_resize_mask_keeps_indices_and_both_ways_back_agree():
    rng = np.random.default_rng(0)
    mask = rng.choice(np.array([0, 3, 255], np.uint8), (37, 61))
    small = resize.resize_mask(mask, (16, 32))
    assert set(np.unique(small)) <= {0, 3, 255}
    back = resize.resize_mask(small, (37, 61))
    assert np.array_equal(back, metrics.resize_back(small, (37, 61)))


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
