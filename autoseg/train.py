"""One job of training: the visible loop, from a checkpoint to the next rung, and its score on val.

A schedule whose rungs compare: warm-up, then a constant rate, and a running average of the
weights that is scored (after Izmailov et al. 2018, arXiv 1803.05407; the branch into a short
decay is WSD, Hu et al. 2024, arXiv 2404.06395).
"""

from __future__ import annotations

import copy
import dataclasses
import itertools
import logging
import math
import os
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from autoseg import metrics
from autoseg.core.diagnostics import sheet_path
from autoseg.core.records import Candidate, CandidateError, Job, Score
from autoseg.data.augment import Augmenter
from autoseg.data.cache import SplitArrays, arrays, truths
from autoseg.data.dataset import Array, Dataset
from autoseg.data.sheet import AT_SCORE, noted, write_sheet
from autoseg.feed import Feed, feed_from
from autoseg.losses import segmentation_loss
from autoseg.networks import build, knobs_of
from autoseg.networks.blocks import normalize
from autoseg.optimizer import optimizers
from autoseg.recipe import Recipe
from autoseg.space import SearchSpace

log = logging.getLogger(__name__)

SAVE_EVERY_S = 5.0  # what a kill may cost
REFRESH_PICTURES = 96
CHUNK = 16  # pictures at a time where nothing is learned


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


@dataclass
class Training:
    """What a checkpoint holds: the net being trained, its average, and where it stands."""

    net: nn.Module
    average: nn.Module
    optimizers: list[torch.optim.Optimizer]
    epoch: int = 0
    step: int = 0
    train_s: float = 0.0


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


def run_job(task: Task, job: Job) -> Score:
    """Train `job` from its freshest checkpoint and score it on val, at each picture's own size.

    The checkpoint is saved at every rung, and every few seconds between them. The same seed gives
    the same weights, interrupted or not. Raises CandidateError when the loss stops being finite.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.set_flush_denormal(True)  # they are a hundred times slower, and mean nothing here
    data = split_arrays(task, job.candidate, "train")
    training = resume(task, job, device)
    augmenter = Augmenter(job.candidate.input_hw, channels_of(job.candidate), task.seed)
    feed = feed_from(data, augmenter, device)
    started = saved = time.monotonic()
    before_s = training.train_s
    while training.epoch < job.to_epoch:
        augmenter.start_epoch(training.epoch)
        _epoch(training, job, task, len(data), feed)
        training.epoch += 1
        training.train_s = before_s + time.monotonic() - started
        if time.monotonic() - saved > SAVE_EVERY_S:
            save(training, checkpoint_path(task, job, partial=True))
            saved = time.monotonic()
    _, visited = task.recipe.pictures(0, len(data))
    _refresh_norms(training.average, data, visited)
    save(training, checkpoint_path(task, job))
    checkpoint_path(task, job, partial=True).unlink(missing_ok=True)
    return score(task, job, training)


def _epoch(training: Training, job: Job, task: Task, available: int, feed: Feed) -> None:
    recipe, net = task.recipe, training.net
    rng = np.random.default_rng((task.seed, training.epoch))
    first, visited = recipe.pictures(training.epoch, available)
    order = (first + rng.permutation(visited)) % available
    varied = rng.random(len(order)) < recipe.augmented_share(training.epoch)
    # Dropout draws from torch's numbers, and a resumed epoch must repeat.
    torch.manual_seed(task.seed * 100_003 + training.epoch)
    net.train()
    weights: list[torch.Tensor] = [*net.parameters()]
    averaged: list[torch.Tensor] = [*training.average.parameters()]
    steps = -(-visited // recipe.batch)
    norms: list[torch.Tensor] = []
    for step in range(steps):
        here = slice(step * recipe.batch, (step + 1) * recipe.batch)
        inputs, masks = feed(order[here], varied[here])
        done = (training.epoch - job.from_epoch + step / steps) / (job.to_epoch - job.from_epoch)
        rate = _rate(recipe, training.step, done if job.decay else None)
        for optimizer in training.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = rate
        # On CPUs that have bfloat16 the conversions around small layers cost more than they save.
        with torch.autocast("cuda", torch.bfloat16, enabled=inputs.is_cuda):
            logits = net(inputs)
        loss = segmentation_loss(logits, masks, recipe.dice_weight)
        for weight in weights:
            weight.grad = None
        loss.backward()  # type: ignore[no-untyped-call]
        norms.append(nn.utils.clip_grad_norm_(weights, recipe.clip_norm))
        for optimizer in training.optimizers:
            optimizer.step()
        training.step += 1
        with torch.no_grad():
            torch._foreach_lerp_(averaged, weights, _newest_share(recipe, training.step))
    # Once an epoch: reading it at each step would make a GPU wait.
    if not torch.stack(norms).isfinite().all():
        raise CandidateError(f"the loss is not finite in epoch {training.epoch + 1}")


def _rate(recipe: Recipe, step: int, decayed: float | None) -> float:
    """Linear warm-up, constant; in the decay branch 1 - sqrt (Haegele 2024, arXiv 2405.18392)."""
    warm = min(1.0, (step + 1) / max(1, recipe.warmup_steps))
    return recipe.learning_rate * warm * (1.0 if decayed is None else 1 - math.sqrt(decayed))


def _newest_share(recipe: Recipe, step: int) -> float:
    """What the newest weights count in the average over the last `average_share` of the steps (at
    most about `average_steps`).

    It is 1 at first and falls as 1 / (share * steps), so no start value is left in the average.
    """
    return 1 / min(recipe.average_steps, max(1.0, recipe.average_share * step))


@torch.no_grad()
def _refresh_norms(net: nn.Module, data: SplitArrays, visited: int) -> None:
    """Statistics of the batch norms for exactly these weights, from a few of the first rows.

    An average of weights has other activations than the nets it was made of; with their statistics
    a good average scored up to 0.012 lower, and erratically (Izmailov et al., section 3.2).
    """
    norms = [m for m in net.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    net.eval()  # a dropout would make the statistics a matter of chance
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a plain mean over the batches
        norm.train()
    device = next(net.parameters()).device
    chosen = range(0, visited, max(1, visited // REFRESH_PICTURES))
    for start in range(0, len(chosen), CHUNK):
        frames = data.batch(chosen[start : start + CHUNK])[0]
        net(normalize(torch.from_numpy(frames).to(device)))
    net.eval()


def resume(task: Task, job: Job, device: torch.device) -> Training:
    """The training of this job's candidate as far as it is saved, else a fresh one by the seed."""
    torch.manual_seed(task.seed)
    net = network(task, job.candidate).to(device)
    training = Training(net, copy.deepcopy(net).eval(), optimizers(net, task.recipe))
    path = _freshest(task, job)
    if path is None:
        if job.from_epoch:
            raise CandidateError(
                f"the checkpoint of {job.candidate.key} at epoch {job.from_epoch} is gone"
            )
        return training
    state = torch.load(path, map_location=device, weights_only=True)
    net.load_state_dict(state["net"])
    training.average.load_state_dict(state["average"])
    for optimizer, saved in zip(training.optimizers, state["optimizers"], strict=True):
        optimizer.load_state_dict(saved)
    return dataclasses.replace(
        training, epoch=state["epoch"], step=state["step"], train_s=state["train_s"]
    )


