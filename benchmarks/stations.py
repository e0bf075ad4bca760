"""What a process of the training benchmark does when it is told: train, or time a part of it.

A process is one station: it keeps one cell (a network at one size) and trains it in autoseg's way
or in the plain one; it times one thing at a time while the others wait.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from plain_loop import PlainLoop
from torch import Tensor, nn

from autoseg.core.records import Candidate, Job, Score
from autoseg.data.augment import Augmenter
from autoseg.data.resize import resize_frame, resize_mask
from autoseg.networks.blocks import normalize
from autoseg.networks.space import channels_of
from autoseg.train import loop
from autoseg.train.checkpoints import Training, checkpoint_name, resume
from autoseg.train.loop import Step, train_job, training_step
from autoseg.train.losses import loss_gradient
from autoseg.train.recipe import Recipe
from autoseg.train.scoring import class_maps, picture_score
from autoseg.train.storage import FolderStorage
from autoseg.train.task import Task, build_candidate, split_arrays

MIN_S = 0.2  # a piece is repeated until it took as long
Pieces = dict[str, float]
Optimizers = list[torch.optim.Optimizer]


@dataclass(frozen=True)
class Cell:
    """One network at one size, and the task whose pictures it is trained on."""

    name: str
    task: Task
    candidate: Candidate

    @property
    def pictures(self) -> int:
        return len(self.task.dataset.splits["train"])


class PlainStation:
    """Trains a cell by the plain loop: a loop for each number of DataLoader workers."""

    def __init__(self, cell: Cell) -> None:
        self.cell, self.loops = cell, dict[int, PlainLoop]()

    def train(self, workers: int, epochs: int) -> float:
        """Seconds of `epochs` epochs; the first call also starts the loop and warms it up."""
        started = now()
        if workers not in self.loops:
            self.loops[workers] = self._loop(workers)
        self.loops[workers].train(epochs)
        return now() - started

    def _loop(self, workers: int) -> PlainLoop:
        task, candidate = self.cell.task, self.cell.candidate
        net = build_candidate(task.space, candidate, task.dataset.outputs).to(device())
        samples = task.dataset.splits["train"]
        return PlainLoop.of(net, samples, candidate.input_hw, task.recipe, workers)


class Station:
    """Trains a cell by autoseg, and knows how far it is."""

    def __init__(self, cell: Cell, checkpoints: Path) -> None:
        self.cell = cell
        self.task = replace(cell.task, checkpoints=FolderStorage(checkpoints).prepare())
        self.device = device()
        self.last: Job | None = None
        self.score: Score | None = None
        self.seen: Tensor | None = None
        self.bound_parts: tuple[nn.Module, Optimizers, Tensor] | None = None
        self._first_job()

    def train(self, epochs: int) -> float:
        """Seconds of `epochs` epochs of `train_job`, from its checkpoint, without the scoring."""
        before_s = self.score.train_s if self.score else 0.0
        self._job(epochs)
        assert self.score is not None
        return self.score.train_s - before_s

    def bound(self, least_s: float) -> Pieces:
        """Seconds a picture of forward, backward and optimizer on one batch that stays the same.

        The tensor is one that the network got in a real step, so that its type and strides are
        those of the training.
        """
        net, optimizers, masks = self.bound_parts or self._bound_parts()
        spent = {"forward": 0.0, "backward": 0.0, "optimizer": 0.0}
        begun = now()
        for steps in itertools.count(1):
            self._step(net, optimizers, masks, spent)
            if steps >= 2 and time.perf_counter() - begun >= least_s:
                break
        each = steps * len(masks)
        whole = (now() - begun) / each
        return {**{name: total / each for name, total in spent.items()}, "bound": whole}

    def pieces(self) -> Pieces:
        """Seconds a picture of what else a training does, each timed alone."""
        task, size = self.task, self.cell.candidate.input_hw
        channels = channels_of(self.cell.candidate)
        samples = itertools.cycle(task.dataset.splits["train"])
        data = split_arrays(task, self.cell.candidate, "train")
        order = np.random.default_rng(0).permutation(len(data))
        starts = itertools.cycle(range(0, len(data), task.recipe.batch))
        augmenter = Augmenter(size, channels, task.seed)
        changed = data.batch(order[: task.recipe.batch])

        def decode() -> int:
            image, mask = task.dataset.read(next(samples))
            resize_frame(image, size, channels), resize_mask(mask, size)
            return 1

        def fetch() -> int:
            start = next(starts)
            frames, masks = data.batch(order[start : start + task.recipe.batch])
            normalize(torch.from_numpy(frames)), torch.from_numpy(masks)
            return len(frames)

        def augment() -> int:
            return len(augmenter.batch(*changed)[0])

        return {"decode": timed(decode), "fetch": timed(fetch), "augment": timed(augment)}

    def evaluation(self) -> Pieces:
        """Seconds a picture of class maps at the network's size, and of scoring them at theirs."""
        assert self.last is not None
        task, net = self.task, resume(self.task, self.last, self.device).average
        frames = list(split_arrays(task, self.cell.candidate, "val").frames())
        maps = list(class_maps(net, frames))

        def predict() -> int:
            return sum(1 for _ in class_maps(net, frames))

        def compare() -> int:
            picture_score(
                task.dataset, maps, cache_dir=task.cache_dir, split="val", source="torch",
                epoch=0, train_s=0.0, seed=0,
            )  # fmt: skip
            return len(maps)

        return {"class maps": timed(predict), "scoring": timed(compare)}

    def _first_job(self) -> None:
        """Warms up, fills the cache, and keeps what the network is given; it is not timed."""

        def look(module: nn.Module, inputs: Any) -> None:
            if self.seen is None and module.training and isinstance(inputs[0], Tensor):
                self.seen = inputs[0].detach().clone()

        hook = nn.modules.module.register_module_forward_pre_hook(look)
        try:
            self._job(1)
        finally:
            hook.remove()

    def _job(self, epochs: int) -> None:
        before = self.last
        start = before.to_epoch if before else 0
        job = Job(self.cell.candidate, start, start + epochs)
        self.score, self.last = train_job(self.task, job, str(self.device)).score, job
        if before:
            self.task.checkpoints.remove(checkpoint_name(before))

    def _bound_parts(self) -> tuple[nn.Module, Optimizers, Tensor]:
        assert self.last is not None and self.seen is not None
        training = resume(self.task, self.last, self.device)  # the net in the form it is trained
        count, _, height, width = self.seen.shape
        classes = len(self.task.dataset.classes)
        masks = torch.randint(0, classes, (count, height, width), dtype=torch.uint8)
        for group in (g for optimizer in training.optimizers for g in optimizer.param_groups):
            group["lr"] = 0.0  # random masks must not drive the weights away
        self.bound_parts = (training.net.train(), training.optimizers, masks.to(self.device))
        self._step(*self.bound_parts, {"forward": 0.0, "backward": 0.0, "optimizer": 0.0})
        return self.bound_parts

    def _step(self, net: nn.Module, optimizers: Optimizers, masks: Tensor, spent: Pieces) -> None:
        assert self.seen is not None
        times = [time.perf_counter()]
        logits = net(self.seen)
        slope = loss_gradient(logits, masks, self.task.recipe.dice_weight)
        times.append(time.perf_counter())
        net.zero_grad(set_to_none=True)
        logits.backward(slope)
        times.append(time.perf_counter())
        for optimizer in optimizers:
            optimizer.step()
        times.append(time.perf_counter())
        for place, name in enumerate(spent):
            spent[name] += times[place + 1] - times[place]


