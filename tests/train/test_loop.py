"""Training is cut into jobs that may be interrupted anywhere: the weights show nothing of it."""

import dataclasses
import math
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from autoseg import data
from autoseg.core.errors import CandidateError, InputError
from autoseg.core.records import Candidate, Job, Score
from autoseg.data.user_augmentation import load_augmentation
from autoseg.networks.space import Knob
from autoseg.networks.space_file import load_space
from autoseg.train import loop
from autoseg.train.checkpoints import checkpoint_name, is_saved, trained_network
from autoseg.train.loop import train_job
from autoseg.train.recipe import Recipe
from autoseg.train.scoring import CHUNK, class_maps, picture_score
from autoseg.train.storage import FolderStorage
from autoseg.train.task import Task

RECIPE = {"rungs": (1, 2), "batch": 4, "warmup_steps": 2, "learning_rate": 0.01}


@pytest.fixture
def task(tiny, tmp_path) -> Task:
    torch.set_num_threads(1)
    dataset = data.load(tiny.data)
    return Task(
        space=load_space(tiny.space), dataset=dataset, recipe=Recipe(**RECIPE), seed=0,
        cache_dir=tmp_path / "pictures",
        checkpoints=FolderStorage(tmp_path / "checkpoints").prepare(),
    )  # fmt: skip


@pytest.fixture
def small(task) -> Candidate:
    return task.space.candidate(resolution=64, a=0.25)


def elsewhere(task: Task, name: str, **recipe) -> Task:
    checkpoints = FolderStorage(task.checkpoints.folder.with_name(name)).prepare()
    changed = dataclasses.replace(task.recipe, **recipe)
    return dataclasses.replace(task, checkpoints=checkpoints, recipe=changed)


def train(task: Task, job: Job) -> Score:
    return train_job(task, job, "cpu").score


def checkpoint_path(task: Task, job: Job, *, partial: bool = False) -> Path:
    return task.checkpoints.folder / checkpoint_name(job, partial=partial)


def loaded(path: Path) -> dict:
    return torch.load(path, weights_only=True)


def same(left, right) -> bool:
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(same(left[k], right[k]) for k in left)
    if isinstance(left, list | tuple):
        return len(left) == len(right) and all(map(same, left, right))
    return torch.equal(left, right) if isinstance(left, torch.Tensor) else left == right


def same_training(left: Path, right: Path) -> bool:
    """Weights, their average, the optimizer's moments and the place, to the last bit."""
    one, other = ({**loaded(path), "train_s": None} for path in (left, right))
    return same(one, other)


def untimed(score: Score) -> Score:
    return dataclasses.replace(score, train_s=0.0)


class Killed(BaseException):
    pass


@contextmanager
def killed_once_there(path: Path) -> Iterator[None]:
    """Interrupts what runs, wherever it is, as soon as the file appears."""

    def end(*_: object) -> None:
        raise Killed

    def watch() -> None:
        while not path.exists() and not over.is_set():
            time.sleep(0.001)
        if not over.is_set():
            os.kill(os.getpid(), signal.SIGUSR1)

    over = threading.Event()
    before = signal.signal(signal.SIGUSR1, end)
    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()
        signal.signal(signal.SIGUSR1, before)


@pytest.mark.parametrize("augment", [True, False])
def test_train_job_in_two_rungs_is_equal_to_one_job_of_both(task, small, augment):
    two, one = (elsewhere(task, name, augment=augment) for name in ("two", "one"))
    first, both = (
        Job(candidate=small, from_epoch=0, to_epoch=1),
        Job(candidate=small, from_epoch=0, to_epoch=2),
    )
    train(two, first)
    second = Job(small, 1, 2)
    assert untimed(train(two, second)) == untimed(train(one, both))
    assert same_training(checkpoint_path(two, second), checkpoint_path(one, both))


