"""How many slots Ray is asked for, and what each of them takes."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from autoseg.core.text import one_line
from autoseg.pools.slots import share_of_gpu

log = logging.getLogger(__name__)

PROBE_TIMEOUT_S = 30.0


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """The user's numbers, None where the pool chooses; `training_bytes` gives the GPU memory that
    the largest training is expected to take.
    """

    workers: int | None = None
    gpus: int | None = None
    gpus_per_trial: float | None = None
    training_bytes: Callable[[], int] = lambda: 0


@dataclass(frozen=True)
class Layout:
    """Each slot takes a CPU and a `share` of a GPU, 0 for none; at most `slots`, None: as many as
    there is room for, now and later.
    """

    share: float
    slots: int | None

    @property
    def resources(self) -> dict[str, float]:
        return {"cpu": 1.0, "gpu": self.share} if self.share else {"cpu": 1.0}

    def room(self) -> int:
        """How many slots the cluster has room for at this moment, if no other program uses it."""
        there = _resources()
        room = int(there.get("GPU", 0) / self.share + 1e-9) if self.share else there.get("CPU", 0)
        return int(min(room, there.get("CPU", 0), self.slots or room))


def layout_of(wanted: Wanted) -> Layout:
    """The slots of the cluster that this program is connected to.

    They are on its GPUs where there are some, or where the user asks for them: nodes with GPUs may
    come later.
    """
    there = _resources()
    asked = bool(wanted.gpus) or wanted.gpus_per_trial is not None
    if wanted.gpus == 0 or not (asked or there.get("GPU", 0)):
        return Layout(0.0, wanted.workers)
    share = wanted.gpus_per_trial or _chosen_share(wanted, there)
    most = None if wanted.gpus is None else int(wanted.gpus / share + 1e-9)
    limits = [limit for limit in (wanted.workers, most) if limit is not None]
    return Layout(share, min(limits, default=None))


def _chosen_share(wanted: Wanted, there: dict[str, float]) -> float:
    """By the memory of a GPU of the cluster; a whole one where none says how much it has."""
    gpu_bytes = _gpu_bytes()
    if not gpu_bytes:
        return 1.0
    cores = int(there.get("CPU", 1) / there.get("GPU", 1))
    return share_of_gpu(wanted.training_bytes(), gpu_bytes, max(1, cores))


def _gpu_bytes() -> int:
    """The memory of a GPU of the cluster; 0 where none is free soon, or torch cannot use it."""
    import ray

    ask = ray.remote(num_cpus=0, num_gpus=1, max_calls=1)(_memory_here)
    asked: Any = ask.remote()
    try:
        return int(ray.get(asked, timeout=PROBE_TIMEOUT_S))
    except ray.exceptions.GetTimeoutError:
        ray.cancel(asked, force=True)
    except ray.exceptions.RayError as error:  # of that node: a slot there says what is wrong
        log.warning("the memory of a GPU could not be asked (%s)", one_line(str(error)))
    return 0


def _memory_here() -> int:
    import torch

    return torch.cuda.get_device_properties(0).total_memory if torch.cuda.is_available() else 0


def _resources() -> dict[str, float]:
    import ray

    found: dict[str, float] = ray.cluster_resources()
    return found
