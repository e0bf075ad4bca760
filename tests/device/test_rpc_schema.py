"""What a runner may answer: records that are safe to show, to count with and to keep."""

from typing import Any

import pytest

from autoseg.core.text import bounded
from autoseg.device.rpc_schema import Block, Hello, ProtocolError, Status, parse

STATUS = {name: None for name in Status.model_fields} | {"governors": [], "top": []}
HELLO = {
    "python": "3.11.2",
    "runtime": None,
    "runtime_error": None,
    "providers": [],
    "cpu": "a  board",
    "machine": "aarch64",
    "system": "Linux",
    "cores": 4,
    "affinity": [0],
    "quota_cores": None,
    "session": [],
    "pillow": "12.0.0",
    "cache": "/home/pi",
    "pid": 1,
}


def test_answers_remove_control_characters_from_board_text() -> None:
    told = {**STATUS, "top": [["a\x1b]0;x\x07b", 1]], "governors": ["perf\nmode\u202e"]}
    status = parse(Status, {"status": told}, "status")
    assert status.top == [("a ]0;x b", 1.0)] and status.governors == ["perf mode "]
    # What is clean stays as it is: names are compared.
    assert parse(Hello, {"hello": HELLO}, "hello").cpu == "a  board"
    assert bounded("a\u2028b\ud800c") == "a b c"


@pytest.mark.parametrize(
    "told",
    [
        {"top": [["x"]]},
        {"top": [["x", "y"]]},
        {"top": [["x", 1.0, 2.0]]},
        {"top": [[1.0, "x"]]},
        {"temperature_c": 1e300},
        {"time": float("nan")},
        {"throttled_bits": 1 << 70},
        {"governors": ["\ud800"]},
    ],
)
def test_answers_refuse_useless_facts(told: dict[str, Any]) -> None:
    with pytest.raises(ProtocolError, match="status"):
        parse(Status, {"status": {**STATUS, **told}}, "status")


@pytest.mark.parametrize("times_ms", [[], [0.0], [1.0, 1e308], [-1.0], [float("inf")], ["1"]])
def test_answers_accept_only_positive_and_plausible_times(times_ms: list[Any]) -> None:
    with pytest.raises(ProtocolError, match="times_ms"):
        parse(Block, {"block": {"model": "a", "times_ms": times_ms, "cpu_share": 1.0}}, "block")
