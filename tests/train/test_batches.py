"""Batches for training steps: on a GPU as on the CPU."""

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
    changes = batches.on_device(augmenter.draw(6), (72, 96), torch.device("cpu"))
    as_tensors, moved_tensors = batches.change(
        torch.from_numpy(frames), torch.from_numpy(masks), *changes
    )
    difference = np.abs(as_tensors.numpy().astype(int) - changed.astype(int))
    assert difference.mean() < 1 and np.quantile(difference, 0.99) < 12
    assert (moved_tensors.numpy() == moved).mean() > 0.99
    assert not np.array_equal(changed, frames)


class Arrays:
    """Seven pictures, each read once at most."""

    def __init__(self, hw=(32, 48), channels=3):
        self.input_hw, self.channels = hw, channels
        shape = (7, *hw, channels + 1)
        self.made = np.random.default_rng(0).integers(0, 3, shape, dtype=np.uint8) * 85
        self.read = []

    def __len__(self):
        return 7

    def batch(self, rows):
        self.read += list(rows)
        return self.made[rows][..., :-1], self.made[rows][..., -1]


def pixels(inputs: torch.Tensor) -> np.ndarray:
    return (inputs.cpu().permute(0, 2, 3, 1) * 64 + 128).numpy()


def test_resident_batches_of_pictures_that_are_not_augmented_are_the_pictures():
    data, order = Arrays(), np.array([4, 1, 6, 0, 2])
    make = batches.resident_maker(data, Augmenter((32, 48), 3, 0), torch.device("cpu"), size=2)
    for augmented in (False, True):
        varied = np.array([False, False, True, True, False]) & augmented
        made = list(make(order, varied))
        assert [len(inputs) for inputs, _ in made] == [2, 2, 1]
        inputs, masks = (torch.cat(parts) for parts in zip(*made, strict=True))
        frames, truth = Arrays().batch(order)
        same = [np.array_equal(*pair) for pair in zip(pixels(inputs), frames, strict=True)]
        same_truth = [np.array_equal(*pair) for pair in zip(masks.numpy(), truth, strict=True)]
        assert same == same_truth == list(~varied)
    assert sorted(data.read) == sorted(order)


def test_resident_batches_of_an_epoch_are_repeatable():
    augmenter, varied = Augmenter((32, 48), 1, 0), np.ones(7, bool)
    make = batches.resident_maker(Arrays(channels=1), augmenter, torch.device("cpu"), size=3)
    epochs = []
    for epoch in (1, 2, 1):
        augmenter.start_epoch(epoch)
        epochs.append(torch.cat([inputs for inputs, _ in make(np.arange(7), varied)]))
    assert torch.equal(epochs[0], epochs[2]) and not torch.equal(epochs[0], epochs[1])


@pytest.mark.gpu
def test_batches_of_a_data_set_on_the_gpu_are_the_same_pictures():
    data, order = Arrays(), np.array([4, 1])
    make = batches.batch_maker(data, Augmenter((32, 48), 3, 0), torch.device("cuda"), size=8)
    ((inputs, masks),) = make(order, np.array([False, False]))
    frames, truth = data.batch(order)
    assert inputs.is_cuda and np.array_equal(masks.cpu().numpy(), truth)
    assert np.array_equal(pixels(inputs), frames)
