"""The pool on Ray, in the driver: hands jobs to the slots that Tune has placed, and follows them.

Jobs, their outcomes and the losses of workers are kept here, so that the driver's memory does not
grow with the number of jobs, and nothing is needed of Tune to continue a run.
"""

from __future__ import annotations

import itertools
import logging
import queue
import signal
import time
from collections import Counter, deque
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from autoseg.core.errors import AutosegError, CandidateError, DeviceError, OutOfMemory
from autoseg.core.records import Job, SlotKind, Trained
from autoseg.core.text import one_line
from autoseg.pools.faults import Faults
from autoseg.pools.protocol import MAX_SILENCE_S, Outcome
from autoseg.pools.ray.connect import Connection
from autoseg.pools.ray.layout import Wanted, layout_of
from autoseg.pools.ray.mailbox import Beat, Ended, Hello, Message, Order
from autoseg.pools.ray.processes import end, kernel_here, send, workers_of
from autoseg.pools.ray.tune import Placement
from autoseg.pools.run_job import RunJob, run_job
from autoseg.pools.slots import slots_text
from autoseg.train.task import Task

log = logging.getLogger(__name__)

LISTEN_S = 0.5  # between two looks at the trials that were lost
END_WITHIN_S = 10.0
MAX_WITHOUT_SLOT_S = 600.0
MAX_FALSE_STARTS = 5  # slots that end before they have said anything


@dataclass
class _Slot:
    """A slot that lives; so many others `shared` its GPU when it got its order."""

    hello: Hello
    heard_at: float
    order: Order | None = None
    dropped: bool = False
    silent_s: float = 0.0
    shared: int = 0


