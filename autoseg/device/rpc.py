"""Requests to one runner and its replies, as JSON lines; every reply is checked.

The runner exits when nothing reaches it for 30 s, so a channel sends a ping every few seconds. The
pong distinguishes a board that computes for long from one that hangs.
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

from autoseg.core.text import bounded
from autoseg.device.rpc_schema import (
    ConnectionLost,
    NoHeartbeat,
    ProtocolError,
    RpcTimeout,
    raise_for_error,
)

PING_S = 5.0
HEARTBEAT_TIMEOUT_S = 30.0
MAX_LINE_BYTES = 1 << 20
MAX_RAW_BYTES = 256 << 20
# A board may pause for less than the limit between two bytes and still never come to an end.
PIECE_BYTES = 64 << 10


class Transport(Protocol):
    """Sends and receives the bytes of one runner."""

    def send(self, data: bytes) -> None:
        """Sends all data. Raises ConnectionLost; NoHeartbeat after HEARTBEAT_TIMEOUT_S."""

    def receive(self, timeout_s: float) -> bytes:
        """At least one byte. Raises TimeoutError; ConnectionLost at the end of the stream."""

    def close(self) -> None:
        """Ends the runner; closing twice is fine."""


class Launcher(Protocol):
    """Starts runners on one machine.

    `name` stands in messages. `here`: timing there disturbs this machine, and vice versa.
    `shares_files`: the runner can open our paths. `keeps_claim`: the machine is claimed while
    connected, not call by call. `claim_wait_s`: how long to wait for another holder.
    """

    name: str
    shares_files: bool
    keeps_claim: bool
    claim_wait_s: float

    @property
    def here(self) -> bool: ...
    def open(self) -> Transport:
        """Starts a runner. Raises DeviceError; InputError where the user must decide."""

    def close(self) -> None:
        """Releases what `open` acquired; closing twice is fine."""


class RpcChannel:
    """Requests to one runner, one at a time."""

    def __init__(self, transport: Transport) -> None:
        self._in_step = True
        self._transport = transport
        self._buffer = bytearray()
        self._heard = time.monotonic()
        self._sending, self._receiving = threading.Lock(), threading.Lock()
        self._closed = threading.Event()
        self._owner = os.getpid()
        # A weak reference, so that a device without references ends its runner.
        pinging = threading.Thread(
            target=_keep_pinging, args=(weakref.ref(self), self._closed), daemon=True
        )
        pinging.start()

    def ask(
        self, do: str, *, limit_s: float, payload: bytes = b"", **facts: Any
    ) -> dict[str, Any]:
        """The last reply to one request; raw bytes that came with it are its `raw`.

        Raises the AutosegError of an error reply, and the errors of `rpc_schema`.
        """
        return deque(self.stream(do, limit_s=limit_s, payload=payload, **facts), maxlen=1).pop()

    def stream(
        self, do: str, *, limit_s: float, payload: bytes = b"", **facts: Any
    ) -> Iterator[dict[str, Any]]:
        """Every reply to one request; left early, the channel is no longer usable."""
        deadline = time.monotonic() + limit_s
        request: dict[str, Any] = {"do": do, **facts}
        if payload:
            request["bytes"] = len(payload)
        with self._receiving:
            self._in_step, more = False, True
            self._send(json.dumps(request).encode() + b"\n", payload)
            # The time since the last request does not count as missed heartbeats.
            self._heard = time.monotonic()
            while more:
                answer = self._answer(deadline)
                more = answer.get("more") is True
                self._in_step = not more
                raise_for_error(answer)
                yield answer

    @property
    def usable(self) -> bool:
        """Whether requests and replies are in step, in the process that opened it."""
        return self._in_step and self.owned

    @property
    def owned(self) -> bool:
        """Whether this process opened it; a fork has a copy only."""
        return os.getpid() == self._owner

    def stop(self, limit_s: float = 10.0) -> None:
        """Makes the runner abort its work; replies that come before are discarded.

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
        """Keeps the runner alive, and reads pongs while no request waits for a reply."""
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
            raise ConnectionLost("belongs to the process that opened it")
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
            raise ProtocolError("it sends data without a request")

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
        """Reads some bytes, at least once before a timeout."""
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
                raise RpcTimeout("gave no reply in time") from None
            return
        if time.monotonic() >= deadline:
            raise RpcTimeout("gave no reply in time")


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
