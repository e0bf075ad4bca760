"""Checkpoints: the only place that knows the names and the content of a training's state."""

from __future__ import annotations

import copy
import dataclasses
import io
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from autoseg.core.errors import CandidateError
from autoseg.core.records import Candidate, Job
from autoseg.train.optim import optimizers
from autoseg.train.storage import patiently
from autoseg.train.task import Task, network

log = logging.getLogger(__name__)

# Drivers try for long themselves: after a partial checkpoint that failed, a training goes on for
# so many times as long before it tries the next.
TRAIN_ON_TIMES = 4


@dataclass(kw_only=True)
class Training:
    """The state in a checkpoint: the net, the average of its weights, optimizers and progress.

    `gone_until` is not kept: where the storage was gone at the last partial checkpoint, the next
    is not tried before this time of `time.monotonic()`.
    """

    net: nn.Module
    average: nn.Module
    optimizers: list[torch.optim.Optimizer]
    epoch: int = 0
    step: int = 0
    train_s: float = 0.0
    gone_until: float = 0.0


def resume(
    task: Task, job: Job, device: torch.device, alive: Callable[[], None] = lambda: None
) -> Training:
    """The newest saved training of this job's candidate, else a new one from the seed.

    A storage that is gone is waited for; `alive` is called meanwhile. Raises CandidateError where
    the checkpoint that the job starts from is gone, DeviceError where the storage stays away.
    """
    torch.manual_seed(task.seed)
    net = network(task, job.candidate).to(device)
    training = Training(
        net=net, average=copy.deepcopy(net).eval(), optimizers=optimizers(net, task.recipe)
    )
    content = patiently(lambda: _newest(task, job), task.checkpoints, alive)
    if content is None:
        if job.from_epoch:
            raise _gone(job.candidate, job.from_epoch)
        return training
    state = _state(content, device)
    net.load_state_dict(state["net"])
    training.average.load_state_dict(state["average"])
    for optimizer, saved in zip(training.optimizers, state["optimizers"], strict=True):
        optimizer.load_state_dict(saved)
    return dataclasses.replace(
        training, epoch=state["epoch"], step=state["step"], train_s=state["train_s"]
    )


def _newest(task: Task, job: Job) -> bytes | None:
    start = [_start_name(job)] if job.from_epoch else []
    # The job's own last one exists where a kill came between the training and its score.
    saved = [checkpoint_name(job), checkpoint_name(job, partial=True), *start]
    there = task.checkpoints.names(f"{job.candidate.key}-")
    return next((task.checkpoints.read(name) for name in saved if name in there), None)


def _state(content: bytes, device: torch.device | str) -> dict[str, Any]:
    state: dict[str, Any] = torch.load(io.BytesIO(content), map_location=device, weights_only=True)
    return state


def _gone(candidate: Candidate, epoch: int) -> CandidateError:
    return CandidateError(f"the checkpoint of {candidate.key} at epoch {epoch} is gone")


def save(
    training: Training,
    task: Task,
    job: Job,
    *,
    partial: bool = False,
    alive: Callable[[], None] = lambda: None,
) -> None:
    """Write a checkpoint: the whole one replaces the `partial` ones that are written before it.

    Where the storage is gone, a partial one is left out with one warning. The whole one waits for
    it, and calls `alive` meanwhile; raises DeviceError where the storage stays away.
    """
    if partial:
        _save_partial(training, task, job)
        return
    name, content = checkpoint_name(job), _content(training)
    patiently(lambda: task.checkpoints.write(name, content), task.checkpoints, alive)
    _discard(task, checkpoint_name(job, partial=True))


def _save_partial(training: Training, task: Task, job: Job) -> None:
    if (began := time.monotonic()) < training.gone_until:
        return
    try:
        task.checkpoints.write(checkpoint_name(job, partial=True), _content(training))
    except OSError as error:
        if not training.gone_until:
            told = "%s trains on; its checkpoints cannot be written for now (%s)"
            log.warning(told, job.candidate.key, error.strerror or error)
        ended = time.monotonic()
        training.gone_until = ended + TRAIN_ON_TIMES * (ended - began)
    else:
        training.gone_until = 0.0


def _content(training: Training) -> bytes:
    file = io.BytesIO()
    state = {
        "net": training.net.state_dict(),
        "average": training.average.state_dict(),
        "optimizers": [optimizer.state_dict() for optimizer in training.optimizers],
        "epoch": training.epoch,
        "step": training.step,
        "train_s": training.train_s,
    }
    torch.save(state, file)
    return file.getvalue()


def checkpoint_name(job: Job, *, partial: bool = False) -> str:
    """``<key>-<epoch>.pt`` after the job, ``<job>.partial.pt`` during it."""
    done = f"{job.candidate.key}-{job.to_epoch}{'d' * job.decay}"
    return f"{f'{job.id}.partial' if partial else done}.pt"


def is_saved(task: Task, job: Job) -> bool:
    """Whether the weights that `job` left are there. Raises DeviceError."""
    name = checkpoint_name(job)
    return name in patiently(lambda: task.checkpoints.names(name), task.checkpoints)


def _start_name(job: Job) -> str:
    return f"{job.candidate.key}-{job.from_epoch}.pt"


def discard_start(task: Task, job: Job) -> None:
    """Remove the checkpoint that a finished job started from: the newer rung replaces it."""
    if job.from_epoch and not job.decay:
        _remove(task, _start_name(job))


def discard(task: Task, candidate: Candidate) -> None:
    """Remove all checkpoints of a candidate that is not continued."""
    _discard(task, f"{candidate.key}-")


def _discard(task: Task, prefix: str) -> None:
    """Remove what begins with `prefix`, with the drafts that a kill has left of it."""
    try:
        names = task.checkpoints.names(prefix)
    except OSError as error:
        log.warning("the checkpoints %s* are left behind (%s)", prefix, error.strerror or error)
        return
    for name in names:
        _remove(task, name)


def _remove(task: Task, name: str) -> None:
    """What is left behind takes room, and does no other harm."""
    try:
        task.checkpoints.remove(name)
    except OSError as error:
        log.warning("the checkpoint %s is left behind (%s)", name, error.strerror or error)


def trained_network(task: Task, job: Job) -> nn.Module:
    """The averaged network that `job` left, on the CPU, in eval mode.

    Raises CandidateError where it is gone, DeviceError where the storage is.
    """
    name = checkpoint_name(job)
    content = patiently(lambda: task.checkpoints.read(name), task.checkpoints)
    if content is None:
        raise _gone(job.candidate, job.to_epoch)
    net = network(task, job.candidate)
    net.load_state_dict(_state(content, "cpu")["average"])
    return net.eval()
