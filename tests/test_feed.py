"""What a training step is fed: on a device as on the CPU."""

import numpy as np
import pytest
import torch

from autoseg.data.augment import Augmenter
from autoseg.train import batches


@pytest.mark.parametrize("channels", [1, 3])
def test_feed_augmented_as_tensors_are_equal_to_opencv(channels):
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (6, 6, 8, channels), dtype=np.uint8)
    frames = coarse.repeat(12, 1).repeat(12, 2)
    masks = rng.integers(0, 3, (6, 6, 8), dtype=np.uint8).repeat(12, 1).repeat(12, 2)
    augmenter = Augmenter((72, 96), channels, seed=3)
    augmenter.start_epoch(1)
    changed, moved = augmenter.batch(frames, masks)
    augmenter.start_epoch(1)
    tensors = (torch.from_numpy(frames), torch.from_numpy(masks))
    as_tensors, moved_tensors = batches.change(*tensors, augmenter.draw(6))
    difference = np.abs(as_tensors.numpy().astype(int) - changed.astype(int))
    assert difference.mean() < 1 and np.quantile(difference, 0.99) < 12
    assert (moved_tensors.numpy() == moved).mean() > 0.99
    assert not np.array_equal(changed, frames)


@pytest.mark.gpu
def test_feed_of_a_data_set_on_the_gpu_are_the_same_pictures():
    class Arrays:
        input_hw, channels = (32, 32), 3

        def __len__(self):
            return 5

        def batch(self, rows):
            made = np.random.default_rng(0).integers(0, 200, (5, 32, 32, 4), dtype=np.uint8)[rows]
            return made[..., :3], made[..., 3]

    device, data = torch.device("cuda"), Arrays()
    inputs, masks = batches.feed_from(data, Augmenter((32, 32), 3, 0), device)(
        np.array([4, 1]), np.array([False, False])
    )
    frames, truth = data.batch([4, 1])
    assert inputs.is_cuda and np.array_equal(masks.cpu().numpy(), truth)
    back = (inputs.cpu().permute(0, 2, 3, 1) * 64 + 128).numpy()
    assert np.array_equal(back, frames)
