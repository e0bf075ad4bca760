"""What workers need beside the job: the task, and a candidate's network and pictures in it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from torch import nn

from autoseg.core.records import Candidate
from autoseg.data.augment import Augmenter
from autoseg.data.augmentation import Augmentation, OwnAugmenter
from autoseg.data.cache import SplitArrays, arrays
from autoseg.data.dataset import Dataset
from autoseg.networks import build, knobs_of
from autoseg.networks.space import SearchSpace
from autoseg.train.recipe import Recipe


@dataclass(frozen=True)
class Task:
    """All that a worker needs beside the job; travels to other processes."""

    space: SearchSpace
    dataset: Dataset
    recipe: Recipe
    seed: int
    cache_dir: Path
    checkpoint_dir: Path
    channel_step: int = 1
    place: Path | None = None  # where contact sheets go, if any are made
    augmentation: Augmentation | None = None  # the user's own, in place of the built-in one


def build_candidate(
    space: SearchSpace, candidate: Candidate, outputs: int, channel_step: int = 1
) -> nn.Module:
    """The candidate's network with random weights; logits at the input's resolution.

    A builder that takes `round_to` rounds its widths to the device's `channel_step`, unless the
    space itself turns that knob.
    """
    knobs = {k: v for k, v in candidate.choices if k not in ("resolution", "channels")}
    if "round_to" in knobs_of(space.network):
        knobs = {"round_to": channel_step, **knobs}
    return build(space.network, channels=channels_of(candidate), classes=outputs, **knobs)


def network(task: Task, candidate: Candidate) -> nn.Module:
    """The candidate's network as this task builds it, with random weights."""
    return build_candidate(task.space, candidate, task.dataset.outputs, task.channel_step)


def channels_of(candidate: Candidate) -> int:
    """3 (RGB) unless the space turns the knob `channels`."""
    return int(dict(candidate.choices).get("channels", 3))


def augmenter_of(task: Task, candidate: Candidate) -> Augmenter | OwnAugmenter:
    """The augmentation of the candidate's pictures, at the start of epoch 0."""
    if task.augmentation is not None:
        return OwnAugmenter(task.augmentation, task.seed)
    return Augmenter(candidate.input_hw, channels_of(candidate), task.seed)


def split_arrays(task: Task, candidate: Candidate, split: str) -> SplitArrays:
    """A split as the candidate's network sees it."""
    return arrays(task.dataset, split, candidate.input_hw, channels_of(candidate), task.cache_dir)
