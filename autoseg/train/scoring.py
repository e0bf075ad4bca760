"""Scores from class maps: IoU with its interval, at each picture's original size."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from autoseg.core.diagnostics import sheet_path
from autoseg.core.records import Job, Score
from autoseg.data.cache import truths
from autoseg.data.dataset import Array, Dataset
from autoseg.networks.blocks import normalize
from autoseg.train import metrics
from autoseg.train.checkpoints import Training
from autoseg.train.contact_sheet import MAX_ROWS_AT_SCORE, keep_first, write_sheet
from autoseg.train.task import Task, split_arrays

CHUNK = 16  # pictures in a batch of inference


def score(task: Task, job: Job, training: Training) -> Score:
    """IoU of the averaged weights on the first `val_pictures` of val, a representative subset."""
    first = task.recipe.val_pictures
    frames = split_arrays(task, job.candidate, "val").frames(first)
    shown: list[Array] = []
    maps = keep_first(class_maps(training.average, frames), shown, MAX_ROWS_AT_SCORE)
    counts = picture_counts(task.dataset, maps, cache_dir=task.cache_dir, split="val", first=first)
    found = score_of(
        task.dataset,
        counts,
        split="val",
        source="torch",
        epoch=training.epoch,
        trained_on=next(training.average.parameters()).device.type,
        train_s=training.train_s,
        seed=task.seed,
        decayed=job.decay,
    )
    if task.place is not None:
        path = sheet_path(task.place, job.candidate.key)
        write_sheet(path, task.dataset, job.candidate, found, maps=shown, counts=counts)
    return found


@torch.no_grad()
def class_maps(net: nn.Module, frames: Iterable[Array]) -> Iterator[Array]:
    """Class maps uint8 ``[H, W]`` of frames uint8 ``[H, W, C]``, as the shipped graph gives."""
    net.eval()
    device = next(net.parameters()).device
    waiting = iter(frames)
    while chunk := list(itertools.islice(waiting, CHUNK)):
        logits = net(normalize(torch.from_numpy(np.stack(chunk)).to(device)))
        classes = logits[:, 0] >= 0 if logits.shape[1] == 1 else logits.argmax(1)
        yield from classes.to(torch.uint8).cpu().numpy()


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
    first: int | None = None,
) -> metrics.Counts:
    """The confusion of each picture, int64 ``[N, C, C]``, at its original size."""
    whole = truths(dataset, split, cache_dir, first)
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
