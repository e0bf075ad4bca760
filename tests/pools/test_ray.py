"""What only Ray does: nodes that come and go, and slots that Tune starts again."""

import dataclasses
import io
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from pools.jobs import FOREVER, candidates, outcomes
from rays import CPU_NODE, GPU_NODE

from autoseg.core.errors import CandidateError, DeviceError, InputError
from autoseg.core.records import Job, Score
from autoseg.pools.ray import processes, tune
from autoseg.pools.ray.layout import Wanted
from autoseg.pools.ray.pool import RayPool
from autoseg.pools.run_job import run_job
from autoseg.pools.slots import Slot
from autoseg.train.checkpoints import checkpoint_name, is_saved
from autoseg.train.storage import FolderStorage
from autoseg.train.task import Task

pytestmark = pytest.mark.ray

ON_CPUS, ON_GPUS = Wanted(gpus=0), Wanted(gpus_per_trial=1.0)


Join = Callable[..., RayPool]


@pytest.fixture
def join(request, task) -> Iterator[Join]:
    """Opens a pool on the test's own cluster, else on the one that they share."""
    own = "cluster" in request.fixturenames
    cluster = request.getfixturevalue("cluster" if own else "shared_cluster")
    pools = []

    def opened(wanted: Wanted = ON_CPUS, task: Task = task, **given: Any) -> RayPool:
        pools.append(RayPool(task, address=cluster.address, wanted=wanted, **given))
        return pools[-1]

    yield opened
    for pool in pools:
        pool.close()


def scores(pool: RayPool, jobs: list[Job]) -> dict[Job, float]:
    return {job: score.iou for job, score in outcomes(pool, len(jobs)).items()}


def until(pool: RayPool, holds: Callable[[], bool], timeout_s: float = 120.0) -> None:
    end = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < end
        assert not pool.wait(0.2)


def until_said(pool: RayPool, text: str) -> None:
    """Wait until the pool has told of its slots in these words."""
    until(pool, lambda: any(text in change for change in pool.changes()))


def noting(folder: Path) -> Callable[..., Any]:
    """`run_job`, which also notes the process of each job, and saves often; nested, so that it
    travels as data.
    """

    def run(task: Any, job: Job, slot: Any, **given: Any) -> Any:
        import os

        from autoseg.pools.run_job import run_job
        from autoseg.train import loop

        loop.SAVE_EVERY_S = 0.2
        with (folder / job.id).open("a") as file:
            file.write(f"{os.getpid()}\n")
        return run_job(task, job, slot, **given)

    return run


def process_of(pool: RayPool, folder: Path, job: Job, attempt: int = 1) -> int:
    """The process that trains a job, once it has begun for the n-th time."""
    note = folder / job.id
    until(pool, lambda: note.exists() and note.read_text().count("\n") == attempt)
    return int(note.read_text().splitlines()[-1])


def saved_epoch(task: Any, job: Job) -> int:
    """The epoch of the newest checkpoint that a job has saved on its way."""
    content = task.checkpoints.read(checkpoint_name(job, partial=True))
    return torch.load(io.BytesIO(content), weights_only=True)["epoch"] if content else 0


def steps(task: Any, job: Job) -> Callable[[], bool]:
    """Whether a job has saved a checkpoint on its way."""
    return lambda: saved_epoch(task, job) > 0


def test_slots_are_as_many_as_the_cluster_has_room_for(cluster, join, task):
    pool = join()
    pool.start()
    assert pool.capacity == 3
    jobs = [Job(candidate, 0, 1) for candidate in candidates(task)]
    for job in jobs:
        pool.submit(job)
    assert set(scores(pool, jobs)) == set(jobs)
    until_said(pool, "3 slots on 3 nodes")
    cluster.add_node(**CPU_NODE)
    until(pool, lambda: pool.capacity == 4)


