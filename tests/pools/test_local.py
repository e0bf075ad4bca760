"""What only local workers do: processes that are stopped, killed and started again."""

import dataclasses
import os
import signal
import time
from collections.abc import Iterator

import numpy as np
import pytest
from brief import START
from pools.jobs import FOREVER, candidates, outcomes

from autoseg.core.errors import DeviceError, OutOfMemory
from autoseg.core.records import Job, Score, Trained
from autoseg.networks.space_file import load_space
from autoseg.pools.local import LocalPool
from autoseg.pools.protocol import MAX_LOSSES
from autoseg.pools.slots import Slot
from autoseg.train.checkpoints import checkpoint_name, is_saved
from autoseg.train.contact_sheet import Example
from autoseg.train.storage import FolderStorage

WORKER = "autoseg.pools.worker"


@pytest.fixture(scope="module")
def opened(task) -> Iterator[LocalPool]:
    pool = LocalPool(task, (Slot(),) * 2)
    yield pool
    pool.close()


@pytest.fixture
def pool(opened) -> Iterator[LocalPool]:
    """One pool for several tests; none finds jobs of another in it."""
    yield opened
    opened.cancel()


def workers_of(processes, count: int) -> list[int]:
    """The workers, once the kernel shows the command line of each: some time after its start."""
    processes.wait_for(lambda: len(processes.below(named=WORKER)) == count)
    return processes.below(named=WORKER)


def busy(processes, pids: list[int]) -> None:
    """Wait until each of the workers trains: more than what importing takes."""
    before = {pid: processes.cpu_ticks(pid) for pid in pids}
    processes.wait_for(lambda: all(processes.cpu_ticks(p) > t + 20 for p, t in before.items()))


def test_workers_can_be_started_ahead_of_the_first_job(task, processes):
    before = processes.below(named=WORKER)
    pool = LocalPool(task, (Slot(),) * 2)
    START(pool)
    workers_of(processes, len(before) + 2)
    assert not pool.running
    pool.close()
    assert processes.below(named=WORKER) == before


def test_the_search_goes_on_while_workers_that_get_a_large_task_import(
    task, tmp_path, monkeypatch, processes
):
    before = processes.below(named=WORKER)
    (tmp_path / "torch.py").write_text("import time; time.sleep(60); raise SystemExit")
    monkeypatch.syspath_prepend(tmp_path)
    picture = np.zeros((512, 512, 3), np.uint8)  # more than a socket takes ahead of its reader
    pool = LocalPool(
        dataclasses.replace(task, examples=(Example("", picture, picture[..., 0]),)), (Slot(),) * 2
    )
    START(pool)
    workers_of(processes, len(before) + 2)  # both still import
    pool.close()


def test_a_paused_pool_uses_no_processor_and_a_cancelled_one_has_no_workers(pool, task, processes):
    for candidate in candidates(task):
        pool.submit(Job(candidate, 0, FOREVER))
    workers = workers_of(processes, 2)
    assert len(pool.running) == 4
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


def ended(processes, pool: LocalPool, worker: int, number: signal.Signals) -> None:
    """Send a worker a signal, and wait until the pool has ended it and another works instead."""
    busy(processes, [worker])
    os.kill(worker, number)
    while processes.alive([worker]):
        assert not pool.wait(0.2)


def test_a_job_whose_worker_is_killed_goes_on_in_another_and_fails_after_three(
    pool, task, processes
):
    pool.changes()
    lost, kept = Job(candidates(task)[2], 0, FOREVER), Job(candidates(task)[1], 0, 2)
    pool.submit(lost)
    for _ in range(MAX_LOSSES - 1):
        (worker,) = workers_of(processes, 1)
        # A terminal's Ctrl-C, which goes to all of a session's foreground, does not reach it.
        assert os.getsid(worker) != os.getsid(0)
        ended(processes, pool, worker, signal.SIGKILL)
        assert list(pool.running) == [lost]
        (told,) = pool.changes()
        assert lost.candidate.key in told and "signal 9" in told
    (worker,) = workers_of(processes, 1)
    busy(processes, [worker])
    os.kill(worker, signal.SIGKILL)
    assert str(outcomes(pool, 1)[lost]) == (
        "its worker was ended 3 times, last by signal 9; out of memory ends so"
    )
    pool.submit(kept)
    assert isinstance(outcomes(pool, 1)[kept], Score)
    assert pool.capacity == 2


@pytest.fixture
def impatient(task, processes) -> Iterator[tuple[LocalPool, int]]:
    """A pool that waits three seconds for a step, and its worker: in its second job."""
    before = processes.below(named=WORKER)
    pool = LocalPool(task, (Slot(),), max_silence_s=3.0)
    pool.submit(Job(candidates(task)[0], 0, 1))
    outcomes(pool, 1)
    (worker,) = set(processes.below(named=WORKER)) - set(before)
    pool.submit(Job(candidates(task)[0], 1, FOREVER))
    yield pool, worker
    pool.close()


def test_a_worker_that_takes_no_step_is_ended_and_its_job_goes_on(impatient, processes):
    pool, worker = impatient
    ended(processes, pool, worker, signal.SIGSTOP)
    assert len(pool.running) == pool.capacity == 1
    assert "after 3 s without a step" in [*pool.changes()][-1]


def test_a_pause_is_no_silence(impatient, processes):
    pool, worker = impatient
    with pool.paused():
        time.sleep(3.5)
    assert not pool.wait(0.5) and processes.alive([worker])