@pytest.mark.parametrize("channels", [1, 3])
def test_train_job_resumed_with_own_augmentation_ends_with_the_same_bits(
    channels, task, small, tmp_path
):
    import albumentations as A

    path = tmp_path / "mine.json"
    A.save(A.Compose([A.HorizontalFlip(), A.Affine(rotate=10), A.GaussNoise()]), path)
    augmentation = load_augmentation(path)
    two, one, built_in = (
        dataclasses.replace(elsewhere(task, name, augment_epochs=0), augmentation=own)
        for name, own in (("two", augmentation), ("one", augmentation), ("plain", None))
    )
    choices = {**dict(small.choices), "channels": channels}
    candidate = Candidate.of(task.space.name, choices)
    first, both = Job(candidate, 0, 1), Job(candidate, 0, 2)
    train(two, first)
    second = Job(candidate, 1, 2)
    assert untimed(train(two, second)) == untimed(train(one, both))
    assert same_training(checkpoint_path(two, second), checkpoint_path(one, both))
    train(built_in, both)
    assert not same_training(checkpoint_path(built_in, both), checkpoint_path(one, both))


def test_train_job_resumed_ends_with_the_same_bits(task, small, monkeypatch):
    monkeypatch.setattr(loop, "SAVE_EVERY_S", 0.0)
    job = Job(small, 0, 6)
    whole, torn = elsewhere(task, "whole"), elsewhere(task, "torn")
    partial = checkpoint_path(torn, job, partial=True)
    with pytest.raises(Killed), killed_once_there(partial):
        train(torn, job)
    assert 1 <= loaded(partial)["epoch"] < 6
    assert not is_saved(torn, job)
    assert untimed(train(torn, job)) == untimed(train(whole, job))
    assert same_training(checkpoint_path(torn, job), checkpoint_path(whole, job))
    assert not partial.exists()


def test_train_job_resumes_the_decay_branch(task, small, monkeypatch):
    monkeypatch.setattr(loop, "SAVE_EVERY_S", 0.0)
    whole, torn = elsewhere(task, "whole"), elsewhere(task, "torn")
    jobs = {}
    for place in (whole, torn):
        train(place, Job(small, 0, 1))
        jobs[place.checkpoints] = Job(small, 1, 6, decay=True)
    decay = jobs[torn.checkpoints]
    with (
        pytest.raises(Killed),
        killed_once_there(checkpoint_path(torn, decay, partial=True)),
    ):
        train(torn, decay)
    assert untimed(train(torn, decay)) == untimed(train(whole, jobs[whole.checkpoints]))
    assert same_training(checkpoint_path(torn, decay), checkpoint_path(whole, decay))


def test_train_job_scores_and_does_not_retrain_a_job_that_ended_before_its_score(task, small):
    job = Job(candidate=small, from_epoch=0, to_epoch=2)
    score = train(task, job)
    before = loaded(checkpoint_path(task, job))
    again = train(task, job)
    assert again == score
    assert same(loaded(checkpoint_path(task, job)), before)


