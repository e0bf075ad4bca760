"""Ctrl-C and SIGTERM: the first one asks a run to come to its end, the second one ends it."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

LEAVE_S = 120.0  # the most that finishing may take once somebody wants to leave

USUAL = {  # what a program does with them that does not care; our command line ends at both
    signal.SIGINT: (signal.default_int_handler,),
    signal.SIGTERM: (signal.SIG_DFL, signal.default_int_handler),
}


class Stop:
    """Whether somebody wants to leave. It is asked between steps, so that none is torn.

    One who has `insisted` leaves at once.
    """

    def __init__(self) -> None:
        self._asked_at: float | None = None
        self.insisted = False

    @property
    def asked(self) -> bool:
        return self._asked_at is not None

    @property
    def left_s(self) -> float:
        """Seconds until one who has asked should be gone; infinite before that."""
        since_s = 0.0 if self._asked_at is None else time.monotonic() - self._asked_at
        return LEAVE_S - since_s if self.asked else float("inf")

    def ask(self) -> None:
        """Ask to leave, as the first signal does."""
        if self._asked_at is None:
            self._asked_at = time.monotonic()

    @contextmanager
    def heard(self, on_first: Callable[[], None]) -> Iterator[None]:
        """Meanwhile the first signal calls `on_first`; the next raises KeyboardInterrupt."""

        def hear(number: int, frame: FrameType | None) -> None:
            if self.asked:
                self.insisted = True
                raise KeyboardInterrupt
            self.ask()
            with suppress(RuntimeError):  # the signal came in the middle of another line's output
                on_first()

        before = {number: signal.getsignal(number) for number in USUAL}
        # Only the main thread may, and a program that handles them itself is to go on doing so.
        here = threading.current_thread() is threading.main_thread()
        ours = [n for n, usual in USUAL.items() if here and before[n] in usual]
        for number in ours:
            signal.signal(number, hear)
        try:
            yield
        finally:
            for number in ours:
                signal.signal(number, before[number])