def test_a_worker_that_is_killed_between_jobs_costs_nothing(pool, task, processes):
    pool.submit(Job(candidates(task)[0], 0, 1))
    outcomes(pool, 1)
    (idle,) = workers_of(processes, 1)
    os.kill(idle, signal.SIGKILL)
    os.waitid(os.P_PID, idle, os.WEXITED | os.WNOWAIT)
    job = Job(candidates(task)[1], 0, 1)
    pool.submit(job)
    assert isinstance(outcomes(pool, 1)[job], Score)


def test_close_leaves_no_process(task, processes):
    before = processes.below()
    pool = LocalPool(task, (Slot(),) * 1)
    pool.submit(Job(candidates(task)[0], 0, FOREVER))
    assert set(processes.below()) > set(before)
    with pool.paused():
        pool.close()
    assert not set(processes.below()) - set(before)


def test_workers_that_cannot_start_stop_the_run_instead_of_failing_every_candidate(
    task, tmp_path, monkeypatch
):
    (tmp_path / "torch.py").write_text("raise ImportError('a broken installation')")
    monkeypatch.syspath_prepend(tmp_path)
    pool = LocalPool(task, (Slot(),) * 1)
    pool.submit(Job(candidates(task)[0], 0, 1))
    with pytest.raises(DeviceError, match="a training worker ended with exit code 1"):
        outcomes(pool, 1)
    pool.close()


@pytest.mark.slow
def test_a_fault_of_the_machine_loses_no_job_that_has_ended(task, processes, tmp_path):
    checkpoints = FolderStorage(tmp_path).prepare()
    here = dataclasses.replace(task, checkpoints=checkpoints)
    pool = LocalPool(here, (Slot(),) * 2)
    good, bad = (Job(candidate, 0, 1) for candidate in candidates(task)[:2])
    (tmp_path / checkpoint_name(bad)).mkdir()
    pool.submit(good)
    pool.submit(bad)
    processes.wait_for(lambda: is_saved(here, good))
    time.sleep(1.0)  # most probably, both have ended when the pool looks
    found, faults = {}, 0
    while good not in found or not faults:
        try:
            found |= dict(pool.wait(5.0))
        except DeviceError:
            faults += 1
    assert isinstance(found[good], Trained)
    pool.close()


def test_workers_import_nothing_of_the_folder_that_a_search_is_called_in(
    task, tmp_path, monkeypatch
):
    (tmp_path / "random.py").write_text("raise SystemExit('not the one of Python')")
    monkeypatch.chdir(tmp_path)
    pool = LocalPool(task, (Slot(),) * 1)
    job = Job(candidates(task)[0], 0, 2)
    pool.submit(job)
    assert isinstance(outcomes(pool, 1)[job], Score)
    pool.close()


# On a GPU of which the memory holds `most` pictures of a batch, and one process that has trained.
SHORT = """\
import fcntl, torch

FILE = open(__file__)

class Short(torch.nn.Conv2d):
    def forward(self, x):
        if self.training:
            if len(x) > self.most:
                raise torch.OutOfMemoryError("CUDA out of memory: too many pictures")
            try:
                fcntl.flock(FILE, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise torch.OutOfMemoryError("CUDA out of memory: beside another") from None
        return super().forward(x)

def short(channels, classes, most, mark):
    net = Short(channels, classes, 3, padding=1)
    net.most = most
    return net
"""
SHORT_SPACE = """\
network: short_networks:short
knobs:
  resolution: {choices: [64], baseline: 64, effort: entry}
  most: {choices: [0, 1, 8], baseline: 8, effort: entry}
  mark: {choices: [0, 1], baseline: 0, effort: entry}
"""
SHARE = Slot("cpu", 1, 0.5, "cuda:0")  # a share of a GPU that is trained on a core here


@pytest.fixture
def short(task, tmp_path, monkeypatch):
    (tmp_path / "short_networks.py").write_text(SHORT)
    (tmp_path / "short.yaml").write_text(SHORT_SPACE)
    monkeypatch.syspath_prepend(tmp_path)
    space = load_space(tmp_path / "short.yaml")
    recipe = dataclasses.replace(task.recipe, batch=2)
    checkpoints = FolderStorage(tmp_path / "checkpoints").prepare()
    return dataclasses.replace(task, space=space, recipe=recipe, checkpoints=checkpoints)


def test_a_slot_retires_where_two_trainings_do_not_fit_into_a_gpu(short):
    pool = LocalPool(short, (SHARE, SHARE))
    pool.changes()
    jobs = [Job(short.space.candidate(mark=mark), 0, 2) for mark in (0, 1)]
    for job in jobs:
        pool.submit(job)
    found = outcomes(pool, 2)
    assert {score.micro_batches for score in found.values()} == {1}
    assert pool.capacity == 1
    (told,) = pool.changes()
    assert "the memory of cuda:0 beside 1 other" in told
    pool.close()


@pytest.mark.slow
def test_alone_on_a_gpu_the_batch_is_halved_until_it_fits(short):
    pool = LocalPool(short, (SHARE,))
    pool.changes()
    fits, never = (short.space.candidate(most=most) for most in (1, 0))
    jobs = [Job(fits, 0, 1), Job(fits, 1, 2)]
    found = {}
    for job in jobs:
        pool.submit(job)
        found |= outcomes(pool, 1)
    assert [found[job].micro_batches for job in jobs] == [2, 2]
    (told,) = pool.changes()
    assert "its batch of 2 is computed in 2 parts" in told
    pool.submit(last := Job(never, 0, 1))
    error = outcomes(pool, 1)[last]
    assert isinstance(error, OutOfMemory) and "out of memory" in str(error)
    assert pool.capacity == 1
    pool.close()
