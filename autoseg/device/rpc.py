"""A conversation with one runner: requests as JSON lines, answers believed only as far as checked.

The runner ends when nothing reaches it for 30 s, so a link sends a ping every few seconds; the
pong is how a board that works for long is told from one that hangs.
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
import time
import weakref
from collections import deque
from collections.abc import Iterator
from typing import Any, Protocol

from autoseg.core.errors import DeviceError
from autoseg.core.text import bounded
from autoseg.device.rpc_schema import raise_for_error

PING_S = 5.0
HEARTBEAT_TIMEOUT_S = 30.0
MAX_LINE_BYTES = 1 << 20
MAX_RAW_BYTES = 256 << 20
# A board may pause for less than the limit between two bytes and still never come to an end.
PIECE_BYTES = 64 << 10


class ConnectionLost(Exception):
    """The connection or the runner ended; the text says how (exit status, its last complaint)."""


class RunnerExited(ConnectionLost):
    """The runner ended by itself, while what carries its bytes lived on."""


class NoHeartbeat(Exception):
    """Not one byte came for QUIET_S, not even a pong: a hung board."""


class RpcTimeout(Exception):
    """Pongs came, and the answer did not come in time."""


class ProtocolError(Exception):
    """What came is no answer of a runner: too long, no JSON, wrong fields."""


class Unreachable(DeviceError):
    """A machine that was met before does not answer any more, and was tried for long."""


class Transport(Protocol):
    """Bytes to and from one runner."""

    def send(self, data: bytes) -> None:
        """Sends everything. Raises Lost, and Silent where nothing was taken for QUIET_S."""

    def receive(self, timeout_s: float) -> bytes:
        """At least one byte. Raises TimeoutError, and Lost at the end."""

    def close(self) -> None:
        """Ends the runner; closing twice is fine."""


class Launcher(Protocol):
    """How a runner is reached, and what of this machine it shares.

    `name` stands in messages. `here`: timing it disturbs this machine, and the other way round.
    `shares_files`: the runner can open our paths. `keeps`: claimed as long as it is connected,
    instead of for each verb. `claim_wait_s` is how long another holder is waited for.
    """

    @property
    def name(self) -> str: ...
    @property
    def here(self) -> bool: ...
    @property
    def shares_files(self) -> bool: ...
    @property
    def claim_wait_s(self) -> float: ...
    @property
    def keeps_claim(self) -> bool: ...
    def open(self) -> Transport:
        """Starts a runner. Raises DeviceError, or InputError for what the user must decide."""

    def close(self) -> None:
        """Lets go of what opening took; closing twice is fine."""


class RpcChannel:
    """One runner, one request at a time."""

    def __init__(self, transport: Transport) -> None:
        self._in_step = True
        self._transport = transport
        self._buffer = bytearray()
        self._heard = time.monotonic()
        self._sending, self._receiving = threading.Lock(), threading.Lock()
        self._closed = threading.Event()
        self._owner = os.getpid()
        # Weak, so that a device that nobody holds any more ends its runner.
        pinging = threading.Thread(
            target=_keep_pinging, args=(weakref.ref(self), self._closed), daemon=True
        )
        pinging.start()

    def ask(
        self, do: str, *, limit_s: float, payload: bytes = b"", **facts: Any
    ) -> dict[str, Any]:
        """The last answer to one request; raw bytes that came with it are its `raw`.

        Raises the AutosegError of an error line, and Lost, Silent, Slow or Babble.
        """
        return deque(self.stream(do, limit_s=limit_s, payload=payload, **facts), maxlen=1).pop()

    def stream(
        self, do: str, *, limit_s: float, payload: bytes = b"", **facts: Any
    ) -> Iterator[dict[str, Any]]:
        """Every answer to one request; left before its end, the link is of no more use."""
        deadline = time.monotonic() + limit_s
        request: dict[str, Any] = {"do": do, **facts}
        if payload:
            request["bytes"] = len(payload)
        with self._receiving:
            self._in_step, more = False, True
            self._send(json.dumps(request).encode() + b"\n", payload)
            # What lies between this request and the one before is nobody's silence.
            self._heard = time.monotonic()
            while more:
                answer = self._answer(deadline)
                more = answer.get("more") is True
                self._in_step = not more
                raise_for_error(answer)
                yield answer

    @property
    def usable(self) -> bool:
        """Whether requests and answers are in step, and it is ours: else open another."""
        return self._in_step and self.owned

    @property
    def owned(self) -> bool:
        """Whether this process opened it; a fork only has a copy."""
        return os.getpid() == self._owner

    def stop(self, limit_s: float = 10.0) -> None:
        """Makes the runner let go of what it does; its answers so far are thrown away.

        Raises as `ask` does: then the board hangs, not the model.
        """
        deadline = time.monotonic() + limit_s
        with self._receiving:
            self._send(b'{"do": "close"}\n')
            while "closed" not in self._answer(deadline):
                pass
            self._in_step = True

    def close(self) -> None:
        """Ends the runner; closing twice is fine, and in a forked child it ends nothing."""
        self._in_step = False
        self._closed.set()
        if self.owned:
            self._transport.close()

    def ping(self) -> None:
        """Tells the runner that we live, and takes in pongs that nobody waits for."""
        try:
            self._send(b'{"do": "ping"}\n')
            # Hours between two requests must not fill the pipe.
            if self._receiving.acquire(blocking=False):
                try:
                    self._drain()
                finally:
                    self._receiving.release()
        except (ConnectionLost, NoHeartbeat, ProtocolError):
            self._in_step = False
            self._closed.set()

    def _send(self, line: bytes, payload: bytes = b"") -> None:
        if not self.owned:
            raise ConnectionLost("the link belongs to the process that opened it")
        # The lock keeps pings out of payloads.
        with self._sending:
            self._transport.send(line)
            for start in range(0, len(payload), PIECE_BYTES):
                self._transport.send(payload[start : start + PIECE_BYTES])

    def _drain(self) -> None:
        with contextlib.suppress(TimeoutError):
            self._buffer += self._transport.receive(0.0)
        while (end := self._buffer.find(b"\n")) >= 0 and b"pong" in self._buffer[:end]:
            del self._buffer[: end + 1]
        if len(self._buffer) > MAX_LINE_BYTES:
            raise ProtocolError("it talks without being asked")

    def _answer(self, deadline: float) -> dict[str, Any]:
        while True:
            answer = _object(self._line(deadline))
            if "pong" not in answer:
                break
        count = answer.pop("bytes", 0)
        if not isinstance(count, int) or not 0 <= count <= MAX_RAW_BYTES:
            raise ProtocolError(f"it announced {bounded(count)} raw bytes")
        while len(self._buffer) < count:
            self._fill(deadline)
        answer["raw"], self._buffer[:count] = bytes(self._buffer[:count]), b""
        return answer

    def _line(self, deadline: float) -> bytes:
        searched = 0
        while (end := self._buffer.find(b"\n", searched)) < 0:
            if len(self._buffer) > MAX_LINE_BYTES:
                raise ProtocolError(f"a line of over 1 MiB: {bounded(self._buffer[:200])}")
            searched = len(self._buffer)
            self._fill(deadline)
        line, self._buffer[: end + 1] = bytes(self._buffer[:end]), b""
        return line

    def _fill(self, deadline: float) -> None:
        """Adds some bytes; they are asked for before anything is called late."""
        now = time.monotonic()
        wait_s = min(deadline - now, self._heard + HEARTBEAT_TIMEOUT_S - now)
        try:
            self._buffer += self._transport.receive(max(0.0, wait_s))
            self._heard = time.monotonic()
        except TimeoutError:
            now = time.monotonic()
            if now >= self._heard + HEARTBEAT_TIMEOUT_S:
                raise NoHeartbeat(f"nothing came for {HEARTBEAT_TIMEOUT_S:g} s") from None
            if now >= deadline:
                raise RpcTimeout("gave no answer in time") from None
            return
        if time.monotonic() >= deadline:
            raise RpcTimeout("gave no answer in time")


def _object(line: bytes) -> dict[str, Any]:
    try:
        answer = json.loads(line)
    except (ValueError, RecursionError):
        answer = None
    if not isinstance(answer, dict):
        raise ProtocolError(f"no JSON object: {bounded(line)}")
    return answer


def _keep_pinging(channel: weakref.ref[RpcChannel], closed: threading.Event) -> None:
    while not closed.wait(PING_S):
        live = channel()
        if live is None:
            return
        live.ping()
        del live
