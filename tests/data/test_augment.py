"""Augmentation: frames and masks move together, and an epoch is the same whenever it comes."""

import numpy as np
import pytest

from autoseg.data.augment import Augmenter


def batch_of(hw: tuple[int, int], channels: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    masks = np.zeros((12, *hw), np.uint8)
    masks[:, hw[0] // 4 : hw[0] // 2, hw[1] // 4 : hw[1] // 2] = 1
    frames = rng.integers(0, 40, (12, *hw, channels), dtype=np.uint8)
    return frames + masks[..., None] * np.uint8(180), masks


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("hw", [(64, 64), (64, 96)])
def test_augment_keeps_shapes_and_moves_masks_with_their_pictures(hw, channels):
    frames, masks = batch_of(hw, channels)
    augmenter = Augmenter(hw, channels, seed=0)
    augmenter.start_epoch(0)
    changed, moved = augmenter.batch(frames, masks)
    assert (changed.shape, changed.dtype) == (frames.shape, np.uint8)
    assert (moved.shape, moved.dtype) == (masks.shape, np.uint8)
    assert set(np.unique(moved)) <= {0, 1, 255}
    assert not np.array_equal(moved, masks)
    luma = changed.mean(-1)
    assert luma[moved == 1].mean() > luma[moved == 0].mean() + 90


def test_augment_of_an_epoch_is_equal_after_resume_and_differs_from_the_next_epoch():
    frames, masks = batch_of((64, 64), 3)

    def epochs(first: int) -> dict[int, np.ndarray]:
        augmenter = Augmenter((64, 64), 3, seed=5)
        seen = {}
        for epoch in range(first, 4):
            augmenter.start_epoch(epoch)
            augmenter.batch(frames, masks)
            seen[epoch] = augmenter.batch(frames, masks)[0]
        return seen

    through, resumed = epochs(0), epochs(2)
    assert np.array_equal(through[2], resumed[2])
    assert np.array_equal(through[3], resumed[3])
    assert not np.array_equal(through[2], through[3])
