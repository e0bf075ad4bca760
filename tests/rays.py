"""A cluster of Ray on this machine, for tests: nodes that can be killed and added."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

CPU_NODE = {"num_cpus": 1, "num_gpus": 0}
GPU_NODE = {"num_cpus": 1, "num_gpus": 1}  # Ray believes it


@pytest.fixture
def cluster() -> Iterator[Any]:
    """A cluster whose nodes a test may kill."""
    yield from _started()


@pytest.fixture(scope="module")
def shared_cluster() -> Iterator[Any]:
    """A cluster whose nodes stay as they are."""
    yield from _started()


def _started() -> Iterator[Any]:
    """Three nodes of one CPU each, two of them with a GPU that Ray is told of."""
    from autoseg.pools.ray.connect import require_ray

    require_ray()
    from ray.cluster_utils import Cluster

    found = Cluster(initialize_head=True, head_node_args={**CPU_NODE, "include_dashboard": False})
    for _ in range(2):
        found.add_node(**GPU_NODE)
    yield found
    found.shutdown()


def node_that_trains(cluster: Any) -> Any:
    """The first node, but for the driver's own, on which a slot runs; None where there is none."""
    for node in cluster.list_all_nodes()[1:]:
        raylet = node.all_processes["raylet"][0].process.pid
        if any(b"ImplicitFunc" in _command(pid) for pid in _children(raylet)):
            return node
    return None


def _children(pid: int) -> list[int]:
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(path.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
        if parent == pid:
            found.append(int(path.parent.name))
    return found


def _command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def processes_of_ray() -> set[int]:
    """Ray's processes on this machine, but for two agents that take up to two minutes to notice
    that their node is gone.
    """
    names = (b"raylet/raylet", b"gcs/gcs_server", b"ray::")
    commands = {int(p.name): _command(int(p.name)) for p in Path("/proc").glob("[0-9]*")}
    ours = {pid: c for pid, c in commands.items() if any(name in c for name in names)}
    return {pid for pid, command in ours.items() if b"Agent" not in command}
