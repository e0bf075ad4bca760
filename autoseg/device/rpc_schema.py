"""Schema of a runner's replies, and the errors in their place.

All is checked: the board may be broken, or hostile.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Mapping
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from autoseg.core.errors import AutosegError, CandidateError, DeviceError, InputError
from autoseg.core.text import bounded, without_control
from autoseg.device.runner import MAX_RUNS

CHECK_POWER = "check its power and the network"
MAX_TEXT, MAX_MS, MAX_NUMBER = 2000, 1e9, 1 << 62

Ms = Annotated[float, Field(ge=0, le=MAX_MS)]
RunMs = Annotated[float, Field(gt=0, le=MAX_MS)]
Real = Annotated[float, Field(ge=-MAX_NUMBER, le=MAX_NUMBER)]
Whole = Annotated[int, Field(ge=-MAX_NUMBER, le=MAX_NUMBER)]
Count = Annotated[int, Field(ge=0, le=MAX_NUMBER)]
Text = Annotated[str, Field(max_length=MAX_TEXT), AfterValidator(without_control)]
Words = Annotated[list[Text], Field(max_length=64)]
Shape = Annotated[list[Whole | Text | None], Field(max_length=16)]
# JSON has no tuples.
Program = Annotated[tuple[Text, Real], Field(strict=False)]


class ConnectionLost(Exception):
    """The connection or the runner ended; the text says how (exit status, last output)."""


class RunnerExited(ConnectionLost):
    """The runner ended by itself, over a connection that lived on."""


class NoHeartbeat(Exception):
    """No byte came for HEARTBEAT_TIMEOUT_S, not even a pong: the board hangs."""


class RpcTimeout(Exception):
    """Pongs came, but the reply did not come in time."""


class ProtocolError(Exception):
    """The reply is none of a runner: too long, no JSON, wrong fields."""


class NotRetryable(DeviceError):
    """Retrying would not help: another program or another machine answers."""


class DeviceBusy(DeviceError):
    """Another process holds the machine; the text names it."""


class _Checked(BaseModel):
    # Unknown fields are allowed: a runner may send more than is read here.
    model_config = ConfigDict(strict=True, frozen=True, allow_inf_nan=False)


class Hello(_Checked):
    """Facts of a machine that do not change; `runtime` is None without onnxruntime.

    `quota_cores` are the cores that its control group allows, None without a limit.
    """

    python: Text
    runtime: Text | None
    runtime_error: Text | None
    providers: Words
    cpu: Text
    machine: Text
    system: Text
    cores: Count
    affinity: Annotated[list[Whole], Field(max_length=4096)]
    session: Words
    pillow: Text | None
    quota_cores: Annotated[float, Field(gt=0, le=MAX_NUMBER)] | None
    cache: Text
    pid: Count


class _State(_Checked):
    """Clock and heat of a machine; None where it does not report a value."""

    governors: Words
    clock_mhz: Real | None
    temperature_c: Real | None
    throttled_bits: Whole | None
    throttle_count: Whole | None


class Status(_State):
    """The state of a machine between timings.

    `other_cores` is how many cores were busy with other programs than the runner, `top` the
    busiest of them with their cores.
    """

    max_clock_mhz: Real | None
    other_cores: Real | None
    top: Annotated[list[Program], Field(max_length=3)]
    memory_total_bytes: Whole | None
    memory_available_bytes: Whole | None
    disk_free_bytes: Whole | None
    time: Real | None


class ModelInput(_Checked):
    """One input of a model as it is fed; `declared` are the model's own sizes, open ones named."""

    name: Text
    dtype: Text
    shape: Annotated[list[Whole], Field(max_length=16)]
    declared: Shape


class OpenedModels(_Checked):
    """Models that were loaded and run once."""

    load_ms: dict[str, Ms]
    first_ms: dict[str, Ms]
    inputs: dict[str, Annotated[list[ModelInput], Field(max_length=1000)]]


class WarmUp(_Checked):
    """The untimed runs of a warm-up."""

    runs: Count


class Block(_Checked):
    """Consecutive timed runs of one model; `cpu_share` is the share of its core it had.

    `parts_ms` of whole frames are the medians of resize, model and resize back.
    """

    model: Text
    times_ms: Annotated[list[RunMs], Field(min_length=1, max_length=MAX_RUNS)]
    cpu_share: Annotated[float, Field(ge=0)]
    parts_ms: Annotated[list[Ms], Field(min_length=3, max_length=3)] | None = None


class StateAfter(_State):
    """The state of a machine after some blocks.

    `quota_stops` is how often its control group was stopped during them: its quota was used up.
    """

    peak_rss_bytes: Count
    quota_stops: Count

    def merged(self, later: StateAfter) -> StateAfter:
        """Two states as one: limits of either, the higher of maxima, the rest of the later."""
        bits = [each.throttled_bits for each in (self, later) if each.throttled_bits is not None]
        update = {"throttled_bits": functools.reduce(operator.or_, bits) if bits else None}
        update["quota_stops"] = self.quota_stops + later.quota_stops
        for name in ("temperature_c", "throttle_count", "peak_rss_bytes"):
            known = [n for n in (getattr(self, name), getattr(later, name)) if n is not None]
            update[name] = max(known, default=None)
        return later.model_copy(update=update)


class Node(_Checked):
    """One node of a graph: its provider and mean ms per run."""

    name: Text
    op: Text
    provider: Text
    ms: Ms
    output: Shape


class ClassMapSize(_Checked):
    """The height and width of a class map; the raw bytes are its pixels, deflated."""

    shape: Annotated[
        list[Annotated[int, Field(ge=1, le=1 << 16)]], Field(min_length=2, max_length=2)
    ]


class ErrorReply(_Checked):
    """The kind and text of an error that replaces a reply."""

    kind: str
    message: str


Record = TypeVar("Record", bound=_Checked)


def parse(kind: type[Record], reply: Mapping[str, Any], key: str) -> Record:
    """The record under one key of a reply. Raises ProtocolError."""
    given = reply.get(key)
    try:
        return kind.model_validate(given)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        at = ".".join([key, *map(str, first["loc"])])
        text = f"{bounded(at)} is wrong ({first['msg']}): {bounded(given)}"
        raise ProtocolError(text) from error


def parse_nodes(reply: Mapping[str, Any]) -> list[Node]:
    """The rows of a table of nodes, at most 2,000. Raises ProtocolError."""
    rows = reply.get("nodes")
    if not isinstance(rows, list) or len(rows) > 2000:
        raise ProtocolError(f"nodes is no table of at most 2,000 rows: {bounded(rows)}")
    return [parse(Node, {"nodes": row}, "nodes") for row in rows]


def raise_for_error(reply: Mapping[str, Any]) -> None:
    """Raises the error that an error reply stands for."""
    if "error" not in reply:
        return
    try:
        fault = parse(ErrorReply, reply, "error")
    except ProtocolError:
        fault = ErrorReply(kind="machine", message=bounded(reply["error"]))
    kinds: dict[str, type[AutosegError]] = {
        "model": CandidateError,
        "input": CandidateError,
        "memory": CandidateError,
        "crash": CandidateError,
        "plan": InputError,
        "busy": DeviceBusy,
    }
    raise kinds.get(fault.kind, DeviceError)(bounded(fault.message, MAX_TEXT))
