"""One slot on a node: takes jobs from the driver until it is told to end."""

from __future__ import annotations

import logging
import os
import threading
import time
import uuid
from contextlib import suppress
from typing import Any

from autoseg.core.errors import AutosegError, CandidateError
from autoseg.core.records import Trained
from autoseg.pools.ray.files import task_here
from autoseg.pools.ray.mailbox import Beat, Ended, Hello, Order, raylet_here
from autoseg.pools.ray.processes import kernel_here
from autoseg.pools.run_job import RunJob
from autoseg.pools.slots import Slot
from autoseg.train.task import Task

BEAT_EVERY_S = 1.0


class Dropped(BaseException):
    """The driver wants this job no more. No Exception, so that nothing takes it for a fault."""


def work(
    config: dict[str, Any], *, mailbox: Any, files: Any, task: Task, marked: str, folder: str,
    run: RunJob, share: float,
) -> None:  # fmt: skip
    """The function of a Tune trial. A fault that is no job's is raised, and Tune starts the slot
    again.
    """
    import ray
    import torch._dynamo  # noqa: F401  (the first optimizer would import it, for two seconds)

    with suppress(OSError):  # where the driver's disk is seen, the task's paths may start there
        os.chdir(folder)
    hello = _introduction(share)
    task = task_here(task, marked, files)
    pulse = _Pulse(mailbox, hello.slot)
    logging.getLogger("autoseg").addHandler(pulse)
    ray.get(mailbox.post.remote(hello))
    threading.Thread(target=pulse.beat, daemon=True).start()
    while (order := ray.get(mailbox.receive.remote(hello.slot))) is not None:
        outcome = _outcome(run, task, order, hello.place, pulse)
        ray.get(mailbox.post.remote(Ended(hello.slot, order.number, outcome)))


def _introduction(share: float) -> Hello:
    import ray
    import torch
    from ray import tune

    context, numbers = ray.get_runtime_context(), ray.get_gpu_ids()
    node, note, device = context.get_node_id(), None, "cpu"
    if numbers and torch.cuda.is_available():
        device = "cuda:0"  # Ray shows each process its own GPU only
    elif numbers:
        note = (
            f"Ray offers a GPU on node {node[:8]}, but torch cannot use it there: it trains on a "
            "core"
        )
    gpu = f"GPU {numbers[0]} of node {node[:8]}" if numbers else None
    return Hello(
        slot=uuid.uuid4().hex,
        place=Slot(device, memory_share=share if numbers else 1.0, gpu=gpu),
        trial=tune.get_context().get_trial_id() or "",
        node=node,
        pid=os.getpid(),
        raylet=raylet_here(),
        kernel=kernel_here(),
        note=note,
    )


def _outcome(
    run: RunJob, task: Task, order: Order, slot: Slot, pulse: _Pulse
) -> Trained | AutosegError:
    pulse.order = order.number
    pulse.alive()
    try:
        return run(task, order.job, slot, micro_batches=order.micro_batches, alive=pulse.alive)
    except Dropped:
        return CandidateError("the pool was cancelled")
    except AutosegError as error:
        return error
    finally:
        pulse.order = None


class _Pulse(logging.Handler):
    """Tells the driver every second that this process lives, and when the last step was."""

    def __init__(self, mailbox: Any, slot: str) -> None:
        super().__init__(logging.WARNING)
        self._mailbox, self._slot = mailbox, slot
        self._stepped_at = time.monotonic()
        self._notes: list[str] = []
        self._dropped: int | None = None
        self.order: int | None = None

    def alive(self) -> None:
        """After each step. Raises Dropped where the driver wants the job no more."""
        self._stepped_at = time.monotonic()
        if self.order is not None and self.order == self._dropped:
            raise Dropped

    def emit(self, record: logging.LogRecord) -> None:
        self._notes.append(record.getMessage())

    def beat(self) -> None:
        import ray

        while True:
            silent_s = time.monotonic() - self._stepped_at if self.order is not None else 0.0
            notes = tuple(self._notes)
            del self._notes[: len(notes)]  # another thread may have added some meanwhile
            beat = Beat(self._slot, silent_s, notes)
            self._dropped = ray.get(self._mailbox.post.remote(beat))
            time.sleep(BEAT_EVERY_S)
