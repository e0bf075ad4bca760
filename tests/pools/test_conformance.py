"""What every pool must do: run jobs, survive its workers, stand still when told, leave nothing."""

import dataclasses
import os
import signal
import time
from collections.abc import Callable, Iterator

import pytest
import torch

from autoseg import data
from autoseg.core.errors import CandidateError, DeviceError
from autoseg.core.records import Job, Score
from autoseg.networks.space_file import load_space
from autoseg.pools.local import LocalPool
from autoseg.pools.protocol import Pool
from autoseg.pools.run_job import run_job
from autoseg.pools.slots import default_slots
from autoseg.train.checkpoints import checkpoint_path
from autoseg.train.recipe import Recipe
from autoseg.train.task import Task

POOLS = {"local": LocalPool}
WORKER = "autoseg.pools.worker"
FOREVER = 100_000


@pytest.fixture(scope="module", params=sorted(POOLS))
def make(request) -> Callable[[Task, int], Pool]:
    return POOLS[request.param]


@pytest.fixture(scope="module")
def task(tiny, tmp_path_factory) -> Task:
    folder = tmp_path_factory.mktemp("pool")
    recipe = Recipe(rungs=(1, 2), batch=4, augment=False)
    return Task(
        space=load_space(tiny.space), dataset=data.load(tiny.data), recipe=recipe, seed=0,
        cache_dir=folder / "pictures", checkpoint_dir=folder / "checkpoints",
    )  # fmt: skip


@pytest.fixture(scope="module")
def pool(make, task) -> Iterator[Pool]:
    """One pool for the tests that leave it as they found it: nothing running."""
    pool = make(task, 2)
    yield pool
    pool.close()


def candidates(task: Task):
    return [task.space.candidate(resolution=r, a=a) for r in (64, 96) for a in (0.125, 0.25)]


def outcomes(pool: Pool, count: int) -> dict[Job, Score | CandidateError]:
    found = {}
    while len(found) < count:
        assert pool.running
        found.update(pool.wait(5.0))
    return found


def busy(processes, pids: list[int]) -> None:
    """Wait until each of the workers trains: more than what importing takes."""
    before = {pid: processes.cpu_ticks(pid) for pid in pids}
    processes.wait_for(lambda: all(processes.cpu_ticks(p) > t + 20 for p, t in before.items()))


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
        assert (score.epoch, score.split) == (1, "val")
        assert checkpoint_path(task, job).exists()


def test_a_worker_trains_what_this_process_would(pool, task, tmp_path):
    torch.set_num_threads(1)
    here = dataclasses.replace(task, checkpoint_dir=tmp_path)
    job = Job(candidates(task)[0], 0, 2)
    pool.submit(job)
    score = outcomes(pool, 1)[job]
    assert dataclasses.replace(score, train_s=0.0) == dataclasses.replace(
        run_job(here, job, default_slots(1)[0])[1], train_s=0.0
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
    checkpoint_path(task, bad).mkdir()
    pool.submit(bad)
    with pytest.raises(DeviceError, match="fix that, then --resume"):
        outcomes(pool, 1)


def test_a_paused_pool_uses_no_processor_goes_on_and_can_be_cancelled(pool, task, processes):
    for candidate in candidates(task):
        pool.submit(Job(candidate, 0, FOREVER))
    workers = processes.below(named=WORKER)
    assert (len(workers), len(pool.running)) == (2, 4)
    busy(processes, workers)
    with pool.paused():
        time.sleep(0.05)  # for a tick that was under way
        before = [processes.cpu_ticks(pid) for pid in workers]
        time.sleep(0.4)
        assert [processes.cpu_ticks(pid) for pid in workers] == before
    busy(processes, workers)
    pool.cancel()
    assert not pool.running and not list(pool.wait(0.0))
    assert not processes.alive(workers)


def test_a_cancelled_pool_works_on_and_a_killed_worker_fails_its_job_alone(pool, task, processes):
    lost, kept = Job(candidates(task)[0], 0, FOREVER), Job(candidates(task)[1], 0, 2)
    pool.submit(lost)
    (worker,) = processes.below(named=WORKER)
    # A terminal's Ctrl-C, which goes to all of a session's foreground, does not reach it.
    assert os.getsid(worker) != os.getsid(0)
    busy(processes, [worker])
    os.kill(worker, signal.SIGKILL)
    error = outcomes(pool, 1)[lost]
    assert isinstance(error, CandidateError) and "signal 9" in str(error)
    pool.submit(kept)
    assert isinstance(outcomes(pool, 1)[kept], Score)


def test_a_worker_that_is_killed_between_jobs_costs_nothing(pool, task, processes):
    (idle,) = processes.below(named=WORKER)
    os.kill(idle, signal.SIGKILL)
    os.waitid(os.P_PID, idle, os.WEXITED | os.WNOWAIT)
    job = Job(candidates(task)[0], 0, 1)
    pool.submit(job)
    assert isinstance(outcomes(pool, 1)[job], Score)


def test_close_leaves_no_process_and_may_be_called_twice(make, task, processes):
    before = processes.below()
    pool = make(task, 1)
    pool.submit(Job(candidates(task)[0], 0, FOREVER))
    assert set(processes.below()) > set(before)
    with pool.paused():
        pool.close()
    pool.close()
    assert not set(processes.below()) - set(before)


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
    pool = make(dataclasses.replace(task, space=space, checkpoint_dir=tmp_path / "checkpoints"), 1)
    good, bad = (Job(space.candidate(size=size), 0, 1) for size in (3, 5))
    pool.submit(bad)
    pool.submit(good)
    found = outcomes(pool, 2)
    pool.close()
    assert isinstance(found[good], Score)
    assert str(found[bad]) == "training failed: KeyError: 'no such feature'"


def test_workers_that_cannot_start_stop_the_run_instead_of_failing_every_candidate(
    make, task, tmp_path, monkeypatch
):
    (tmp_path / "torch.py").write_text("raise ImportError('a broken installation')")
    monkeypatch.syspath_prepend(tmp_path)
    pool = make(task, 1)
    pool.submit(Job(candidates(task)[0], 0, 1))
    with pytest.raises(DeviceError, match="a training worker ended with exit code 1"):
        outcomes(pool, 1)
    pool.close()
