"""When this process started: what a user waits for begins before Python's first line."""

from __future__ import annotations

import os
import time
from pathlib import Path


def process_began_at() -> float:
    """The start of this process by the clock of `time.monotonic()`; now where it is not known."""
    now = time.monotonic()
    try:
        after_name = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
        since_boot_s = int(after_name[19]) / os.sysconf("SC_CLK_TCK")
        return now - max(0.0, time.clock_gettime(time.CLOCK_BOOTTIME) - since_boot_s)
    except (OSError, AttributeError, ValueError, IndexError):
        return now
