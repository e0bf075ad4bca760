"""A training step asks nothing of the host: no copy from it, and no wait for it."""

import copy
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from autoseg import data, networks
from autoseg.core.records import Job
from autoseg.data.augment import Augmenter
from autoseg.networks.space import channels_of
from autoseg.networks.space_file import load_space
from autoseg.train.batches import resident_maker
from autoseg.train.checkpoints import Training, resume
from autoseg.train.loop import schedule, training_step
from autoseg.train.optim import Number, optimizers
from autoseg.train.recipe import Recipe
from autoseg.train.storage import FolderStorage
from autoseg.train.task import Task, split_arrays

META = torch.device("meta")  # shapes alone: whatever is computed elsewhere came from the host
SMALL = {"fast_scnn": {"a": 0.25, "t": 2, "r": 1, "pp": 1}}  # choices that make a test short
FROM_HOST = (torch.tensor, torch.as_tensor, torch.from_numpy, torch.asarray)


def tensors(*values: Any) -> Iterator[Tensor]:
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, list | tuple):
            yield from tensors(*value)
        elif isinstance(value, dict):
            yield from tensors(*value.values())


class Watch(TorchDispatchMode):
    """Notes each operation with a tensor of the host, and each that reads a number."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        # Fused optimizers have no shapes to compute: they change what they are given.
        out = None if "_fused_" in str(func) else func(*args, **(kwargs or {}))
        hosts = [t for t in tensors(args, kwargs, out) if t.device != META]
        if hosts or func is torch.ops.aten._local_scalar_dense.default:
            self.seen.append(f"{func} {[tuple(t.shape) for t in hosts]}")
        return out


class WatchMade(TorchFunctionMode):
    """Notes tensors that are made of numbers: torch copies these without an operation."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in FROM_HOST:
            self.seen.append(func.__name__)
        return func(*args, **(kwargs or {}))


@pytest.fixture
def on_meta(monkeypatch):
    """Fused optimizers refuse the device meta before they ask whether it could."""
    module = sys.modules[torch.optim.Optimizer.__module__]
    monkeypatch.setattr(module, "_get_fused_kernels_supported_devices", lambda: ["meta"])


@pytest.mark.parametrize(("optimizer", "micro_batches"), [("muon", 1), ("adamw", 2), ("sgd", 1)])
@pytest.mark.parametrize("family", networks.family_names())
def test_training_step_copies_nothing_from_the_host_and_reads_nothing(
    tiny, tmp_path, on_meta, family, optimizer, micro_batches
):
    recipe = Recipe(optimizer=optimizer, batch=4, augment_epochs=0)
    space = load_space(family)
    task = Task(
        space=space, dataset=data.load(tiny.data), recipe=recipe, seed=0,
        cache_dir=tmp_path / "pictures",
        checkpoints=FolderStorage(tmp_path / "checkpoints").prepare(),
    )  # fmt: skip
    # At 192 the pyramid of Fast-SCNN has windows of several sizes.
    candidate = space.candidate(resolution=192, **SMALL.get(family, {}))
    job, arrays = Job(candidate, 0, 2), split_arrays(task, candidate, "train")
    augmenter = Augmenter(candidate.input_hw, channels_of(candidate), 0)
    training = resume(task, job, META)
    training.net.train()
    batches = resident_maker(arrays, augmenter, META, recipe.batch)(
        np.arange(len(arrays)), np.ones(len(arrays), bool)
    )
    ahead = schedule(recipe, training, job, len(arrays), META)
    step, watch, made = training_step(training, recipe, micro_batches), Watch(), WatchMade()
    with watch:
        for number, ((inputs, masks), rate, share) in enumerate(zip(batches, *ahead, strict=True)):
            if number == 0:  # constants are made in the first step of a training
                norm = step(inputs, masks, rate, share)
            else:
                with made:
                    step(inputs, masks, rate, share)
    assert number > 0 and norm.device == META
    assert watch.seen == made.seen == []


def stepped(recipe: Recipe, micro_batches: int, rate: Number, share: Number) -> Training:
    """A small network without batch norm after two steps on a batch of five pictures."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 1))
    training = Training(net=net, average=copy.deepcopy(net), optimizers=optimizers(net, recipe))
    masks = torch.randint(0, 4, (5, 6, 6), dtype=torch.uint8)
    masks[0], masks[3, :4] = 255, 255
    step = training_step(training, recipe, micro_batches)
    for _ in range(2):
        step(torch.randn(5, 3, 8, 8), masks, rate, share)
    return training


def near(one: nn.Module, other: nn.Module) -> bool:
    pairs = zip(one.parameters(), other.parameters(), strict=True)
    return all(torch.allclose(*pair, rtol=1e-4, atol=1e-5) for pair in pairs)


@pytest.mark.parametrize("optimizer", ["muon", "adamw", "sgd"])
def test_training_step_with_rates_in_tensors_is_that_with_numbers(optimizer):
    recipe = Recipe(optimizer=optimizer)
    numbers = stepped(recipe, 1, 0.03, 0.25)
    held = stepped(recipe, 1, torch.tensor(0.03), torch.tensor(0.25))
    assert near(numbers.net, held.net) and near(numbers.average, held.average)
    assert not near(numbers.net, numbers.average)


def test_training_step_in_parts_has_the_cross_entropy_of_the_whole_batch():
    recipe = Recipe(optimizer="sgd", dice_weight=0.0, clip_norm=1e9)
    whole = stepped(recipe, 1, 0.5, 1.0)
    for parts in (2, 3, 8):
        assert near(whole.net, stepped(recipe, parts, 0.5, 1.0).net)
