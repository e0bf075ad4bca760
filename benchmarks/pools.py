"""What pools cost the driver, and whether a search on nodes that come and go is the same search.

    python benchmarks/pools.py [--jobs 500] [--growth 2000] [--trials 12] [--parts jobs memory]

Three parts, each a table that is written as soon as it is known:

- jobs: N jobs that do nothing, two side by side, on the local pool and on Ray: wall time and the
  driver's CPU time for each.
- memory: the driver's resident memory after so many jobs, where a Tune trial is a slot that pulls
  jobs, and where each job is a Tune trial.
- search: the same search of the synthetic parcels on the local pool, and on three nodes of Ray of
  one CPU each (two with a GPU that Ray is only told of), of which one is killed in the middle and
  another added. The latency is computed
  from the network, so that both can be equal to the last digit. With one slot at a time they must
  be; with three the order of outcomes, and with it the choice of candidates, depends on time.

The nodes are processes of this machine: their network is not that of a cluster.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from importlib.metadata import version
from pathlib import Path
from typing import Any

from common import REFERENCE, ROOT, command, commit_of, facts, table, write_csv

sys.path[:0] = [str(ROOT / "scripts"), str(ROOT / "tests")]
OUT = REFERENCE / "pools"
WORKERS = 2
PARTS = ("jobs", "memory", "search")
SEARCH = {"max_latency": "1.5ms", "min_iou": 0.2, "effort": "expert", "seed": 3}
KILLED_AFTER_S = 1.5
RECIPE = {"rungs": [1, 3, 6], "batch": 4, "warmup_steps": 10}


def main() -> None:
    arguments = parsed()
    made: dict[str, Callable[[], Iterator[dict[str, Any]]]] = {
        "jobs": lambda: jobs(arguments.jobs),
        "memory": lambda: memory(arguments.growth),
        "search": lambda: search(arguments.trials),
    }
    parts: dict[str, list[dict[str, Any]]] = {}
    for name in arguments.parts:
        parts[name] = list(made[name]())
        print(*table(parts[name]), "", sep="\n", flush=True)
        write_csv(arguments.out.with_name(f"{arguments.out.name}-{name}.csv"), parts[name])
        arguments.out.with_suffix(".md").write_text("\n".join(page(parts)) + "\n")


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--jobs", type=int, default=500)
    parser.add_argument("--growth", type=int, default=2000, help="jobs while memory is watched")
    parser.add_argument("--trials", type=int, default=12, help="candidates of each search")
    parser.add_argument("--parts", nargs="+", default=PARTS, choices=PARTS)
    parser.add_argument("--out", type=Path, default=OUT)
    return parser.parse_args()


def page(parts: Mapping[str, list[dict[str, Any]]]) -> Iterator[str]:
    yield "# Pools: what a job costs the driver, and searches on nodes that come and go\n"
    yield f"`{command()}` at {commit_of(ROOT)}, Ray {version('ray')}.\n"
    yield from (*facts(), "")
    for name, rows in parts.items():
        yield f"## {name.capitalize()}\n"
        yield from table(rows)
        yield ""


def jobs(count: int) -> Iterator[dict[str, Any]]:
    """Wall time and the driver's CPU time for each job that does nothing."""
    for name, make in POOLS.items():
        with closing(make()) as pool:
            pool.start()
            run(pool, 4 * WORKERS)  # until every worker has answered
            began, used = time.perf_counter(), time.process_time()
            run(pool, count)
            wall_s, cpu_s = time.perf_counter() - began, time.process_time() - used
        yield {
            "pool": name, "jobs": count, "workers": WORKERS,
            "wall ms a job": f"{1e3 * wall_s / count:.2f}",
            "driver's CPU ms a job": f"{1e3 * cpu_s / count:.2f}",
        }  # fmt: skip


def run(pool: Any, count: int) -> None:
    """Submit jobs as a search does: one whenever a slot is free."""
    from autoseg.core.records import Job

    candidate = task().space.baseline
    done = 0
    numbers = iter(range(count))
    while done < count:
        while len(pool.running) < max(1, pool.capacity):
            number = next(numbers, None)
            if number is None:
                break
            pool.submit(Job(candidate, 0, number + 1))
        done += len(list(pool.wait(1.0)))


