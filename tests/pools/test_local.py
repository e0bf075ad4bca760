"""What only local workers do: processes that are stopped, killed and started again."""

import os
import signal
import time
from collections.abc import Iterator

import pytest
from brief import START
from pools.jobs import FOREVER, candidates, outcomes

from autoseg.core.errors import DeviceError
from autoseg.core.records import Job, Score
from autoseg.pools import local
from autoseg.pools.local import LocalPool
from autoseg.pools.protocol import MAX_LOSSES
from autoseg.pools.slots import Slot

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


def test_a_job_whose_worker_is_killed_goes_on_in_another(pool, task, processes):
    [*pool.changes()]
    candidate = candidates(task)[0]
    first, second = Job(candidate, 0, 2), Job(candidate, 2, FOREVER)
    pool.submit(first)
    before = outcomes(pool, 1)[first]
    pool.submit(second)
    (worker,) = workers_of(processes, 1)
    # A terminal's Ctrl-C, which goes to all of a session's foreground, does not reach it.
    assert os.getsid(worker) != os.getsid(0)
    ended(processes, pool, worker, signal.SIGKILL)
    (again,) = workers_of(processes, 1)
    assert again != worker and list(pool.running) == [second] and isinstance(before, Score)
    (told,) = pool.changes()
    assert candidate.key in told and "signal 9" in told


def test_a_job_that_loses_three_workers_fails_alone(pool, task, processes):
    lost, kept = Job(candidates(task)[2], 0, FOREVER), Job(candidates(task)[1], 0, 2)
    pool.submit(lost)
    for _ in range(MAX_LOSSES - 1):
        ended(processes, pool, *workers_of(processes, 1), signal.SIGKILL)
    (worker,) = workers_of(processes, 1)
    busy(processes, [worker])
    os.kill(worker, signal.SIGKILL)
    assert str(outcomes(pool, 1)[lost]) == (
        "its worker was ended 3 times, last by signal 9; out of memory ends so"
    )
    pool.submit(kept)
    assert isinstance(outcomes(pool, 1)[kept], Score)
    assert pool.capacity == 2


def test_a_worker_that_takes_no_step_is_ended_and_its_job_goes_on(task, processes):
    before = processes.below(named=WORKER)
    pool = LocalPool(task, (Slot(),), max_silence_s=3.0)
    job = Job(candidates(task)[0], 0, FOREVER)
    pool.submit(job)
    processes.wait_for(lambda: len(processes.below(named=WORKER)) == len(before) + 1)
    (worker,) = set(processes.below(named=WORKER)) - set(before)
    ended(processes, pool, worker, signal.SIGSTOP)
    assert list(pool.running) == [job] and pool.capacity == 1
    assert "after 3 s without a step" in [*pool.changes()][-1]
    pool.close()


def test_a_pause_is_no_silence_and_signs_of_life_that_nobody_reads_stop_nothing(
    task, processes, monkeypatch
):
    monkeypatch.setattr(local, "LOOK_EVERY_S", 0.1)
    before = processes.below(named=WORKER)
    pool = LocalPool(task, (Slot(),), max_silence_s=2.0)
    pool.submit(Job(candidates(task)[0], 0, FOREVER))
    processes.wait_for(lambda: len(processes.below(named=WORKER)) == len(before) + 1)
    (worker,) = set(processes.below(named=WORKER)) - set(before)
    while not pool._workers[0].ready:
        pool.wait(0.1)
    with pool.paused():
        time.sleep(2.5)
        assert not pool.wait(0.0) and processes.alive([worker])
    busy(processes, [worker])
    pool.close()


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
