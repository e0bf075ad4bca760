"""One worker of the local pool: a process that runs one job at a time in its slot.

Started as ``python -m autoseg.pools.worker FD PARENT`` rather than through multiprocessing's
spawn, so that a user's script needs no ``if __name__ == "__main__"`` guard. Tasks and outcomes
travel over a private socket pair.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from multiprocessing.connection import Connection

from autoseg.core.errors import AutosegError

PR_SET_PDEATHSIG = 1


def _die_with_parent(parent: int) -> None:
    """No orphan trains on: Linux kills this process with its parent."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before the kernel could be asked
        os._exit(1)


def main(fd: int, parent: int) -> None:
    """Receive the task and the slot, then jobs, until the other end hangs up."""
    for number in (signal.SIGINT, signal.SIGTERM):  # only the parent acts on them
        signal.signal(number, signal.SIG_IGN)
    _die_with_parent(parent)
    connection = Connection(fd)
    import torch._dynamo  # noqa: F401  (the first optimizer would import it, for two seconds)

    from autoseg.pools.run_job import run_job

    task, slot = connection.recv()
    while True:
        try:
            job = connection.recv()
        except EOFError:
            return
        try:
            connection.send(run_job(task, job, slot))
        except AutosegError as error:
            connection.send(error)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