class RayPool:
    """Slots on this machine (`address` None), or on a cluster whose nodes may come and go.

    A job whose worker or node is lost, or that takes no step for `max_silence_s` seconds, goes on
    from its last checkpoint in another slot.
    """

    def __init__(
        self,
        task: Task,
        *,
        address: str | None = None,
        wanted: Wanted,
        run: RunJob = run_job,
        max_silence_s: float = MAX_SILENCE_S,
    ) -> None:
        self._task, self._run = task, run
        self._max_silence_s = max_silence_s
        self._faults = Faults(task)
        self._slots: dict[str, _Slot] = {}
        self._limits: dict[str, int] = {}  # of jobs side by side, for GPUs that were too small
        self._ended_by_us: set[str] = set()
        self._backlog: deque[Job] = deque()
        self._ended: list[Outcome] = []  # kept for the next wait where another job's raises
        self._numbers = itertools.count(1)
        self._placement: Placement | None = None
        self._said, self._noted = "", set[str]()
        self._begun, self._resumed_at = False, 0.0
        self._false_starts: list[str] = []
        self._without_slot_since: float | None = None
        self._connection = Connection(address, task, wanted)
        self._mailbox = self._connection.mailbox
        try:
            self._layout = layout_of(wanted)
            self._raylet: int = self._ask(self._mailbox.raylet.remote())
        except BaseException:
            self._connection.close()
            raise

    def start(self) -> None:
        if self._placement is None:
            self._without_slot_since = time.monotonic()
            self._placement = Placement(self._mailbox, self._task, self._run, self._layout)

    @property
    def capacity(self) -> int:
        return len(self._active()) if self._begun else self._layout.room()

    @property
    def kind(self) -> SlotKind:
        kinds = Counter(slot.hello.place.kind for slot in self._slots.values())
        usual: SlotKind = "cuda" if self._layout.share else "cpu"
        return kinds.most_common(1)[0][0] if kinds else usual

    def changes(self) -> Iterable[str]:
        said = self._description()
        found = [*self._faults.changes, *([said] if said != self._said else [])]
        self._faults.changes.clear()
        self._said = said
        return found

    @property
    def running(self) -> Collection[Job]:
        return [*(order.job for _, order in self._busy()), *self._backlog]

    def submit(self, job: Job) -> None:
        self.start()
        self._backlog.append(job)
        self._hand_out()

    def wait(self, timeout_s: float) -> list[Outcome]:
        """The jobs that have ended, waiting at most `timeout_s` for the first of them.

        A job whose slot is lost goes on from its last checkpoint on another one; after MAX_LOSSES
        it is the candidate's fault. Raises DeviceError where no slot can be started, or Ray is
        lost, and AutosegError for what else is not the candidate's fault.
        """
        if self._placement is None:
            return []
        until = time.monotonic() + timeout_s
        while True:
            left_s = max(0.0, until - time.monotonic())
            messages = self._ask(self._mailbox.collect.remote(min(left_s, LISTEN_S)))
            self._follow_lost()
            self._read(messages)
            self._hand_out()
            self._end_silent()
            if self._ended or left_s == 0.0:
                outcomes, self._ended = self._ended, []
                return outcomes
            self._require_slots()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """The kernel stops what Ray runs on this machine, slots that just start included; those on
        other machines go on.
        """
        hellos = [slot.hello for slot in self._slots.values()]
        kernel = kernel_here()
        here = {self._raylet, *(hello.raylet for hello in hellos if hello.kernel == kernel)}
        workers = workers_of(here)
        send(workers, signal.SIGSTOP)
        try:
            yield
        finally:
            send(workers, signal.SIGCONT)
            self._resumed_at = time.monotonic()

    def cancel(self) -> None:
        """Slots end their jobs at the next step, and are free then."""
        self._backlog.clear()
        for name, slot in self._slots.items():
            if slot.order is not None and not slot.dropped:
                slot.dropped = True
                self._mailbox.drop.remote(name, slot.order.number)

    def close(self) -> None:
        placement, self._placement = self._placement, None
        self._backlog.clear()
        if placement is not None:
            self.cancel()
            placement.over = True  # first: no other slot may start in place of those that end
            for name in self._slots:
                self._mailbox.send.remote(name, None)
            placement.join(END_WITHIN_S)
            self._slots.clear()
        self._connection.close()

    def _busy(self) -> Iterator[tuple[_Slot, Order]]:
        for slot in self._slots.values():
            if slot.order is not None and not slot.dropped:
                yield slot, slot.order

    def _active(self) -> list[str]:
        """The slots that take jobs: on a GPU that was too small, the first few."""
        taken: Counter[str] = Counter()
        found = []
        for name, slot in self._slots.items():
            gpu = slot.hello.place.gpu or ""
            taken[gpu] += 1
            if taken[gpu] <= self._limits.get(gpu, taken[gpu]):
                found.append(name)
        return found

    def _others(self, name: str) -> int:
        """How many other slots take jobs on its GPU."""
        gpu = self._slots[name].hello.place.gpu
        others = (self._slots[n].hello.place.gpu for n in self._active() if n != name)
        return sum(other == gpu for other in others) if gpu else 0

    def _description(self) -> str:
        hellos = [self._slots[name].hello for name in self._active()]
        if not self._begun:
            room = self._layout.room()
            return f"{room} slot{'s' * (room != 1)} on Ray, to be started"
        if not hellos:
            return "no slot is left on Ray: trainings wait for room"
        nodes = {hello.node for hello in hellos}
        if len(nodes) > 1:
            return f"{len(hellos)} slots on {len(nodes)} nodes of Ray"
        return f"{slots_text([hello.place for hello in hellos])}, by Ray"

    def _hand_out(self) -> None:
        for name in self._active() if self._backlog else ():
            slot = self._slots[name]
            if self._backlog and slot.order is None:
                job = self._backlog.popleft()
                parts = self._faults.micro_batches(job)
                slot.order = Order(next(self._numbers), job, parts)
                slot.dropped, slot.silent_s, slot.heard_at = False, 0.0, time.monotonic()
                slot.shared = self._others(name)
                self._mailbox.send.remote(name, slot.order)

    def _read(self, messages: list[Message]) -> None:
        """Raises what is no candidate's fault, when all messages were read."""
        fault: AutosegError | None = None
        for message in messages:
            slot = self._slots.get(message.slot)
            if isinstance(message, Hello):
                self._welcome(message)
            elif slot is None:  # of one that was lost meanwhile
                continue
            elif isinstance(message, Beat):
                slot.heard_at, slot.silent_s = time.monotonic(), message.silent_s
                for note in message.notes:
                    log.warning("%s", one_line(note))
            elif slot.order is not None and slot.order.number == message.order:
                order, slot.order = slot.order, None
                outcome = self._outcome(message, order.job)
                if slot.dropped or outcome is None:
                    continue
                if isinstance(outcome, Trained | CandidateError):
                    self._ended.append((order.job, outcome))
                else:
                    fault = outcome
        if fault is not None:
            raise fault

    def _outcome(self, ended: Ended, job: Job) -> Trained | AutosegError | None:
        """None where the job is run again. A process is ended after a fault on a GPU: CUDA may
        refuse all that follows, and its memory is free only then.
        """
        slot = self._slots[ended.slot]
        outcome: Trained | AutosegError | None = ended.outcome
        if isinstance(outcome, OutOfMemory) and not slot.dropped:
            place, others = slot.hello.place, self._others(ended.slot)
            relief = self._faults.out_of_memory(job, place, shared=slot.shared, others=others)
            if relief == "retire" and place.gpu:
                self._limits[place.gpu] = others
            if relief != "fail":
                outcome = None
                self._backlog.appendleft(job)
        if slot.hello.place.gpu and not isinstance(outcome, Trained) and not slot.dropped:
            self._remove(ended.slot)
            self._ended_by_us.add(slot.hello.trial)
            end(slot.hello)
        return outcome

    def _remove(self, name: str) -> _Slot:
        slot = self._slots.pop(name)
        self._mailbox.forget.remote(name)
        if not self._slots:
            self._without_slot_since = time.monotonic()
        return slot

    def _welcome(self, hello: Hello) -> None:
        self._slots[hello.slot] = _Slot(hello, time.monotonic())
        self._begun, self._without_slot_since = True, None
        self._false_starts.clear()
        if hello.note and hello.note not in self._noted:
            self._noted.add(hello.note)
            self._faults.changes.append(hello.note)

    def _follow_lost(self) -> None:
        """Give the jobs of lost slots to others."""
        while self._placement is not None:
            try:
                trial, cause = self._placement.lost.get_nowait()
            except queue.Empty:
                return
            name = next((n for n, s in self._slots.items() if s.hello.trial == trial), None)
            if name is not None:
                self._lose(name, one_line(cause))
            elif trial in self._ended_by_us:
                self._ended_by_us.discard(trial)
            else:
                self._false_starts.append(one_line(cause))

    def _lose(self, name: str, cause: str) -> None:
        slot = self._remove(name)
        if slot.order is None or slot.dropped:
            return
        job, node = slot.order.job, slot.hello.node
        error = self._faults.lost(job, f"({cause})", counts=_lives(node))
        if error is None:
            self._backlog.appendleft(job)
        else:
            self._ended.append((job, error))

    def _end_silent(self) -> None:
        now = time.monotonic()
        for slot in self._slots.values():
            silent_s = slot.silent_s + now - slot.heard_at
            if slot.order and min(silent_s, now - self._resumed_at) > self._max_silence_s:
                slot.heard_at, slot.silent_s = now, 0.0
                end(slot.hello)

    def _require_slots(self) -> None:
        if self._placement is not None and self._placement.error is not None:
            raise DeviceError(f"Ray Tune has ended: {one_line(str(self._placement.error))}")
        if len(self._false_starts) >= MAX_FALSE_STARTS:
            raise DeviceError(f"Ray cannot start a slot: {self._false_starts[-1]}")
        since = self._without_slot_since
        if since is not None and time.monotonic() - since > MAX_WITHOUT_SLOT_S:
            raise DeviceError(
                f"no slot has started on Ray for {MAX_WITHOUT_SLOT_S / 60:.0f} minutes: free or "
                "add a node (`ray status` shows what is taken)"
            )

    def _ask(self, reference: Any) -> Any:
        import ray

        try:
            return ray.get(reference)
        except ray.exceptions.RayError as error:
            raise DeviceError(f"the connection to Ray is lost ({one_line(str(error))})") from error


def _lives(node: str) -> bool:
    """Whether a lost worker is likely to be its job's fault: it is not where its node is gone."""
    import ray

    return any(found["NodeID"] == node and found["Alive"] for found in ray.nodes())
