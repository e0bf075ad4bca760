"""Worker processes on this machine, one a slot; all are stopped while the machine is timed."""

from __future__ import annotations

import logging
import os
import signal
import socket
import subprocess
import sys
from collections import deque
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait

from autoseg.core.errors import AutosegError, CandidateError, DeviceError
from autoseg.core.records import Job, Trained
from autoseg.pools.protocol import Outcome
from autoseg.pools.slots import Slot, default_slots
from autoseg.train.task import Task

log = logging.getLogger(__name__)


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
    process: subprocess.Popen[bytes]
    connection: Connection
    slot: Slot
    job: Job | None = None


class LocalPool:
    """Runs up to `workers` jobs side by side, each in a slot of its own."""

    def __init__(self, task: Task, workers: int) -> None:
        self._task = task
        self._free = deque(default_slots(workers))
        self._workers: list[_Worker] = []
        self._backlog: deque[Job] = deque()

    def start(self) -> None:
        """Start the workers ahead of the first job: their imports take seconds."""
        while self._free:
            self._start()

    @property
    def capacity(self) -> int:
        return len(self._free) + len(self._workers)

    def changes(self) -> Iterable[str]:
        return ()

    @property
    def running(self) -> Collection[Job]:
        return [*(w.job for w in self._workers if w.job is not None), *self._backlog]

    def submit(self, job: Job) -> None:
        self._backlog.append(job)
        self._hand_out()

    def wait(self, timeout_s: float) -> list[Outcome]:
        """The jobs that have ended, waiting at most `timeout_s` for the first of them.

        A worker that died gives its job a CandidateError. Raises AutosegError for what is not the
        candidate's fault.
        """
        busy = [(w, w.job) for w in self._workers if w.job is not None]
        ended = wait([w.connection for w, _ in busy], timeout_s)
        outcomes = [(job, self._receive(w)) for w, job in busy if w.connection in ended]
        self._hand_out()
        return outcomes

    @contextmanager
    def paused(self) -> Iterator[None]:
        """No job uses a core meanwhile: the kernel stops the workers."""
        self._signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._signal(signal.SIGCONT)

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
            worker = idle or self._start()
            try:
                worker.connection.send(self._backlog[0])
            except ConnectionError:  # it died while it was idle: no job's fault
                self._end(worker)
                continue
            worker.job = self._backlog.popleft()

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
        worker.connection.send((self._task, slot))
        return worker

    def _receive(self, worker: _Worker) -> Trained | CandidateError:
        worker.job = None
        try:
            outcome: Trained | CandidateError | AutosegError = worker.connection.recv()
        except (EOFError, ConnectionError):
            # Killed now, its own exit code would be lost.
            with suppress(subprocess.TimeoutExpired):
                worker.process.wait(5)
            self._end(worker)
            code = worker.process.returncode
            if code > 0:  # whatever a job raises is sent: it never got as far
                raise DeviceError(
                    f"a training worker ended with exit code {code}; its own output stands above"
                ) from None
            return CandidateError(
                f"its worker process was ended by signal {-code}; out of memory ends so"
            )
        if isinstance(outcome, Trained | CandidateError):
            return outcome
        raise outcome

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
