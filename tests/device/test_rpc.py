"""The conversation with a runner: what comes through, and what is refused."""

import gc
import json
import os
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from autoseg.core.errors import CandidateError, DeviceError, InputError
from autoseg.device import rpc
from autoseg.device.rpc import RpcChannel
from autoseg.device.rpc_schema import ConnectionLost, NoHeartbeat, ProtocolError, RpcTimeout


class Wire:
    """A Transport over lists: what is to come, and what was sent; None pauses, pongs on demand."""

    def __init__(self, *coming: bytes, pongs: bool = False) -> None:
        self.coming = list(coming)
        self.sent: list[bytes] = []
        self.pongs = pongs
        self.closed = 0

    def send(self, data: bytes) -> None:
        self.sent.append(data)
        time.sleep(0.0002)

    def receive(self, timeout_s: float) -> bytes:
        if self.coming:
            return self.coming.pop(0)
        time.sleep(min(timeout_s, 0.005))
        if self.pongs:
            return b'{"pong": true}\n'
        raise TimeoutError

    def close(self) -> None:
        self.closed += 1


def line(**facts: Any) -> bytes:
    return json.dumps(facts).encode() + b"\n"


def asked(*coming: bytes, limit_s: float = 5.0) -> dict[str, Any]:
    return RpcChannel(Wire(*coming)).ask("hello", limit_s=limit_s)


def test_link_reads_an_answer_in_pieces_and_between_pongs() -> None:
    text = line(pong=True) + line(block=1, more=True) + line(pong=True) + line(timed=2)
    pieces = [text[at : at + 3] for at in range(0, len(text), 3)]
    found = RpcChannel(Wire(*pieces)).stream("time", limit_s=5.0, blocks=[])
    assert [sorted(set(each) - {"more", "raw"}) for each in found] == [["block"], ["timed"]]


def test_link_gives_raw_bytes_to_their_answer_whatever_they_contain() -> None:
    raw = b'{"pong": true}\n{'
    assert asked(line(map={}, bytes=len(raw)) + raw[:5], raw[5:])["raw"] == raw


def test_link_announces_a_payload_and_sends_no_ping_inside_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(rpc, "PING_S", 0.001)
    wire = Wire(line(path="x"))
    payload = bytes(300_000)
    RpcChannel(wire).ask("put", limit_s=5.0, payload=payload, digest="d")
    at = next(i for i, data in enumerate(wire.sent) if b"put" in data)
    assert json.loads(wire.sent[at]) == {"do": "put", "digest": "d", "bytes": len(payload)}
    assert b"".join(wire.sent[at + 1 : at + 6]) == payload


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        ("model", CandidateError),
        ("crash", CandidateError),
        ("plan", InputError),
        ("disk", DeviceError),
        ("news", DeviceError),
    ],
)
def test_link_raises_the_error_of_an_error_line(kind: str, error: type[Exception]) -> None:
    channel = RpcChannel(
        Wire(line(error={"kind": kind, "message": "told\x1b[2J so"}), line(fine=1))
    )
    with pytest.raises(error, match=r"told \[2J so"):
        channel.ask("open", limit_s=5.0)
    assert channel.usable and channel.ask("hello", limit_s=5.0)["fine"] == 1


@pytest.mark.parametrize(
    "coming",
    [
        b"Segmentation fault\n",
        b"[1, 2]\n",
        b"\xff\xfe\n",
        b"[" * 200_000 + b"\n",
        b"x" * (2 << 20),
        line(map={}, bytes=-1),
        line(map={}, bytes=1 << 40),
        line(map={}, bytes="many"),
    ],
)
def test_link_raises_on_an_invalid_answer_and_quotes_part_of_it(coming: bytes) -> None:
    with pytest.raises(ProtocolError) as caught:
        asked(coming)
    assert len(str(caught.value)) < 300


def test_link_without_any_byte_raises_hung_board(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rpc, "HEARTBEAT_TIMEOUT_S", 0.05)
    with pytest.raises(NoHeartbeat):
        asked()


def test_link_with_pongs_but_no_answer_raises_slow() -> None:
    wire = Wire(pongs=True)
    channel = RpcChannel(wire)
    with pytest.raises(RpcTimeout):
        channel.ask("time", limit_s=0.05)
    assert not channel.usable
    wire.coming = [line(block=1, more=True), line(timed=1), line(closed=True)]
    channel.stop()
    assert channel.usable


def test_link_left_in_the_middle_is_unusable() -> None:
    channel = RpcChannel(Wire(line(block=1, more=True), line(timed=1)))
    answers: Iterator[dict[str, Any]] = channel.stream("time", limit_s=5.0)
    next(answers)
    del answers
    assert not channel.usable


def test_link_reads_pongs_between_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rpc, "PING_S", 0.002)
    wire = Wire(pongs=True)
    channel = RpcChannel(wire)
    time.sleep(0.05)
    wire.pongs, wire.coming = False, [line(hello=1)]
    assert channel.ask("hello", limit_s=5.0)["hello"] == 1


def test_link_notices_a_runner_that_exits_between_requests(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(rpc, "PING_S", 0.002)

    class Ending(Wire):
        def receive(self, timeout_s: float) -> bytes:
            raise ConnectionLost("exited with code 1")

    channel = RpcChannel(Ending())
    time.sleep(0.05)
    assert not channel.usable


def test_link_survives_a_fork() -> None:
    wire = Wire()
    channel = RpcChannel(wire)
    child = os.fork()
    if child == 0:
        channel.close()
        os._exit(10 * wire.closed + channel.usable)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert channel.usable
    channel.close()
    assert wire.closed == 1


def test_link_stops_pinging_when_it_is_garbage_collected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rpc, "PING_S", 0.002)
    before = set(threading.enumerate())
    channel = RpcChannel(Wire())
    (pinging,) = set(threading.enumerate()) - before
    del channel
    gc.collect()
    pinging.join(5.0)
    assert not pinging.is_alive()
