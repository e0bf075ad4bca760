"""Processes of slots: which of them run on this machine, and how they are stopped and ended."""

from __future__ import annotations

import os
import signal
from collections.abc import Collection, Iterable
from contextlib import suppress
from pathlib import Path

from autoseg.pools.ray.mailbox import Hello


def kernel_here() -> str:
    """Names the running kernel and the process namespace: process ids mean the same where both
    are the same.
    """
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return f"{boot} {os.readlink('/proc/self/ns/pid')}"


def workers_of(raylets: Collection[int]) -> list[int]:
    """The processes that work for jobs of Ray, or are going to: all but Ray's own."""
    ours = {f"RAY_RAYLET_PID={pid}".encode() for pid in raylets}
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):  # another user's, or gone
            variables = set(path.read_bytes().split(b"\0"))
            if ours & variables and any(v.startswith(b"RAY_JOB_ID=") for v in variables):
                found.append(int(path.parent.name))
    return found


def send(pids: Iterable[int], number: int) -> None:
    """A signal to those of the processes that are still there."""
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)


def end(hello: Hello) -> None:
    """End a slot's process, wherever it is; Tune starts another."""
    if hello.kernel == kernel_here():
        send([hello.pid], signal.SIGKILL)
        return
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    there = NodeAffinitySchedulingStrategy(hello.node, soft=False)
    ray.remote(send).options(num_cpus=0, scheduling_strategy=there).remote(
        [hello.pid], signal.SIGKILL
    )
