"""What the driver and its slots say to each other, and the actor that carries it.

The actor lies on the driver's node and holds no state of the search: a job that is in nobody's
hands is in the driver's backlog.
"""

from __future__ import annotations

import asyncio
import os
from collections import defaultdict
from dataclasses import dataclass

from autoseg.core.errors import AutosegError
from autoseg.core.records import Job, Trained
from autoseg.pools.slots import Slot

MAX_MESSAGES_AT_ONCE = 100_000  # every idle slot waits in one call
COLLECT_FOR_S = 0.002  # after the first message, so that a burst of them costs one call


@dataclass(frozen=True, kw_only=True)
class Hello:
    """A slot has started: what it trains on, its Tune trial, its node, its process, and the one of
    Ray that starts processes there.

    `kernel` names the kernel and the process namespace: only where they are the driver's own do
    `pid` and `raylet` mean anything to it. `note` is for the ledger.
    """

    slot: str
    place: Slot
    trial: str
    node: str
    pid: int
    raylet: int
    kernel: str
    note: str | None = None


@dataclass(frozen=True)
class Beat:
    """A sign of life, with the seconds since the job's last step and what it has logged."""

    slot: str
    silent_s: float
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Ended:
    """The end of an order; an AutosegError that is no CandidateError stops the run."""

    slot: str
    order: int
    outcome: Trained | AutosegError


@dataclass(frozen=True)
class Order:
    """A job for one slot, once: the same job handed out again has another number."""

    number: int
    job: Job
    micro_batches: int


Message = Hello | Beat | Ended


def raylet_here() -> int:
    """The process of Ray that has started this one."""
    return int(os.environ["RAY_RAYLET_PID"])


class Mailbox:
    """The actor. Its calls never block each other."""

    def __init__(self) -> None:
        self._to_driver: asyncio.Queue[Message] = asyncio.Queue()
        self._to_slot: dict[str, asyncio.Queue[Order | None]] = defaultdict(asyncio.Queue)
        self._dropped: dict[str, int] = {}

    async def raylet(self) -> int:
        """The process of Ray that starts all others on the driver's node."""
        return raylet_here()

    async def post(self, message: Message) -> int | None:
        """From a slot to the driver. Returns the number of the slot's order that was dropped."""
        self._to_driver.put_nowait(message)
        return self._dropped.get(message.slot)

    async def collect(self, timeout_s: float) -> list[Message]:
        """The messages to the driver, waiting at most `timeout_s` for the first of them."""
        try:
            found = [await asyncio.wait_for(self._to_driver.get(), max(timeout_s, 1e-3))]
        except TimeoutError:
            return []
        await asyncio.sleep(COLLECT_FOR_S if timeout_s else 0)
        while not self._to_driver.empty():
            found.append(self._to_driver.get_nowait())
        return found

    async def send(self, slot: str, order: Order | None) -> None:
        """From the driver to a slot; None tells it to end."""
        self._to_slot[slot].put_nowait(order)

    async def receive(self, slot: str) -> Order | None:
        """The next order of a slot, however long it takes."""
        return await self._to_slot[slot].get()

    async def drop(self, slot: str, order: int) -> None:
        """Let a slot end what it was ordered at its next step."""
        self._dropped[slot] = order

    async def forget(self, slot: str) -> None:
        """Of a slot that is gone."""
        self._to_slot.pop(slot, None)
        self._dropped.pop(slot, None)
