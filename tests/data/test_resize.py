"""The one resize: alone on a board, antialiased, the same everywhere, indices kept."""

import hashlib
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


def noise(height: int, width: int) -> np.ndarray:
    """A picture of noise, the same with every numpy."""
    count = height * width * 3
    mixed = np.arange(count, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    return (mixed >> np.uint64(37)).astype(np.uint8).reshape(height, width, 3)


def test_resize_frame_is_the_same_with_every_pillow_and_processor():
    """So it was with Pillow 7.0 to 13.0 on x86-64 and aarch64."""
    sizes = [(540, 960), (719, 1281), (360, 480), (640, 33), (100, 100), (61, 47)]
    frames = [
        resize.resize_frame(noise(*size), hw, channels)
        for size in sizes
        for hw in ((96, 96), (96, 160), (192, 192))
        for channels in (1, 3)
    ]
    found = hashlib.sha256(b"".join(frame.tobytes() for frame in frames)).hexdigest()
    assert found.startswith("9c7fa6215156ac56")


def test_resize_frame_to_a_whole_part_is_the_mean_of_blocks():
    picture = noise(60, 90)
    means = picture.reshape(20, 3, 45, 2, 3).mean(axis=(1, 3))
    assert np.abs(resize.resize_frame(picture, (20, 45), 3) - means).max() <= 0.5


@pytest.mark.parametrize("size", [64, 77, 127, 129, 191, 193, 320, 333, 1001])
def test_resize_frame_moves_nothing(size):
    """A ramp keeps its values: places are those of the pixels' middles, at any size."""
    ramp = np.broadcast_to(np.linspace(0, 255, size)[:, None, None], (size, 40, 3))
    picture = np.ascontiguousarray(ramp.round().astype(np.uint8))
    middles = (np.arange(64) + 0.5) * size / 64 - 0.5
    expected = (middles / (size - 1) * 255)[4:-4]
    for turned in (picture, picture.transpose(1, 0, 2)):
        hw = (64, 40) if turned is picture else (40, 64)
        frame = resize.resize_frame(np.ascontiguousarray(turned), hw, 3)
        values = (frame[:, 9, 0] if turned is picture else frame[9, :, 0])[4:-4]
        assert np.abs(values - expected).max() <= 1.5


@pytest.mark.parametrize("hw", [(97, 64), (200, 300), (97, 200), (60, 64)])
def test_resize_frame_to_over_half_the_size_is_bilinear_of_pillow(hw):
    frame = resize.resize_frame(noise(97, 64), hw, 3)
    bilinear = Image.fromarray(noise(97, 64)).resize(hw[::-1], Image.Resampling.BILINEAR)
    # The two axes may be rounded in another order.
    assert np.abs(frame.astype(int) - np.asarray(bilinear)).max() <= 1


def test_resize_mask_is_nearest_of_pillow_to_the_pixel():
    rng = np.random.default_rng(0)
    for _ in range(150):
        height, width, new_height, new_width = (int(n) for n in rng.integers(1, 700, 4))
        mask = rng.integers(0, 256, (height, width), dtype=np.uint8)
        wanted = Image.fromarray(mask).resize((new_width, new_height), Image.Resampling.NEAREST)
        assert np.array_equal(resize.resize_mask(mask, (new_height, new_width)), wanted)


def test_resize_file_alone_gives_the_same_frames(tmp_path):
    (tmp_path / "resize.py").write_bytes(Path(resize.__file__).read_bytes())
    np.save(tmp_path / "picture.npy", noise(333, 517))
    code = (
        "import sys, numpy as np, resize; picture = np.load('picture.npy'); "
        "np.save('frame.npy', resize.resize_frame(picture, (96, 128), 1)); "
        "sys.exit('autoseg' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)
    expected = resize.resize_frame(noise(333, 517), (96, 128), 1)
    assert np.array_equal(np.load(tmp_path / "frame.npy"), expected)
