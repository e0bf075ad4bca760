"""One worker of the local pool: a process that runs one job at a time in its slot.

Started as ``python -m autoseg.pools.worker FD PARENT`` rather than through multiprocessing's
spawn, so that a user's script needs no ``if __name__ == "__main__"`` guard. Tasks, outcomes and
signs of life travel over a private socket pair.
"""

from __future__ import annotations

import ctypes
import os
import pickle
import select
import signal
import sys
import time
from multiprocessing.connection import Connection

from autoseg.core.errors import AutosegError

PR_SET_PDEATHSIG = 1
ALIVE = "alive"  # sent when it is ready for a job, and while it trains
ALIVE_EVERY_S = 1.0  # at most


def _die_with_parent(parent: int) -> None:
    """No orphan trains on: Linux kills this process with its parent."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before the kernel could be asked
        os._exit(1)


class _Signs:
    """Sends a sign of life now and then, never so many that sending one would wait."""

    def __init__(self, connection: Connection) -> None:
        self._connection, self._sent_at = connection, time.monotonic()

    def alive(self) -> None:
        if time.monotonic() - self._sent_at < ALIVE_EVERY_S:
            return
        self._sent_at = time.monotonic()
        # While nobody reads, those that were sent wait to be read, and are enough.
        if select.select([], [self._connection], [], 0)[1]:
            self._connection.send(ALIVE)


def main(fd: int, parent: int) -> None:
    """Receive the task and the slot, then jobs, until the other end hangs up."""
    for number in (signal.SIGINT, signal.SIGTERM):  # only the parent acts on them
        signal.signal(number, signal.SIG_IGN)
    _die_with_parent(parent)
    connection = Connection(fd)
    sent = connection.recv_bytes()  # before the imports: the pool waits until it is read
    import torch._dynamo  # noqa: F401  (the first optimizer would import it, for two seconds)

    task, slot, run = pickle.loads(sent)
    signs = _Signs(connection)
    connection.send(ALIVE)
    while True:
        try:
            job, micro_batches = connection.recv()
        except EOFError:
            return
        try:
            outcome = run(task, job, slot, micro_batches=micro_batches, alive=signs.alive)
            connection.send(outcome)
        except AutosegError as error:
            connection.send(error)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
