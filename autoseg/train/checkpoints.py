"""Checkpoints: the only place that knows where the state of a training is kept, and how."""

from __future__ import annotations

import copy
import dataclasses
import os
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from autoseg.core.errors import CandidateError
from autoseg.core.records import Candidate, Job
from autoseg.train.optim import optimizers
from autoseg.train.task import Task, network


@dataclass(kw_only=True)
class Training:
    """The state in a checkpoint: the net, the average of its weights, optimizers and progress."""

    net: nn.Module
    average: nn.Module
    optimizers: list[torch.optim.Optimizer]
    epoch: int = 0
    step: int = 0
    train_s: float = 0.0


def resume(task: Task, job: Job, device: torch.device) -> Training:
    """The newest saved training of this job's candidate, else a new one from the seed.

    Raises CandidateError where the checkpoint that the job starts from is gone.
    """
    torch.manual_seed(task.seed)
    net = network(task, job.candidate).to(device)
    training = Training(
        net=net, average=copy.deepcopy(net).eval(), optimizers=optimizers(net, task.recipe)
    )
    path = _newest(task, job)
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


def _newest(task: Task, job: Job) -> Path | None:
    start = [_start_path(task, job)] if job.from_epoch else []
    # The job's own last one exists where a kill came between the training and its score.
    saved = [checkpoint_path(task, job), checkpoint_path(task, job, partial=True), *start]
    return next((path for path in saved if path.exists()), None)


def save(training: Training, task: Task, job: Job, *, partial: bool = False) -> None:
    """Write a checkpoint atomically: a kill leaves the old one or the new one.

    The whole one replaces the `partial` ones that are written during the job.
    """
    path = checkpoint_path(task, job, partial=partial)
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
        os.fsync(file.fileno())  # after a power cut the name must not exist without its content
    temporary.replace(path)
    if not partial:
        checkpoint_path(task, job, partial=True).unlink(missing_ok=True)


def checkpoint_path(task: Task, job: Job, *, partial: bool = False) -> Path:
    """``<key>-<epoch>.pt`` after the job, ``<job>.partial.pt`` during it."""
    done = f"{job.candidate.key}-{job.to_epoch}{'d' * job.decay}"
    return task.checkpoint_dir / f"{f'{job.id}.partial' if partial else done}.pt"


def is_saved(task: Task, job: Job) -> bool:
    """Whether the weights that `job` left are there."""
    return checkpoint_path(task, job).exists()


def _start_path(task: Task, job: Job) -> Path:
    return task.checkpoint_dir / f"{job.candidate.key}-{job.from_epoch}.pt"


def discard_start(task: Task, job: Job) -> None:
    """Remove the checkpoint that a finished job started from: the newer rung replaces it."""
    if job.from_epoch and not job.decay:
        _start_path(task, job).unlink(missing_ok=True)


def discard(task: Task, candidate: Candidate) -> None:
    """Remove all checkpoints of a candidate that is not continued."""
    for path in task.checkpoint_dir.glob(f"{candidate.key}-*"):
        path.unlink(missing_ok=True)


def trained_network(task: Task, job: Job) -> nn.Module:
    """The averaged network that `job` left, on the CPU, in eval mode."""
    net = network(task, job.candidate)
    state = torch.load(checkpoint_path(task, job), map_location="cpu", weights_only=True)
    net.load_state_dict(state["average"])
    return net.eval()
