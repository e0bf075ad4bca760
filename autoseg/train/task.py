"""The task of a run: all that a worker needs beside the job, and a candidate's part of it."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from autoseg.core.records import Candidate
from autoseg.data.augment import Augmenter
from autoseg.data.cache import FetchShard, SplitArrays, arrays
from autoseg.data.dataset import Dataset
from autoseg.data.user_augmentation import Augmentation, OwnAugmenter
from autoseg.networks import build, knobs_of
from autoseg.networks.space import SearchSpace, channels_of, parts_of
from autoseg.train.contact_sheet import Example
from autoseg.train.recipe import Recipe
from autoseg.train.storage import Storage


@dataclass(frozen=True, kw_only=True)
class Task:
    """All that a worker needs beside the job; travels to other processes and machines.

    With `fetch`, which must be picklable where the task is, decoded pictures come from it, and no
    file of the data or the cache is read. `examples` are what contact sheets show; without any,
    none is drawn. Raises InputError where a knob of stage `train` is no number that a recipe
    takes.
    """

    space: SearchSpace
    dataset: Dataset
    recipe: Recipe
    seed: int
    cache_dir: Path
    checkpoints: Storage
    channel_step: int = 1
    augmentation: Augmentation | None = None  # the user's own, in place of the built-in one
    examples: tuple[Example, ...] = ()
    fetch: FetchShard | None = None

    def __post_init__(self) -> None:
        for knob in self.space.knobs:
            for choice in knob.choices if knob.stage == "train" else ():
                self.recipe.having({knob.name: choice})


def build_candidate(
    space: SearchSpace, candidate: Candidate, outputs: int, channel_step: int = 1
) -> nn.Module:
    """The candidate's network with random weights; its logits have the input's size.

    A builder that takes `round_to` rounds its widths to the device's `channel_step`, unless the
    space has a knob of that name.
    """
    knobs = parts_of(space, candidate)["build"]
    if "round_to" in knobs_of(space.network):
        knobs = {"round_to": channel_step, **knobs}
    return build(space.network, channels=channels_of(candidate), classes=outputs, **knobs)


def network(task: Task, candidate: Candidate) -> nn.Module:
    """The candidate's network as this task builds it, with random weights.

    Its batch norms do not count batches: nothing reads the counts, and on a GPU each would be a
    launch in each step.
    """
    net = build_candidate(task.space, candidate, task.dataset.outputs, task.channel_step)
    for norm in batch_norms(net):
        norm.num_batches_tracked = None
    return net


def batch_norms(net: nn.Module) -> list[_BatchNorm]:
    """The batch norms of a network."""
    return [module for module in net.modules() if isinstance(module, _BatchNorm)]


def task_for(task: Task, candidate: Candidate) -> Task:
    """The task with the candidate's knobs of stage `train` in place of the recipe's numbers."""
    own = parts_of(task.space, candidate)["train"]
    return dataclasses.replace(task, recipe=task.recipe.having(own)) if own else task


def augmenter_of(task: Task, candidate: Candidate) -> Augmenter | OwnAugmenter:
    """The augmentation of the candidate's pictures, at the start of epoch 0."""
    if task.augmentation is not None:
        return OwnAugmenter(task.augmentation, task.seed)
    return Augmenter(candidate.input_hw, channels_of(candidate), task.seed)


def split_arrays(task: Task, candidate: Candidate, split: str) -> SplitArrays:
    """A split at the candidate's input size and channels."""
    hw, channels = candidate.input_hw, channels_of(candidate)
    return arrays(task.dataset, split, hw, channels, task.cache_dir, task.fetch)