def memory(count: int) -> Iterator[dict[str, Any]]:
    """The driver's resident memory on the way, in MiB."""
    steps = [count * quarter // 4 for quarter in range(5)]
    with closing(POOLS["ray"]()) as pool:
        pool.start()
        run(pool, 4 * WORKERS)
        found = [resident_mib()]
        for _ in range(4):
            run(pool, count // 4)
            found.append(resident_mib())
    yield _growth("a trial is a slot", steps, found)
    yield _growth("a trial is a job", steps, trial_a_job(count))


def _growth(name: str, steps: list[int], found: list[float]) -> dict[str, Any]:
    at = {f"after {step} jobs": f"{mib:.1f}" for step, mib in zip(steps, found, strict=True)}
    return {"MiB": name, **at, "growth": f"{found[-1] - found[0]:+.1f}"}


def trial_a_job(count: int) -> list[float]:
    """The same number of Tune trials that do nothing; actors are reused, which is the quickest."""
    from autoseg.pools.ray.connect import require_ray

    require_ray()
    import ray
    from ray import tune

    ray.init(
        address="local",
        num_cpus=WORKERS,
        include_dashboard=False,
        logging_level=40,
        log_to_driver=False,
    )
    found: list[float] = []

    class Watch(tune.Callback):  # type: ignore[misc]
        ended = 0

        def on_trial_complete(self, *given: Any, **more: Any) -> None:
            Watch.ended += 1
            if Watch.ended in [8, *(count * quarter // 4 for quarter in range(1, 5))]:
                found.append(resident_mib())

    def idle(config: dict[str, Any]) -> dict[str, float]:
        return {"iou": 0.5}

    folder = tempfile.mkdtemp()
    tune.Tuner(
        tune.with_resources(idle, {"cpu": 1}),
        tune_config=tune.TuneConfig(num_samples=count, reuse_actors=True),
        run_config=tune.RunConfig(storage_path=folder, verbose=0, callbacks=[Watch()]),
    ).fit()
    ray.shutdown()
    shutil.rmtree(folder, ignore_errors=True)
    return found


def resident_mib() -> float:
    """Of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / 2**20


def search(trials: int) -> Iterator[dict[str, Any]]:
    """The same search here and on three nodes, with one slot and with three."""
    from compare_runs import steps

    results = Path(tempfile.mkdtemp())
    here = one_search(results, "local-1", trials, workers=1)
    alone = one_search(results, "ray-1", trials, workers=1, nodes=True)
    three = one_search(results, "ray-3", trials, workers=3, nodes=True)
    expected = steps(results / "local-1")
    for name, row in (("local-1", here), ("ray-1", alone), ("ray-3", three)):
        found = steps(results / name)
        same = [a == b for a, b in zip(found, expected, strict=False)]
        whole = len(found) == len(expected) and all(same)
        first = "all" if whole else f"the first {(*same, False).index(False)}"
        yield {**row, "events": len(found), "same as local": first}
    shutil.rmtree(results, ignore_errors=True)


def one_search(
    results: Path, name: str, trials: int, *, workers: int, nodes: bool = False
) -> dict[str, Any]:
    from compare_runs import latency_ms
    from rays import CPU_NODE, GPU_NODE, node_that_trains

    import autoseg

    given: dict[str, Any] = {}
    lost: list[float] = []
    cluster = None
    if nodes:
        from autoseg.pools.ray.connect import require_ray

        require_ray()
        from ray.cluster_utils import Cluster

        # The driver's own node trains nothing: it cannot be killed.
        cluster = Cluster(
            initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False}
        )
        for kind in (CPU_NODE, GPU_NODE, GPU_NODE):
            cluster.add_node(**kind)
        given = {"pool": cluster.address, "gpus": 0}
    began = time.monotonic()

    def lose() -> None:
        if node := node_that_trains(cluster):
            lost.append(time.monotonic() - began)
            cluster.remove_node(node, allow_graceful=False)
            cluster.add_node(**CPU_NODE)

    def follow(event: Mapping[str, Any]) -> None:
        events.append(event)
        scored = sum(1 for e in events if e["event"] == "scored")
        if cluster is not None and event["event"] == "scored" and scored == trials // 2:
            threading.Timer(KILLED_AFTER_S, lose).start()  # in the middle of the next job

    events: list[Mapping[str, Any]] = []
    result = autoseg.optimize(
        device=autoseg.FakeDevice(latency_ms), trials=trials, workers=workers, recipe=RECIPE,
        results=results, name=name, on_event=follow, **SEARCH, **given,
    )  # fmt: skip
    wall_s = time.monotonic() - began
    if cluster is not None:
        cluster.shutdown()
    scored = [e for e in events if e["event"] == "scored"]
    kept = [(e["key"], e["score"]["epoch"], e["score"]["decayed"]) for e in scored]
    return {
        "search": name, "slots": workers, "wall s": f"{wall_s:.0f}",
        "node killed after s": f"{lost[0]:.0f}" if lost else "",
        "candidates": len(result.evaluations), "trained rungs": len(scored),
        "twice": len(kept) - len(set(kept)), "models": len(result.front),
        "best IoU": f"{max((e.iou for e in result.front), default=0.0):.4f}",
    }  # fmt: skip


_task: list[Any] = []


def task() -> Any:
    """Of the synthetic parcels; its jobs do nothing."""
    from autoseg.data.synthetic.parcels import parcels
    from autoseg.networks.space_file import load_space
    from autoseg.train.recipe import Recipe
    from autoseg.train.storage import FolderStorage
    from autoseg.train.task import Task

    if not _task:
        folder = Path(tempfile.mkdtemp())
        _task.append(
            Task(
                space=load_space("fast_scnn"),
                dataset=parcels(),
                recipe=Recipe(),
                seed=0,
                cache_dir=folder / "pictures",
                checkpoints=FolderStorage(folder / "checkpoints").prepare(),
            )  # fmt: skip
        )
    return _task[0]


def local_pool() -> Any:
    from noop_job import noop

    from autoseg.pools.local import LocalPool
    from autoseg.pools.slots import Slot

    return LocalPool(task(), (Slot(),) * WORKERS, run=noop)


def ray_pool() -> Any:
    import noop_job

    from autoseg.pools.ray.connect import require_ray
    from autoseg.pools.ray.layout import Wanted
    from autoseg.pools.ray.pool import RayPool

    require_ray()
    import ray.cloudpickle

    ray.cloudpickle.register_pickle_by_value(noop_job)
    return RayPool(task(), wanted=Wanted(workers=WORKERS, gpus=0), run=noop_job.noop)


POOLS: Mapping[str, Callable[[], Any]] = {"local": local_pool, "ray": ray_pool}


if __name__ == "__main__":
    main()
