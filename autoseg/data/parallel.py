"""Process many pictures in threads, batch by batch, with progress messages for long work."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from autoseg.core.cpus import usable_cpus

log = logging.getLogger(__name__)

PROGRESS_S = 10.0
BATCH_ITEMS = 500
_MAX_THREADS = min(8, usable_cpus())

Item = TypeVar("Item")
Done = TypeVar("Done")


def in_batches(
    one: Callable[[Item], Done], items: Sequence[Item], what: str
) -> Iterator[tuple[list[Done], bool]]:
    """The results of each batch in order, and whether progress of the work `what` was logged with
    it (after every 10 s), which is the time to save intermediate results.
    """
    logged = time.monotonic()
    with ThreadPoolExecutor(_MAX_THREADS) as threads:
        for start in range(0, len(items), BATCH_ITEMS):
            done = list(threads.map(one, items[start : start + BATCH_ITEMS]))
            due = time.monotonic() > logged + PROGRESS_S
            if due:
                logged = time.monotonic()
                log.info("%s: %d of %d", what, start + len(done), len(items))
            yield done, due
