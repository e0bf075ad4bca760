"""Stop request: the first signal finishes gracefully between steps, the second exits at once."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

MAX_FINISH_S = 120.0  # that finishing may take after a stop request

# Of a program that has no handlers of its own; our command line ends at both signals.
DEFAULT_HANDLERS = {
    signal.SIGINT: (signal.default_int_handler,),
    signal.SIGTERM: (signal.SIG_DFL, signal.default_int_handler),
}


class StopRequest:
    """Whether a run should end. Its steps check this between them, so that none is cut short.

    `forced` is set by the second signal, which ends the run at once.
    """

    def __init__(self) -> None:
        self._requested_at: float | None = None
        self.forced = False

    @property
    def requested(self) -> bool:
        return self._requested_at is not None

    @property
    def time_left_s(self) -> float:
        """Seconds left for finishing; infinite before a request."""
        if self._requested_at is None:
            return float("inf")
        return MAX_FINISH_S - (time.monotonic() - self._requested_at)

    def request(self) -> None:
        """Request a stop, as the first signal does."""
        if self._requested_at is None:
            self._requested_at = time.monotonic()

    @contextmanager
    def signals_handled(self, on_first: Callable[[], None]) -> Iterator[None]:
        """Meanwhile the first signal calls `on_first`; the next raises KeyboardInterrupt."""

        def handle(number: int, frame: FrameType | None) -> None:
            if self.requested:
                self.forced = True
                raise KeyboardInterrupt
            self.request()
            with suppress(RuntimeError):  # the signal came in the middle of another line's output
                on_first()

        before = {number: signal.getsignal(number) for number in DEFAULT_HANDLERS}
        # Only the main thread may set handlers, and a program's own handlers stay in place.
        here = threading.current_thread() is threading.main_thread()
        ours = [n for n, default in DEFAULT_HANDLERS.items() if here and before[n] in default]
        for number in ours:
            signal.signal(number, handle)
        try:
            yield
        finally:
            for number in ours:
                signal.signal(number, before[number])
