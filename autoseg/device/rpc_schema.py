"""What a runner may answer, checked whole: it may come from a broken board, or a hostile one."""

from collections.abc import Mapping
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from autoseg.core.errors import AutosegError, CandidateError, DeviceError, InputError
from autoseg.core.text import bounded, without_control
from autoseg.device.runner import MAX_RUNS

MAX_TEXT, MAX_MS, MAX_NUMBER = 2000, 1e9, 1 << 62


Ms = Annotated[float, Field(ge=0, le=MAX_MS)]
Run = Annotated[float, Field(gt=0, le=MAX_MS)]
Real = Annotated[float, Field(ge=-MAX_NUMBER, le=MAX_NUMBER)]
Whole = Annotated[int, Field(ge=-MAX_NUMBER, le=MAX_NUMBER)]
Count = Annotated[int, Field(ge=0, le=MAX_NUMBER)]
Text = Annotated[str, Field(max_length=MAX_TEXT), AfterValidator(without_control)]
Words = Annotated[list[Text], Field(max_length=64)]
Shape = Annotated[list[Whole | Text | None], Field(max_length=16)]
# JSON has no tuples.
Program = Annotated[tuple[Text, Real], Field(strict=False)]


class DeviceBusy(DeviceError):
    """Another program times on that machine; the text is who."""


class _Checked(BaseModel):
    # Unknown fields are let through: a runner may tell more than is read here.
    model_config = ConfigDict(strict=True, frozen=True, allow_inf_nan=False)


class Hello(_Checked):
    """What runs there. `runtime` is None where onnxruntime cannot be imported."""

    python: Text
    runtime: Text | None
    runtime_error: Text | None
    providers: Words
    cpu: Text
    machine: Text
    system: Text
    cores: Count
    affinity: Annotated[list[Whole], Field(max_length=4096)]
    cache: Text
    pid: Count


class Status(_Checked):
    """How the machine is doing; None is what it does not tell.

    `other_cores` is how many cores programs other than the runner kept busy, `top` the busiest
    of them with their cores.
    """

    governors: Words
    clock_mhz: Real | None
    max_clock_mhz: Real | None
    temperature_c: Real | None
    throttled_bits: Whole | None
    throttle_count: Whole | None
    load_1m: Real | None
    other_cores: Real | None
    top: Annotated[list[Program], Field(max_length=3)]
    memory_total_bytes: Whole | None
    memory_available_bytes: Whole | None
    disk_free_bytes: Whole | None
    time: Real | None


class ModelInput(_Checked):
    """One input of a model, and what it was fed."""

    name: Text
    dtype: Text
    shape: Shape


class OpenedModels(_Checked):
    """Models that loaded and ran once."""

    load_ms: dict[str, Ms]
    first_ms: dict[str, Ms]
    inputs: dict[str, Annotated[list[ModelInput], Field(max_length=1000)]]


class WarmUp(_Checked):
    """Untimed runs."""

    runs: Count


class Block(_Checked):
    """Consecutive runs of one model, and the share of the time that it had its core."""

    model: Text
    times_ms: Annotated[list[Run], Field(min_length=1, max_length=MAX_RUNS)]
    cpu_share: Annotated[float, Field(ge=0)]


class StateAfter(_Checked):
    """The machine after some blocks."""

    temperature_c: Real | None
    throttled_bits: Whole | None
    throttle_count: Whole | None
    clock_mhz: Real | None
    peak_rss_bytes: Count
    governors: Words = []


class Node(_Checked):
    """One node of a graph: where it ran and its mean ms a run."""

    name: Text
    op: Text
    provider: Text
    ms: Ms
    output: Shape


class ClassMapSize(_Checked):
    """The size of a class map; its pixels are the raw bytes."""

    shape: Annotated[
        list[Annotated[int, Field(ge=1, le=1 << 16)]], Field(min_length=2, max_length=2)
    ]


class ErrorReply(_Checked):
    """Why there is no answer."""

    kind: str
    message: str


Record = TypeVar("Record", bound=_Checked)


def read(kind: type[Record], answer: Mapping[str, Any], key: str) -> Record:
    """The record under one key of an answer. Raises ValueError saying what is wrong with it."""
    return _checked(kind, answer.get(key), key)


def parse_nodes(answer: Mapping[str, Any]) -> list[Node]:
    """The rows of a table of nodes, at most 2,000. Raises ValueError."""
    rows = answer.get("nodes")
    if not isinstance(rows, list) or len(rows) > 2000:
        raise ValueError(f"nodes is no table of at most 2,000 rows: {bounded(rows)}")
    return [_checked(Node, row, "nodes") for row in rows]


def raise_for_error(answer: Mapping[str, Any]) -> None:
    """Raises the error that an error line stands for: the model's, the caller's, the machine's."""
    if "error" not in answer:
        return
    try:
        fault = read(ErrorReply, answer, "error")
    except ValueError:
        fault = ErrorReply(kind="machine", message=bounded(answer["error"]))
    raise error_of(fault)


def error_of(fault: ErrorReply) -> AutosegError:
    """The error of the tree for one error line."""
    message = bounded(fault.message, MAX_TEXT)
    kinds: dict[str, type[AutosegError]] = {
        "model": CandidateError,
        "input": CandidateError,
        "memory": CandidateError,
        "crash": CandidateError,
        "plan": InputError,
        "busy": DeviceBusy,
    }
    return kinds.get(fault.kind, DeviceError)(message)


def _checked(kind: type[Record], given: Any, key: str) -> Record:
    try:
        return kind.model_validate(given)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        at = ".".join([key, *map(str, first["loc"])])
        raise ValueError(f"{bounded(at)} is wrong ({first['msg']}): {bounded(given)}") from error
