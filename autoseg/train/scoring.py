"""Scores from class maps: IoU with its interval, at each picture's original size."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from autoseg.core.records import IGNORE_INDEX, Job, Score, Trained
from autoseg.data.cache import truths
from autoseg.data.dataset import Array, Dataset
from autoseg.data.resize import nearest_index
from autoseg.networks.blocks import normalize
from autoseg.train import metrics
from autoseg.train.checkpoints import Training
from autoseg.train.contact_sheet import drawn
from autoseg.train.task import Task, split_arrays

CHUNK = 16  # pictures in a batch of inference


def score(
    task: Task,
    job: Job,
    training: Training,
    *,
    micro_batches: int = 1,
    alive: Callable[[], None] = lambda: None,
) -> Trained:
    """IoU of the averaged weights on the first `val_pictures` of val, a representative subset, and
    a contact sheet of the task's examples.

    `alive` is called after each batch.
    """
    first, dataset = task.recipe.val_pictures, task.dataset
    frames = split_arrays(task, job.candidate, "val").frames(first)
    whole = iter(truths(dataset, "val", task.cache_dir, first, task.fetch))
    shown: list[Array] = []
    tables: list[metrics.Counts] = []
    for maps in _map_batches(training.average, frames):
        truth = list(itertools.islice(whole, len(maps)))
        tables.append(_counts(maps, truth, len(dataset.classes)))
        shown.extend(maps[: len(task.examples) - len(shown)].cpu().numpy())
        alive()
    counts = np.concatenate(tables)
    found = score_of(
        dataset,
        counts,
        split="val",
        source="torch",
        epoch=training.epoch,
        train_s=training.train_s,
        seed=task.seed,
        decayed=job.decay,
        micro_batches=micro_batches,
    )
    sheet = drawn(task.examples, dataset, job.candidate, found, maps=shown, counts=counts)
    return Trained(found, sheet)


def class_maps(net: nn.Module, frames: Iterable[Array]) -> Iterator[Array]:
    """Class maps uint8 ``[H, W]`` of frames uint8 ``[H, W, C]``, as the shipped graph gives."""
    for maps in _map_batches(net, frames):
        yield from maps.cpu().numpy()


@torch.no_grad()
def _map_batches(net: nn.Module, frames: Iterable[Array]) -> Iterator[Tensor]:
    """Class maps uint8 ``[n, H, W]``, where the network is."""
    net.eval()
    device = next(net.parameters()).device
    waiting = iter(frames)
    while chunk := list(itertools.islice(waiting, CHUNK)):
        logits = net(normalize(torch.from_numpy(np.stack(chunk)).to(device)))
        classes = logits[:, 0] >= 0 if logits.shape[1] == 1 else logits.argmax(1)
        yield classes.to(torch.uint8)


def _counts(maps: Tensor, truths: Sequence[Array], classes: int) -> metrics.Counts:
    if maps.is_cpu:  # numpy counts faster there
        return metrics.score_pictures(maps.numpy(), truths, classes)
    return count_where_they_are(maps, truths, classes)


def count_where_they_are(maps: Tensor, truths: Sequence[Array], classes: int) -> metrics.Counts:
    """`metrics.score_pictures` of class maps uint8 ``[n, H, W]``, counted on their device."""
    tables = []
    for class_map, truth in zip(maps, truths, strict=True):
        rows, columns = (
            _nearest(*lengths, maps.device)
            for lengths in zip(class_map.shape, truth.shape, strict=True)
        )
        resized = class_map.index_select(0, rows).index_select(1, columns)
        whole = torch.from_numpy(truth).to(maps.device)
        cells = (whole.long() * classes + resized).flatten()
        counts = cells.new_zeros((IGNORE_INDEX + 1) * classes)
        # torch.bincount would wait for the device in each picture.
        tables.append(counts.scatter_add_(0, cells, torch.ones_like(cells)))
    found = torch.stack(tables).reshape(len(tables), IGNORE_INDEX + 1, classes).cpu().numpy()
    return np.stack([metrics.counted(table, classes) for table in found])


@lru_cache
def _nearest(length: int, new_length: int, device: torch.device) -> Tensor:
    return torch.from_numpy(nearest_index(length, new_length)).to(device)


def picture_score(
    dataset: Dataset,
    maps: Iterable[Array],
    *,
    cache_dir: Path,
    split: Any,
    **facts: Any,
) -> Score:
    """The Score of class maps at the network's size over all pictures of a split."""
    counts = picture_counts(dataset, maps, cache_dir=cache_dir, split=split)
    return score_of(dataset, counts, split=split, **facts)


def picture_counts(
    dataset: Dataset,
    maps: Iterable[Array],
    *,
    cache_dir: Path,
    split: str,
) -> metrics.Counts:
    """The confusion of each picture, int64 ``[N, C, C]``, at its original size."""
    whole = truths(dataset, split, cache_dir)
    return metrics.score_pictures(maps, whole, len(dataset.classes))


def score_of(
    dataset: Dataset,
    counts: metrics.Counts,
    *,
    split: Any,
    min_iou: float | None = None,
    **facts: Any,
) -> Score:
    """The Score of the confusion matrices ``[N, C, C]`` of the first N pictures of a split.

    `min_iou` adds the probability that the IoU meets this floor.
    """
    total = counts.sum(0)
    groups = [sample.group for sample in dataset.splits[split][: len(counts)]]
    draws = metrics.bootstrap_iou(counts, groups, dataset.scored)
    low, high = metrics.ci95(draws)
    return Score(
        split=split,
        iou=metrics.iou(total, dataset.scored),
        iou_of=dataset.iou_of,
        iou_ci95=(low, high),
        class_iou=metrics.class_iou(total),
        pixel_accuracy=metrics.pixel_accuracy(total),
        p_floor=None if min_iou is None else float(np.mean(draws >= min_iou)),
        **facts,
    )
