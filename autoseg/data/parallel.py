"""Work on many pictures in threads, batch by batch, saying how far it is when that takes long."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

log = logging.getLogger(__name__)

PROGRESS_S = 10.0
BATCH = 500
_THREADS = min(8, os.cpu_count() or 1)

Item = TypeVar("Item")
Done = TypeVar("Done")


def in_batches(
    one: Callable[[Item], Done], items: Sequence[Item], what: str
) -> Iterator[tuple[list[Done], bool]]:
    """The results of each batch in order, and whether `what` was told: a time to save, too."""
    told = time.monotonic()
    with ThreadPoolExecutor(_THREADS) as threads:
        for start in range(0, len(items), BATCH):
            done = list(threads.map(one, items[start : start + BATCH]))
            due = time.monotonic() > told + PROGRESS_S
            if due:
                told = time.monotonic()
                log.info("%s: %d of %d", what, start + len(done), len(items))
            yield done, due