def _freshest(task: Task, job: Job) -> Path | None:
    start = [Path(job.checkpoint)] if job.checkpoint else []
    # A whole one is there when a kill came after the training and before its score was recorded.
    saved = [checkpoint_path(task, job), checkpoint_path(task, job, partial=True), *start]
    return next((path for path in saved if path.exists()), None)


def save(training: Training, path: Path) -> None:
    """Write a checkpoint so that a kill leaves the old one or the new one, never half of one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    state = {
        "net": training.net.state_dict(),
        "average": training.average.state_dict(),
        "optimizers": [optimizer.state_dict() for optimizer in training.optimizers],
        "epoch": training.epoch,
        "step": training.step,
        "train_s": training.train_s,
    }
    temporary = path.with_suffix(".tmp")
    with temporary.open("wb") as file:
        torch.save(state, file)
        file.flush()
        os.fsync(file.fileno())  # its name must not outlive a power cut without its content
    temporary.replace(path)


def checkpoint_path(task: Task, job: Job, *, partial: bool = False) -> Path:
    """``<key>-<epoch>.pt`` after the job, ``<job>.partial.pt`` during it."""
    name = (
        f"{job.id}.partial" if partial else f"{job.candidate.key}-{job.to_epoch}{'d' * job.decay}"
    )
    return task.checkpoint_dir / f"{name}.pt"


def trained_network(task: Task, job: Job) -> nn.Module:
    """The averaged network that `job` left, on the CPU, in eval mode."""
    net = network(task, job.candidate)
    state = torch.load(checkpoint_path(task, job), map_location="cpu", weights_only=True)
    net.load_state_dict(state["average"])
    return net.eval()


def score(task: Task, job: Job, training: Training) -> Score:
    """IoU of the averaged weights on val (its first `val_pictures`, a fair subset)."""
    first = task.recipe.val_pictures
    frames = split_arrays(task, job.candidate, "val").frames(first)
    shown: list[Array] = []
    maps = noted(class_maps(training.average, frames), shown, AT_SCORE)
    counts = picture_counts(task.dataset, maps, cache_dir=task.cache_dir, split="val", first=first)
    found = score_of(
        task.dataset,
        counts,
        split="val",
        source="torch",
        epoch=training.epoch,
        train_s=training.train_s,
        seed=task.seed,
        decayed=job.decay,
    )
    if task.place is not None:
        path = sheet_path(task.place, job.candidate.key)
        write_sheet(path, task.dataset, job.candidate, found, shown, counts)
    return found


@torch.no_grad()
def class_maps(net: nn.Module, frames: Iterable[Array]) -> Iterator[Array]:
    """uint8 ``[H, W, C]`` frames to uint8 ``[H, W]`` class maps, as the shipped graph."""
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
    first: int | None = None,
    min_iou: float | None = None,
    **facts: Any,
) -> Score:
    """A Score over the `first` or all pictures of a split from class maps at the network's size;
    `min_iou` adds P(floor).
    """
    counts = picture_counts(dataset, maps, cache_dir=cache_dir, split=split, first=first)
    return score_of(dataset, counts, split=split, min_iou=min_iou, **facts)


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
    """A Score from the confusion of the first pictures of a split."""
    total = counts.sum(0)
    groups = [sample.group for sample in dataset.splits[split][: len(counts)]]
    draws = metrics.bootstrap_iou(counts, groups)
    low, high = metrics.ci95(draws)
    return Score(
        split=split,
        iou=metrics.iou(total),
        iou_ci95=(low, high),
        class_iou=metrics.class_iou(total),
        pixel_accuracy=metrics.pixel_accuracy(total),
        p_floor=None if min_iou is None else float(np.mean(draws >= min_iou)),
        **facts,
    )


def split_arrays(task: Task, candidate: Candidate, split: str) -> SplitArrays:
    """A split as the candidate's network sees it."""
    return arrays(task.dataset, split, candidate.input_hw, channels_of(candidate), task.cache_dir)
