"""Starts the runner in a process of its own, and gets back what it printed, or why it did not."""

import os
import selectors
import subprocess
import sys
import tempfile
import time
import typing
from collections.abc import Sequence
from typing import IO

from autoseg import runner

MOST_OUTPUT_BYTES = 4 << 20
# What Python and the dynamic linker need to find the same libraries; the rest stays out.
KEPT = ("PATH", "HOME", "LANG", "TMPDIR", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "PYTHONPATH")


class Broken(Exception):
    """The runner hung, crashed or babbled: says which, not whose fault it is."""


def run_runner(
    arguments: Sequence[str], *, threads: int, limit_s: float, kept_open: Sequence[int] = ()
) -> bytes:
    """The runner's lines; it is gone when this returns or raises. Raises Broken."""
    kept = {name: os.environ[name] for name in KEPT if name in os.environ}
    with tempfile.TemporaryFile() as complaints:
        process = subprocess.Popen(
            # -P: the runner's own folder must not shadow anybody's modules.
            [sys.executable, "-P", runner.__file__, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=complaints,
            env={**kept, "OMP_NUM_THREADS": str(threads)},
            pass_fds=kept_open,
            # Ctrl-C is for us: we decide whether the runner ends.
            start_new_session=True,
        )
        with process, typing.cast(IO[bytes], process.stdout) as pipe:
            try:
                output = _read(pipe.fileno(), time.monotonic() + limit_s)
                process.wait(timeout=10)
            except (TimeoutError, subprocess.TimeoutExpired) as error:
                raise Broken(f"gave no result within {limit_s:g} s") from error
            finally:
                process.kill()
        if process.returncode not in (0, 1) or not output:
            raise Broken(_ended(process.returncode, complaints))
    return output


def _read(fd: int, deadline: float) -> bytes:
    output = bytearray()
    with selectors.DefaultSelector() as selector:
        selector.register(fd, selectors.EVENT_READ)
        while selector.select(max(0.0, deadline - time.monotonic())):
            chunk = os.read(fd, 1 << 16)
            if not chunk:
                return bytes(output)
            output += chunk
            if len(output) > MOST_OUTPUT_BYTES:
                raise Broken(f"printed more than {MOST_OUTPUT_BYTES >> 20} MiB")
    raise TimeoutError


def _ended(code: int, complaints: IO[bytes]) -> str:
    complaints.seek(max(0, complaints.seek(0, os.SEEK_END) - 500))
    said = " ".join(complaints.read().decode(errors="replace").split())
    how = f"was ended by signal {-code}" if code < 0 else f"exited with code {code}"
    hint = " (often: out of memory)" if code == -9 else ""
    return f"{how}{hint}{': ' if said else ''}{said}"
