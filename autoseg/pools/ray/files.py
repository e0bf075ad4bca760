"""Checkpoints and decoded pictures for nodes that do not see the driver's disk.

An actor on the driver's node reads and writes them there. Pictures lie in the object store, once a
node, and are mapped by its slots; checkpoints are small and travel each time.
"""

from __future__ import annotations

import dataclasses
import logging
import os
import secrets
import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any, Self

from autoseg.core.errors import DeviceError
from autoseg.core.text import bounded
from autoseg.data.cache import ShardKey, shard_arrays
from autoseg.data.shards import ShardArrays
from autoseg.train.task import Task

log = logging.getLogger(__name__)

KEPT_SHARE = 0.25  # of the driver's object store, for shards that no slot uses at this moment
CALLS_AT_ONCE = 8


class Files:
    """The actor: the task's storage and pictures, as this node has them.

    Paths of the task may be relative to the driver's working directory, `folder`.
    """

    def __init__(self, task: Task, kept_bytes: float, folder: str) -> None:
        os.chdir(folder)
        self._task, self._kept_bytes = task, kept_bytes
        self._shards: OrderedDict[ShardKey, tuple[Any, int]] = OrderedDict()
        self._lock = threading.Lock()

    def read(self, name: str) -> bytes | None:
        return self._task.checkpoints.read(name)

    def write(self, name: str, content: bytes) -> None:
        self._task.checkpoints.write(name, content)

    def remove(self, name: str) -> None:
        self._task.checkpoints.remove(name)

    def names(self, prefix: str) -> list[str]:
        return self._task.checkpoints.names(prefix)

    def shard(self, key: ShardKey) -> list[Any]:
        """A reference to a shard in the object store; in a list, so that it is not resolved."""
        import ray

        kept = self._shards.get(key)
        if kept is None:
            shapes, data = shard_arrays(self._task.dataset, self._task.cache_dir, key)
            kept = ray.put((shapes, data)), data.nbytes
        with self._lock:
            self._shards[key] = kept
            self._shards.move_to_end(key)
            while sum(size for _, size in self._shards.values()) > self._kept_bytes:
                if len(self._shards) == 1:
                    break
                self._shards.popitem(last=False)
        return [kept[0]]


@dataclass(frozen=True)
class RemoteStorage:
    """The driver's storage, by way of its actor."""

    files: Any

    def __str__(self) -> str:
        return "the driver's storage"

    def prepare(self) -> Self:
        return self

    def read(self, name: str) -> bytes | None:
        content: bytes | None = _answer(self.files.read.remote(name))
        return content

    def write(self, name: str, content: bytes) -> None:
        _answer(self.files.write.remote(name, content))

    def remove(self, name: str) -> None:
        _answer(self.files.remove.remote(name))

    def names(self, prefix: str) -> list[str]:
        found: list[str] = _answer(self.files.names.remote(prefix))
        return found


@dataclass(frozen=True)
class RemoteShards:
    """Shards of pictures from the object store; their arrays are mapped, not copied."""

    files: Any

    def __call__(self, key: ShardKey) -> ShardArrays:
        (reference,) = _answer(self.files.shard.remote(key))
        shard: ShardArrays = _answer(reference)
        return shard


def files_actor(task: Task) -> Any:
    """The actor on this node, the driver's."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    here = ray.get_runtime_context().get_node_id()
    (node,) = (found for found in ray.nodes() if found["NodeID"] == here)
    kept_bytes = KEPT_SHARE * node["Resources"].get("object_store_memory", 0.0)
    actor: Any = ray.remote(Files)
    return actor.options(
        num_cpus=0,
        max_concurrency=CALLS_AT_ONCE,
        scheduling_strategy=NodeAffinitySchedulingStrategy(here, soft=False),
    ).remote(task, kept_bytes, os.getcwd())


def mark(task: Task) -> str:
    """A file of a random name in the storage and in the cache: who finds it sees the same disk."""
    name = f".pool-{secrets.token_hex(8)}"
    task.checkpoints.write(name, b"")
    task.cache_dir.mkdir(parents=True, exist_ok=True)
    (task.cache_dir / name).touch()
    return name


def unmark(task: Task, name: str) -> None:
    try:
        task.checkpoints.remove(name)
        (task.cache_dir / name).unlink(missing_ok=True)
    except OSError as error:
        log.warning("the mark %s of the pool is left behind (%s)", name, error)


def task_here(task: Task, marked: str, files: Any) -> Task:
    """The task as a slot can run it: by the driver's actor where its disk is not seen here."""
    if not _sees_checkpoints(task, marked):
        task = dataclasses.replace(task, checkpoints=RemoteStorage(files))
    if not _sees_pictures(task, marked):
        task = dataclasses.replace(task, fetch=RemoteShards(files))
    return task


def _sees_checkpoints(task: Task, marked: str) -> bool:
    try:
        return task.checkpoints.read(marked) is not None
    except Exception:  # whatever a driver raises that is not set up here
        return False


def _sees_pictures(task: Task, marked: str) -> bool:
    """The cache, and the pictures that it is made from."""
    if not (task.cache_dir / marked).exists():
        return False
    try:
        task.dataset.read(task.dataset.splits["train"][0])
    except Exception:  # of any format
        return False
    return True


def _answer(reference: Any) -> Any:
    """Raises what the actor has raised, and DeviceError where it does not answer."""
    import ray

    try:
        return ray.get(reference)
    except ray.exceptions.RayError as error:
        cause = getattr(error, "cause", error)
        if not isinstance(cause, ray.exceptions.RayError):
            raise cause from None
        text = "the driver's node does not give its checkpoints and pictures"
        raise DeviceError(f"{text} ({bounded(error)}): --resume goes on") from error