def test_train_job_in_parts_of_batches_is_recorded_and_tells_that_it_is_alive(task, small):
    job, told = Job(candidate=small, from_epoch=0, to_epoch=2), []
    done = train_job(task, job, "cpu", micro_batches=2, alive=lambda: told.append(None))
    assert (done.score.micro_batches, done.score.trained_on) == (2, "cpu")
    rows = {split: len(samples) for split, samples in task.dataset.splits.items()}
    steps, batches = -(-rows["train"] // task.recipe.batch), -(-rows["val"] // CHUNK)
    assert len(told) == 2 * steps + batches


def test_train_job_decay_is_a_separate_branch(task, small):
    first = Job(candidate=small, from_epoch=0, to_epoch=1)
    train(task, first)
    decayed, straight = Job(small, 1, 3, decay=True), Job(small, 1, 3)
    scores = [train(task, job) for job in (decayed, straight)]
    assert [score.decayed for score in scores] == [True, False]
    assert checkpoint_path(task, decayed) != checkpoint_path(task, straight)
    states = [loaded(checkpoint_path(task, job)) for job in (decayed, straight)]
    assert not same(states[0]["net"], states[1]["net"])
    rates = [state["optimizers"][0]["param_groups"][0]["lr"] for state in states]
    assert 0 < rates[0] < rates[1] == task.recipe.learning_rate


def test_train_job_of_another_seed_trains_differently(task, small):
    other = dataclasses.replace(elsewhere(task, "other"), seed=1)
    job = Job(candidate=small, from_epoch=0, to_epoch=1)
    train(task, job)
    train(other, job)
    assert not same_training(checkpoint_path(task, job), checkpoint_path(other, job))


def test_train_job_with_a_loss_that_is_not_finite_raises_candidate_error(task, small):
    wild = elsewhere(task, "wild", learning_rate=math.inf)
    with pytest.raises(CandidateError, match="loss .*epoch 1"):
        train(wild, Job(candidate=small, from_epoch=0, to_epoch=1))
    assert not is_saved(wild, Job(candidate=small, from_epoch=0, to_epoch=1))


def test_train_job_without_its_checkpoint_raises_candidate_error(task, small):
    with pytest.raises(CandidateError, match=f"{small.key} at epoch 1 is gone"):
        train(task, Job(small, 1, 2))


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_train_job_raises_iou_on_an_easy_set(task, small, optimizer):
    rate = {"adamw": 0.01, "sgd": 0.1}[optimizer]
    easy = elsewhere(task, optimizer, optimizer=optimizer, learning_rate=rate, augment=False)
    first, last = (
        Job(candidate=small, from_epoch=0, to_epoch=1),
        Job(candidate=small, from_epoch=0, to_epoch=12),
    )
    before, after = train(easy, first), train(easy, last)
    assert after.iou > max(0.6, before.iou + 0.1)
    assert after.iou_ci95[0] <= after.iou <= after.iou_ci95[1]
    assert (after.epoch, after.split, after.source) == (12, "val", "torch")


def test_train_job_ships_the_average_that_was_scored(task, small):
    job = Job(candidate=small, from_epoch=0, to_epoch=2)
    score = train(task, job)
    net = trained_network(task, job)
    frames = data.cache.arrays(task.dataset, "val", (64, 64), 3, task.cache_dir).frames()
    maps = class_maps(net, frames)
    again = picture_score(
        task.dataset, maps, cache_dir=task.cache_dir, split="val", source="torch", epoch=2,
        train_s=score.train_s, seed=0, min_iou=0.5,
    )  # fmt: skip
    assert dataclasses.replace(again, p_floor=None) == score
    assert again.p_floor is not None and 0 <= again.p_floor <= 1
    state = loaded(checkpoint_path(task, job))
    assert same(net.state_dict(), state["average"])
    assert not same(state["net"], state["average"])


def with_knob(task: Task, knob: Knob) -> Task:
    space = dataclasses.replace(task.space, knobs=(*task.space.knobs, knob))
    return dataclasses.replace(elsewhere(task, knob.name), space=space)


def test_train_job_takes_a_number_of_the_recipe_from_a_knob_of_stage_train(task, small):
    rates = with_knob(task, Knob("learning_rate", (0.01, 0.02), 0.01, "entry", stage="train"))
    job = Job(rates.space.candidate(resolution=64, a=0.25, learning_rate=0.02), 0, 2)
    other = elsewhere(task, "other", learning_rate=0.02)
    assert untimed(train(rates, job)) == untimed(train(other, Job(small, 0, 2)))
    assert same_training(checkpoint_path(rates, job), checkpoint_path(other, Job(small, 0, 2)))


def test_task_refuses_a_knob_of_stage_train_that_nothing_applies(task):
    with pytest.raises(InputError, match="distillation"):
        with_knob(task, Knob("distillation", (0, 1), 0, "entry", stage="train"))
