"""The training loop: one job from a checkpoint to the next rung, and its score on val.

The schedule makes scores at a rung comparable: warm-up, then a constant rate, and a running
average of the weights, which is scored (after Izmailov et al. 2018, arXiv 1803.05407). The branch
into a short decay is WSD (Hu et al. 2024, arXiv 2404.06395).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from autoseg.core.errors import CandidateError
from autoseg.core.records import IGNORE_INDEX, Job, Trained
from autoseg.data.cache import SplitArrays
from autoseg.networks.blocks import normalize
from autoseg.train.batches import Batch, Flags, Rows, batch_maker
from autoseg.train.checkpoints import Training, resume, save
from autoseg.train.losses import loss_gradient
from autoseg.train.optim import Number, average
from autoseg.train.recipe import Recipe
from autoseg.train.scoring import CHUNK, score
from autoseg.train.task import Task, augmenter_of, batch_norms, split_arrays, task_for

SAVE_EVERY_S = 5.0  # the most training that a kill may cost
REFRESH_PICTURES = 96  # for the statistics of the batch norms

Step = Callable[[Tensor, Tensor, Number, Number], Tensor]


def train_job(
    task: Task,
    job: Job,
    device: str,
    *,
    micro_batches: int = 1,
    memory_share: float = 1.0,
    alive: Callable[[], None] = lambda: None,
) -> Trained:
    """Train `job` on `device` from its newest checkpoint, and score it on val at each picture's
    original size.

    Checkpoints are saved at the end and every few seconds. The same seed gives the same weights on
    a CPU, interrupted or not. Raises CandidateError where the loss is not finite, DeviceError
    where the storage stays away.

    Each batch is computed in `micro_batches` parts, one after the other, where a GPU's memory is
    short; `memory_share` is this training's part of it. The gradient of the cross-entropy is that
    of the whole batch; Dice and the batch norms see each part alone. `alive` is called after each
    step, after each batch that is scored, and while a storage that is gone is waited for.
    """
    torch.set_flush_denormal(True)  # denormals are a hundred times slower and change nothing here
    task, where = task_for(task, job.candidate), torch.device(device)
    data = split_arrays(task, job.candidate, "train")
    training = resume(task, job, where, alive)
    augmenter = augmenter_of(task, job.candidate)
    size = task.recipe.batch
    make_batches = batch_maker(
        data, augmenter, where, size=size, memory_share=memory_share, alive=alive
    )
    step = training_step(training, task.recipe, micro_batches)
    started = saved = time.monotonic()
    before_s = training.train_s
    while training.epoch < job.to_epoch:
        augmenter.start_epoch(training.epoch)
        batches = make_batches(*_visited(task, training.epoch, len(data)))
        steps = zip(batches, *schedule(task.recipe, training, job, len(data), where), strict=True)
        _epoch(training, task.seed, step, steps, alive)
        training.train_s = before_s + time.monotonic() - started
        if time.monotonic() - saved > SAVE_EVERY_S:
            save(training, task, job, partial=True)
            saved = time.monotonic()
    _, visited = task.recipe.pictures(0, len(data))
    _refresh_norms(training.average, data, visited)
    save(training, task, job, alive=alive)
    return score(task, job, training, micro_batches=micro_batches, alive=alive)


def _epoch(
    training: Training,
    seed: int,
    step: Step,
    steps: Iterable[tuple[Batch, Number, Number]],
    alive: Callable[[], None],
) -> None:
    # Dropout draws from torch's generator, and a resumed epoch must repeat.
    torch.manual_seed(seed * 100_003 + training.epoch)
    training.net.train()
    norms: list[Tensor] = []
    for (inputs, masks), rate, share in steps:
        norms.append(step(inputs, masks, rate, share))
        alive()
    training.epoch += 1
    training.step += len(norms)
    # Once an epoch: reading it at each step would make a GPU wait.
    if not torch.stack(norms).isfinite().all():
        raise CandidateError(f"the loss is not finite in epoch {training.epoch}")


def training_step(training: Training, recipe: Recipe, micro_batches: int = 1) -> Step:
    """The function that makes one step, from inputs, masks, the learning rate, and the share of
    the newest weights in their average; it gives the norm of the gradient.

    It neither copies from the host nor waits for a GPU.
    """
    net, optimizers = training.net, training.optimizers
    weights: list[Tensor] = [*net.parameters()]
    averaged: list[Tensor] = [*training.average.parameters()]

    def step(inputs: Tensor, masks: Tensor, rate: Number, share: Number) -> Tensor:
        for weight in weights:
            weight.grad = None
        parts = zip(inputs.chunk(micro_batches), masks.chunk(micro_batches), strict=True)
        for some, truth in parts:
            logits = net(some)
            gradient = loss_gradient(logits, truth, recipe.dice_weight)
            if micro_batches > 1:
                gradient *= _part(truth, masks)
            logits.backward(gradient)
        norm = nn.utils.clip_grad_norm_(weights, recipe.clip_norm)
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = rate
            optimizer.step()
        average(averaged, weights, share)
        return norm

    return step


def _part(truth: Tensor, masks: Tensor) -> Tensor:
    """The fraction of a batch's counted pixels that is in a part of it."""
    counted, of = ((each != IGNORE_INDEX).sum() for each in (truth, masks))
    return counted / of.clamp(min=1)


def _visited(task: Task, epoch: int, rows: int) -> tuple[Rows, Flags]:
    """The rows of an epoch in their order, and which of them are augmented."""
    rng = np.random.default_rng((task.seed, epoch))
    first, visited = task.recipe.pictures(epoch, rows)
    order = (first + rng.permutation(visited)) % rows
    return order, rng.random(visited) < task.recipe.augmented_share(epoch)


def schedule(
    recipe: Recipe, training: Training, job: Job, rows: int, device: torch.device
) -> tuple[Sequence[Number], Sequence[Number]]:
    """The learning rate of each step of an epoch, and the share of the newest weights in their
    average: numbers on a CPU, tensors on a GPU.
    """
    _, visited = recipe.pictures(training.epoch, rows)
    steps = -(-visited // recipe.batch)
    epochs = [training.epoch - job.from_epoch + step / steps for step in range(steps)]
    rates = [
        _rate(recipe, step, epoch / (job.to_epoch - job.from_epoch) if job.decay else None)
        for step, epoch in enumerate(epochs, training.step)
    ]
    shares = [_newest_share(recipe, training.step + step + 1) for step in range(steps)]
    if device.type == "cpu":
        return rates, shares
    ahead = torch.tensor([rates, shares], device=device)
    return ahead[0].unbind(), ahead[1].unbind()


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
    norms = batch_norms(net)
    net.eval()  # without dropout, which would make the statistics random
    for norm in norms:
        norm.train()
    device = next(net.parameters()).device
    chosen = range(0, visited, max(1, visited // REFRESH_PICTURES))
    for number, start in enumerate(range(0, len(chosen), CHUNK), 1):
        for norm in norms:
            norm.momentum = 1 / number  # a plain mean over the batches
        frames = data.batch(chosen[start : start + CHUNK])[0]
        net(normalize(torch.from_numpy(frames).to(device)))
    net.eval()
