"""Worker processes on this machine, one a slot; all are stopped while the machine is timed.

On a GPU, too, a training needs its host thread, which launches each kernel: a stopped one leaves
the CPU and, as soon as what was launched has run, the GPU.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait

from autoseg.core.errors import CandidateError, DeviceError, OutOfMemory
from autoseg.core.records import Job, SlotKind, Trained
from autoseg.pools.faults import Faults
from autoseg.pools.protocol import MAX_SILENCE_S, Outcome
from autoseg.pools.run_job import RunJob, run_job
from autoseg.pools.slots import Slot, slots_text
from autoseg.pools.worker import ALIVE
from autoseg.train.task import Task

LOOK_EVERY_S = 1.0  # for workers that have fallen silent


def environment(slot: Slot) -> dict[str, str]:
    """Environment variables of a process that trains in this slot."""
    return {
        "OMP_NUM_THREADS": str(slot.threads),
        "MKL_NUM_THREADS": str(slot.threads),
        # glibc gives the memory of each step's activations back to the kernel and faults it in
        # again, a sixth of a small network's step: the largest threshold that it takes, and no
        # trimming.
        "MALLOC_MMAP_THRESHOLD_": str(32 * 2**20),
        "MALLOC_TRIM_THRESHOLD_": str(2**40),
    }


@dataclass
class _Worker:
    """A worker process; `shared` other slots were on its GPU when it got its job.

    It is `ready` once its imports are done; only then may it be silent for a shorter time.
    """

    process: subprocess.Popen[bytes]
    connection: Connection
    slot: Slot
    job: Job | None = None
    shared: int = 0
    ready: bool = False
    heard_at: float = field(default_factory=time.monotonic)


class LocalPool:
    """Runs one job in each of its slots, side by side.

    A job whose worker is lost, or silent for over `max_silence_s` seconds, goes on in another.
    """

    def __init__(
        self,
        task: Task,
        slots: Sequence[Slot],
        *,
        run: RunJob = run_job,
        max_silence_s: float = MAX_SILENCE_S,
    ) -> None:
        self._task, self._run = task, run
        self._free = deque(slots)
        self._kind: SlotKind = slots[0].kind if slots else "cpu"
        self._max_silence_s = max_silence_s
        self._faults = Faults(task, [slots_text(slots)] if slots else [])
        self._workers: list[_Worker] = []
        self._backlog: deque[Job] = deque()
        self._ended: list[Outcome] = []  # kept for the next wait where another job's raises

    def start(self) -> None:
        """Start the workers ahead of the first job: their imports take seconds."""
        while self._free:
            self._start()

    @property
    def capacity(self) -> int:
        return len(self._free) + len(self._workers)

    @property
    def kind(self) -> SlotKind:
        return self._kind

    def changes(self) -> Iterable[str]:
        found = [*self._faults.changes]
        self._faults.changes.clear()
        return found

    @property
    def running(self) -> Collection[Job]:
        return [*(w.job for w in self._workers if w.job is not None), *self._backlog]

    def submit(self, job: Job) -> None:
        self._backlog.append(job)
        self._hand_out()

    def wait(self, timeout_s: float) -> list[Outcome]:
        """The jobs that have ended, waiting at most `timeout_s` for the first of them.

        Raises AutosegError for what is not the candidate's fault.
        """
        until = time.monotonic() + timeout_s
        while True:
            left_s = max(0.0, until - time.monotonic())
            outcomes = self._look(min(left_s, LOOK_EVERY_S))
            self._hand_out()
            if outcomes or time.monotonic() >= until:
                return outcomes

    @contextmanager
    def paused(self) -> Iterator[None]:
        """No job uses a core meanwhile: the kernel stops the workers."""
        began_at = time.monotonic()
        self._signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._signal(signal.SIGCONT)
            for worker in self._workers:
                worker.heard_at += time.monotonic() - began_at

    def cancel(self) -> None:
        self._backlog.clear()
        for worker in [w for w in self._workers if w.job is not None]:
            self._end(worker)

    def close(self) -> None:
        self._backlog.clear()
        for worker in list(self._workers):
            self._end(worker)

    def _hand_out(self) -> None:
        while self._backlog:
            idle = next((w for w in self._workers if w.job is None), None)
            if idle is None and not self._free:
                return
            worker, job = idle or self._start(), self._backlog[0]
            try:
                worker.connection.send((job, self._faults.micro_batches(job)))
            except ConnectionError:  # it died while it was idle: no job's fault
                self._end(worker)
                continue
            worker.job = self._backlog.popleft()
            worker.shared, worker.heard_at = self._others(worker), time.monotonic()

    def _start(self) -> _Worker:
        slot = self._free.popleft()
        ours, theirs = socket.socketpair()
        variables = {
            **os.environ,
            **environment(slot),
            "PYTHONPATH": os.pathsep.join(p or os.getcwd() for p in sys.path),
        }
        numbers = [str(theirs.fileno()), str(os.getpid())]
        process = subprocess.Popen(
            # -P: a random.py of the folder we are called in must not shadow Python's.
            [sys.executable, "-P", "-m", "autoseg.pools.worker", *numbers],
            pass_fds=[theirs.fileno()], env=variables, stdin=subprocess.DEVNULL,
            # A terminal's Ctrl-C goes to its whole session, and would kill one that still imports.
            start_new_session=True,
        )  # fmt: skip
        theirs.close()
        worker = _Worker(process, Connection(ours.detach()), slot)
        self._workers.append(worker)
        worker.connection.send((self._task, slot, self._run))
        return worker

    def _look(self, timeout_s: float) -> list[Outcome]:
        """What the workers say, and which of them are lost."""
        busy = [(w, w.job) for w in self._workers if w.job is not None]
        speaking = wait([w.connection for w, _ in busy], timeout_s)
        for worker, job in busy:
            if worker.connection in speaking:
                outcome = self._receive(worker, job)
            else:
                outcome = self._lost_if_silent(worker, job)
            self._ended += [(job, outcome)] if outcome else []
        found, self._ended = self._ended, []
        return found

    def _receive(self, worker: _Worker, job: Job) -> Trained | CandidateError | None:
        """The outcome of its job; None where that is not known yet, or the job is run again."""
        try:
            said = worker.connection.recv()
        except (EOFError, OSError):
            return self._lost(worker, job)
        if said == ALIVE:
            worker.ready, worker.heard_at = True, time.monotonic()
            return None
        worker.job = None
        if isinstance(said, Trained):
            return said
        if isinstance(said, OutOfMemory):
            return self._make_room(worker, job, said)
        if isinstance(said, CandidateError):
            if worker.slot.gpu is not None:  # after a fault, CUDA may refuse all that follows
                self._end(worker)
            return said
        raise said

    def _lost(self, worker: _Worker, job: Job) -> CandidateError | None:
        # Killed now, its own exit code would be lost.
        with suppress(subprocess.TimeoutExpired):
            worker.process.wait(5)
        self._end(worker)
        code = worker.process.returncode
        if code > 0:  # whatever a job raises is sent: it never got as far
            raise DeviceError(
                f"a training worker ended with exit code {code}; its own output stands above"
            ) from None
        return self._again(job, f"by signal {-code}" if code else "by its own code")

    def _lost_if_silent(self, worker: _Worker, job: Job) -> CandidateError | None:
        limit_s = self._max_silence_s if worker.ready else MAX_SILENCE_S
        if time.monotonic() - worker.heard_at <= limit_s:
            return None
        self._end(worker)
        return self._again(job, f"after {limit_s:g} s without a step")

    def _again(self, job: Job, how: str) -> CandidateError | None:
        error = self._faults.lost(job, how)
        if error is None:
            self._backlog.appendleft(job)
        return error

    def _make_room(self, worker: _Worker, job: Job, error: OutOfMemory) -> OutOfMemory | None:
        shared, others = worker.shared, self._others(worker)
        relief = self._faults.out_of_memory(job, worker.slot, shared=shared, others=others)
        if worker.slot.gpu is not None:  # the memory of its process is free only when it has ended
            self._end(worker)
        if relief == "fail":
            return error
        if relief == "retire":
            self._free.remove(worker.slot)
        self._backlog.appendleft(job)
        return None

    def _others(self, worker: _Worker) -> int:
        """How many other slots are on its GPU."""
        slots = [*self._free, *(w.slot for w in self._workers if w is not worker)]
        return sum(slot.gpu is not None and slot.gpu == worker.slot.gpu for slot in slots)

    def _end(self, worker: _Worker) -> None:
        worker.process.kill()
        worker.process.wait()
        worker.connection.close()
        self._workers.remove(worker)
        self._free.append(worker.slot)

    def _signal(self, number: int) -> None:
        for worker in self._workers:
            if worker.process.poll() is None:
                worker.process.send_signal(number)
