"""The training loop: one job from a checkpoint to the next rung, and its score on val.

The schedule makes scores at a rung comparable: warm-up, then a constant rate, and a running
average of the weights, which is scored (after Izmailov et al. 2018, arXiv 1803.05407). The branch
into a short decay is WSD (Hu et al. 2024, arXiv 2404.06395).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable

import numpy as np
import torch
from torch import nn

from autoseg.core.errors import CandidateError
from autoseg.core.records import Job, Trained
from autoseg.data.cache import SplitArrays
from autoseg.networks.blocks import normalize
from autoseg.train.batches import MakeBatch, batch_maker
from autoseg.train.checkpoints import Training, resume, save
from autoseg.train.losses import segmentation_loss
from autoseg.train.recipe import Recipe
from autoseg.train.scoring import CHUNK, score
from autoseg.train.task import Task, augmenter_of, split_arrays, task_for

SAVE_EVERY_S = 5.0  # the most training that a kill may cost
REFRESH_PICTURES = 96  # for the statistics of the batch norms


def train_job(
    task: Task, job: Job, device: str, *, alive: Callable[[], None] = lambda: None
) -> Trained:
    """Train `job` on `device` from its newest checkpoint, and score it on val at each picture's
    original size.

    Checkpoints are saved at the end and every few seconds until then. The same seed gives the same
    weights, interrupted or not. `alive` is called while a storage that is gone is waited for.
    Raises CandidateError where the loss is not finite, DeviceError where the storage stays away.
    """
    torch.set_flush_denormal(True)  # denormals are a hundred times slower and change nothing here
    task = task_for(task, job.candidate)
    data = split_arrays(task, job.candidate, "train")
    training = resume(task, job, torch.device(device), alive)
    augmenter = augmenter_of(task, job.candidate)
    make_batch = batch_maker(data, augmenter, torch.device(device))
    started = saved = time.monotonic()
    before_s = training.train_s
    while training.epoch < job.to_epoch:
        augmenter.start_epoch(training.epoch)
        _epoch(training, job, task, len(data), make_batch)
        training.epoch += 1
        training.train_s = before_s + time.monotonic() - started
        if time.monotonic() - saved > SAVE_EVERY_S:
            save(training, task, job, partial=True)
            saved = time.monotonic()
    _, visited = task.recipe.pictures(0, len(data))
    _refresh_norms(training.average, data, visited)
    save(training, task, job, alive=alive)
    return score(task, job, training)


def _epoch(training: Training, job: Job, task: Task, rows: int, make_batch: MakeBatch) -> None:
    recipe, net = task.recipe, training.net
    rng = np.random.default_rng((task.seed, training.epoch))
    first, visited = recipe.pictures(training.epoch, rows)
    order = (first + rng.permutation(visited)) % rows
    varied = rng.random(len(order)) < recipe.augmented_share(training.epoch)
    # Dropout draws from torch's generator, and a resumed epoch must repeat.
    torch.manual_seed(task.seed * 100_003 + training.epoch)
    net.train()
    weights: list[torch.Tensor] = [*net.parameters()]
    averaged: list[torch.Tensor] = [*training.average.parameters()]
    steps = -(-visited // recipe.batch)
    norms: list[torch.Tensor] = []
    for step in range(steps):
        here = slice(step * recipe.batch, (step + 1) * recipe.batch)
        inputs, masks = make_batch(order[here], varied[here])
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
    """Linear warm-up, then constant; the decay is 1 - sqrt (Haegele 2024, arXiv 2405.18392)."""
    warm = min(1.0, (step + 1) / max(1, recipe.warmup_steps))
    return recipe.learning_rate * warm * (1.0 if decayed is None else 1 - math.sqrt(decayed))


def _newest_share(recipe: Recipe, step: int) -> float:
    """The weight of the newest weights in the average, which spans about the last `average_share`
    of the steps, at most `average_steps`.

    It is 1 at first and falls as 1 / (share * steps), so the start value leaves the average.
    """
    return 1 / min(recipe.average_steps, max(1.0, recipe.average_share * step))


@torch.no_grad()
def _refresh_norms(net: nn.Module, data: SplitArrays, visited: int) -> None:
    """Recompute the statistics of the batch norms for these weights, from a few training rows.

    Averaged weights give other activations than the nets that were averaged; with the statistics
    of those nets the IoU was up to 0.012 lower, and erratic (Izmailov et al., section 3.2).
    """
    norms = [m for m in net.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    net.eval()  # without dropout, which would make the statistics random
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