def test_the_job_of_a_killed_worker_goes_on_from_its_checkpoint(join, task, tmp_path):
    pool, job = join(run=noting(tmp_path)), Job(candidates(task)[0], 0, FOREVER)
    pool.submit(job)
    first = process_of(pool, tmp_path, job)
    until(pool, lambda: saved_epoch(task, job) >= 50)
    os.kill(first, signal.SIGKILL)
    second = process_of(pool, tmp_path, job, 2)
    assert second != first and list(pool.running) == [job]
    assert any(job.candidate.key in change for change in pool.changes())
    before = saved_epoch(task, job)
    until(pool, lambda: saved_epoch(task, job) != before)
    assert saved_epoch(task, job) > before


def test_a_job_that_kills_its_worker_each_time_is_the_candidates_fault(join, task, tmp_path):
    def run(task: Any, job: Job, slot: Any, **given: Any) -> Any:
        import os

        (tmp_path / str(os.getpid())).touch()
        os.kill(os.getpid(), 9)

    pool, job = join(run=run), Job(candidates(task)[0], 0, 1)
    pool.submit(job)
    error = outcomes(pool, 1)[job]
    assert isinstance(error, CandidateError) and "ended 3 times" in str(error)
    assert len(list(tmp_path.iterdir())) == 3


def test_a_lost_node_gives_its_job_to_another(cluster, join, task, tmp_path):
    pool = join(ON_GPUS, run=noting(tmp_path))
    jobs = [Job(candidate, 0, FOREVER) for candidate in candidates(task)[:2]]
    for job in jobs:
        pool.submit(job)
    for job in jobs:
        process_of(pool, tmp_path, job)
    cluster.remove_node(cluster.list_all_nodes()[1], allow_graceful=False)
    until(pool, lambda: pool.capacity == 1)
    cluster.add_node(**GPU_NODE)
    until(pool, lambda: pool.capacity == 2)
    until(pool, lambda: sum((tmp_path / j.id).read_text().count("\n") for j in jobs) == 3)
    assert set(pool.running) == set(jobs)


def test_a_job_that_never_reports_is_given_to_another_worker(join, task, tmp_path, monkeypatch):
    monkeypatch.setattr(processes, "kernel_here", lambda: "another machine")
    pool = join(run=noting(tmp_path), max_silence_s=12.0)
    job = Job(candidates(task)[0], 0, FOREVER)
    pool.submit(job)
    first = process_of(pool, tmp_path, job)
    until(pool, steps(task, job))
    os.kill(first, signal.SIGSTOP)
    assert process_of(pool, tmp_path, job, 2) != first


def test_a_paused_pool_uses_no_processor_of_this_machine(join, task, tmp_path, request):
    processes = request.getfixturevalue("processes")
    pool = join(run=noting(tmp_path))
    job = Job(candidates(task)[0], 0, FOREVER)
    pool.submit(job)
    pid = process_of(pool, tmp_path, job)
    until(pool, steps(task, job))
    with pool.paused():
        time.sleep(0.05)
        before = processes.cpu_ticks(pid)
        time.sleep(0.4)
        assert processes.cpu_ticks(pid) == before
    until(pool, lambda: processes.cpu_ticks(pid) > before + 20)


class Broken:
    """A function that no node can load, as where a package is missing there."""

    def __call__(self, *given: Any, **more: Any) -> Any:
        raise NotImplementedError

    def __reduce__(self) -> Any:
        return __import__, ("no_such_package",)


