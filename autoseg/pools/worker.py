"""One worker of the local pool: a process that runs one job at a time with one thread.

Started as ``python -m autoseg.pools.worker FD PARENT`` rather than through multiprocessing's
spawn, so that a user's script needs no ``if __name__ == "__main__"`` guard. Tasks and outcomes
travel over a private socket pair.
"""

from __future__ import annotations

import ctypes
import logging
import os
import signal
import sys
import threading
import time
from multiprocessing.connection import Connection

from autoseg.core.errors import AutosegError, CandidateError, DeviceError

log = logging.getLogger(__name__)

PR_SET_PDEATHSIG = 1


def _die_with_parent(parent: int) -> None:
    """No orphan trains on: Linux kills this process with its parent, elsewhere a thread does."""
    try:
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    except (AttributeError, OSError):

        def watch() -> None:
            while os.getppid() == parent:
                time.sleep(1.0)
            os._exit(1)

        threading.Thread(target=watch, daemon=True).start()
    if os.getppid() != parent:  # it died before the kernel was told
        os._exit(1)


def main(fd: int, parent: int) -> None:
    """Receive the task, then jobs, until the other end hangs up."""
    for number in (signal.SIGINT, signal.SIGTERM):  # what they mean is the parent's to say
        signal.signal(number, signal.SIG_IGN)
    _die_with_parent(parent)
    connection = Connection(fd)
    import torch
    import torch._dynamo  # the first optimizer would import it, which takes a second

    from autoseg.train.loop import run_job

    torch.set_num_threads(1)
    task = connection.recv()
    while True:
        try:
            job = connection.recv()
        except EOFError:
            return
        try:
            connection.send(run_job(task, job))
        except AutosegError as error:
            connection.send(error)
        except (MemoryError, torch.OutOfMemoryError) as error:
            connection.send(CandidateError(f"out of memory: {error}"))
        except OSError as error:
            text = f"training cannot read or write a file ({error}): fix that, then --resume"
            connection.send(DeviceError(text))
        except Exception as error:  # a user's own network may raise anything
            log.debug("%s", job, exc_info=True)
            text = f"training failed: {type(error).__name__}: {error}"
            connection.send(CandidateError(text))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