def use_bfloat16(use: bool) -> None:
    """Whether trainings of this process compute the network under autocast."""
    loop.training_step = _step_in_bfloat16 if use else training_step


def _step_in_bfloat16(training: Training, recipe: Recipe, micro_batches: int = 1) -> Step:
    forward = training.net.forward

    def cast(inputs: Tensor) -> Tensor:
        with torch.autocast(device().type, torch.bfloat16):
            logits: Tensor = forward(inputs)
        return logits.float()

    training.net.forward = cast  # type: ignore[method-assign]
    return training_step(training, recipe, micro_batches)


def device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def now() -> float:
    """Seconds on a clock, when all that was asked of a GPU is done."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def timed(piece: Callable[[], int]) -> float:
    """Seconds a picture of a piece that says how many pictures it did; the first is a warm-up."""
    piece()
    begun, pictures = time.perf_counter(), 0
    while time.perf_counter() - begun < MIN_S:
        pictures += piece()
    return (time.perf_counter() - begun) / pictures


def guess(task: Task, candidate: Candidate) -> float:
    """Seconds a picture of plain forward and backward, roughly: how much work a cell will be."""
    net = build_candidate(task.space, candidate, task.dataset.outputs).to(device()).train()
    inputs = torch.randn(task.recipe.batch, 3, *candidate.input_hw, device=device())
    taken: list[float] = []
    while len(taken) < 3 or sum(taken) < MIN_S:
        started = now()
        net(inputs).mean().backward()
        taken.append(now() - started)
    return min(taken) / len(inputs)


_here: list[Station | PlainStation] = []  # of this process


def enter(cell: Cell, checkpoints: Path | None) -> None:
    """Make `cell` the one that this process trains: by autoseg where it is given a folder."""
    _here.clear()
    _here.append(Station(cell, checkpoints) if checkpoints else PlainStation(cell))


def tell(verb: str, *arguments: Any) -> Any:
    """Have this process' station do something."""
    return getattr(_here[0], verb)(*arguments)