def test_out_of_memory_is_met_by_fewer_slots_then_by_a_smaller_batch(cluster, join, task):
    def run(task: Any, job: Job, slot: Any, **given: Any) -> Any:
        from autoseg.core.errors import OutOfMemory
        from autoseg.pools.run_job import run_job

        small = given["micro_batches"] > 1
        return run_job(task, job, slot, **given) if small else OutOfMemory("out of memory")

    cluster.remove_node(cluster.list_all_nodes()[1])
    cluster.remove_node(cluster.list_all_nodes()[1])
    cluster.add_node(num_cpus=2, num_gpus=1)
    pool, job = join(Wanted(gpus_per_trial=0.5), run=run), Job(candidates(task)[0], 0, 1)
    pool.start()
    until_said(pool, "2 slots on GPU 0")
    pool.submit(job)
    score = outcomes(pool, 1)[job]
    assert (score.micro_batches, score.trained_on) == (2, "cpu")
    told = [text for text in pool.changes() if job.candidate.key in text]
    assert ["one slot less" in text for text in told] == [True, False]
    assert "computed in 2 parts" in told[1] and pool.capacity == 1


def test_slots_that_cannot_start_stop_the_run(join, task, monkeypatch):
    monkeypatch.setattr("autoseg.pools.ray.pool.MAX_FALSE_STARTS", 2)
    pool = join(run=Broken())
    pool.submit(Job(candidates(task)[0], 0, 1))
    with pytest.raises(DeviceError, match="no_such_package"):
        outcomes(pool, 1)


def test_ray_pool_says_how_to_join_a_cluster_that_it_cannot(task):
    with pytest.raises(InputError, match="RAY_AUTH_MODE=token"):
        RayPool(task, address="127.0.0.1:1", wanted=ON_CPUS)


def test_ray_pool_starts_its_own_ray_beside_one_that_runs_here(shared_cluster, task):
    pool = RayPool(task, wanted=Wanted(workers=2, gpus=0))
    assert pool.capacity == 2
    pool.close()


def test_a_slot_works_without_the_drivers_disk(join, task, tmp_path, monkeypatch):
    """Its pictures come from the object store, and its checkpoints go through the driver."""

    def run(task: Any, job: Job, slot: Any, **given: Any) -> Any:
        import dataclasses
        from pathlib import Path

        import pytest

        from autoseg.core.errors import InputError
        from autoseg.data.cache import ShardKey
        from autoseg.pools.run_job import run_job

        assert task.fetch is not None and not hasattr(task.checkpoints, "folder")
        shapes, data = task.fetch(ShardKey("train", job.candidate.input_hw, 3, 0))
        assert not data.flags.owndata and not data.flags.writeable
        with pytest.raises(InputError) as found:  # as where the disk is seen, without Ray's trace
            task.fetch(ShardKey("no such split", None, 0, 0))
        assert "\n" not in str(found.value)
        nowhere = dataclasses.replace(task, cache_dir=Path("/nowhere"))
        return run_job(nowhere, job, slot, **given)

    monkeypatch.setattr(tune, "mark", lambda task: "a mark that no slot sees")
    pool, job = join(run=run), Job(candidates(task)[0], 0, 2)
    here = dataclasses.replace(task, checkpoints=FolderStorage(tmp_path / "here").prepare())
    pool.submit(job)
    score = outcomes(pool, 1)[job]
    expected = run_job(here, job, Slot()).score
    assert dataclasses.replace(score, train_s=0.0) == dataclasses.replace(expected, train_s=0.0)
    assert is_saved(task, job)


def test_a_slot_finds_what_lies_at_paths_from_the_drivers_working_directory(
    join, task, tmp_path, monkeypatch
):
    """The nodes were started in another one."""

    def run(task: Any, job: Job, slot: Any, **given: Any) -> Any:
        from autoseg.pools.run_job import run_job

        assert task.fetch is None and task.checkpoints.names("") is not None
        return run_job(task, job, slot, **given)

    monkeypatch.chdir(tmp_path)
    here = dataclasses.replace(
        task, cache_dir=Path("pictures"), checkpoints=FolderStorage(Path("checkpoints")).prepare()
    )
    pool, job = join(task=here, run=run), Job(candidates(task)[0], 0, 1)
    pool.submit(job)
    assert isinstance(outcomes(pool, 1)[job], Score)
    assert is_saved(here, job)
