"""What every pool must do: run jobs, pause, cancel, close, and tell a candidate's fault apart."""

import dataclasses
from collections.abc import Callable, Iterator

import pytest
import torch
from pools.jobs import FOREVER, candidates, outcomes

from autoseg.core.errors import CandidateError, DeviceError
from autoseg.core.records import Job, Score
from autoseg.networks.space_file import load_space
from autoseg.pools.local import LocalPool
from autoseg.pools.protocol import Pool
from autoseg.pools.ray.layout import Wanted
from autoseg.pools.ray.pool import RayPool
from autoseg.pools.run_job import run_job
from autoseg.pools.slots import Slot
from autoseg.train.checkpoints import checkpoint_name, is_saved
from autoseg.train.storage import FolderStorage
from autoseg.train.task import Task

opened: list[Pool] = []


def on_ray(task: Task, count: int) -> Pool:
    """A Ray of its own, after the one of earlier tests: a program has one at a time."""
    for pool in opened:
        pool.close()
    opened[:] = [RayPool(task, wanted=Wanted(workers=count, gpus=0))]
    return opened[0]


# How each is made for a task, with so many slots on the CPU.
POOLS = {
    "local": pytest.param(lambda task, count: LocalPool(task, (Slot(),) * count)),
    "ray": pytest.param(on_ray, marks=pytest.mark.ray),
}


@pytest.fixture(scope="module", params=POOLS.values(), ids=POOLS)
def make(request) -> Callable[[Task, int], Pool]:
    return request.param


@pytest.fixture(scope="module")
def pool(make, task) -> Iterator[Pool]:
    """One pool for the tests that leave it as they found it: nothing running."""
    pool = make(task, 2)
    yield pool
    pool.close()


def test_a_pool_says_what_its_slots_are_and_says_it_once(make, task):
    pool = make(task, 2)
    assert (pool.capacity, pool.kind) == (2, "cpu")
    assert any("2 slots" in text for text in pool.changes()) and not list(pool.changes())
    pool.close()


def test_every_job_comes_back_once_with_its_score(pool, task):
    jobs = [Job(candidate, 0, 1) for candidate in candidates(task)]
    for job in jobs:
        pool.submit(job)
    assert list(pool.running) and set(pool.running) <= set(jobs)
    found = outcomes(pool, len(jobs))
    assert set(found) == set(jobs)
    assert not pool.running and not list(pool.wait(0.0))
    for job, score in found.items():
        assert isinstance(score, Score)
        assert (score.epoch, score.split, score.trained_on) == (1, "val", "cpu")
        assert is_saved(task, job)


def test_a_worker_trains_what_this_process_would(pool, task, tmp_path):
    torch.set_num_threads(1)
    here = dataclasses.replace(task, checkpoints=FolderStorage(tmp_path))
    job = Job(candidates(task)[0], 0, 2)
    pool.submit(job)
    score = outcomes(pool, 1)[job]
    assert dataclasses.replace(score, train_s=0.0) == dataclasses.replace(
        run_job(here, job, Slot()).score, train_s=0.0
    )


def test_a_job_of_which_the_start_is_gone_fails_alone(pool, task):
    first, second = candidates(task)[:2]
    gone = Job(first, 5, 6)
    good = Job(second, 0, 2)
    pool.submit(gone)
    pool.submit(good)
    found = outcomes(pool, 2)
    assert isinstance(found[gone], CandidateError) and "is gone" in str(found[gone])
    assert isinstance(found[good], Score)


def test_what_is_no_candidates_fault_stops_the_run(pool, task):
    bad = Job(candidates(task)[1], 0, 3)
    (task.checkpoints.folder / checkpoint_name(bad)).mkdir()
    pool.submit(bad)
    with pytest.raises(DeviceError, match="fix that, then --resume"):
        outcomes(pool, 1)


def test_a_pool_can_be_paused_and_cancelled_and_works_on(pool, task):
    lost = [Job(candidate, 0, FOREVER) for candidate in candidates(task)]
    for job in lost:
        pool.submit(job)
    with pool.paused():
        assert set(pool.running) == set(lost)
    pool.cancel()
    assert not pool.running and not list(pool.wait(0.0))
    kept = Job(candidates(task)[1], 0, 2)
    pool.submit(kept)
    assert isinstance(outcomes(pool, 1)[kept], Score)


def test_close_ends_what_is_running_and_may_be_called_twice(make, task):
    pool = make(task, 1)
    pool.submit(Job(candidates(task)[0], 0, FOREVER))
    with pool.paused():
        pool.close()
    pool.close()
    assert not pool.running


BUILDER = """\
import torch

class Odd(torch.nn.Conv2d):
    def forward(self, x):
        if self.training and self.weight.shape[2] == 5:
            raise KeyError("no such feature")
        return super().forward(x)

def odd(channels, classes, size):
    return Odd(channels, classes, size, padding=size // 2)
"""
SPACE = """\
network: odd_networks:odd
knobs:
  resolution: {choices: [64], baseline: 64, effort: entry}
  size: {choices: [3, 5], baseline: 3, effort: entry}
"""


def test_a_users_own_network_is_found_and_what_it_raises_is_told(
    make, task, tmp_path, monkeypatch
):
    (tmp_path / "odd_networks.py").write_text(BUILDER)
    (tmp_path / "odd.yaml").write_text(SPACE)
    monkeypatch.syspath_prepend(tmp_path)
    space = load_space(tmp_path / "odd.yaml")
    checkpoints = FolderStorage(tmp_path / "checkpoints").prepare()
    pool = make(dataclasses.replace(task, space=space, checkpoints=checkpoints), 1)
    good, bad = (Job(space.candidate(size=size), 0, 1) for size in (3, 5))
    pool.submit(bad)
    pool.submit(good)
    found = outcomes(pool, 2)
    pool.close()
    assert isinstance(found[good], Score)
    assert str(found[bad]) == "training failed: KeyError: 'no such feature'"
