"""Reads what the runner prints, believing nothing: it may come from a broken board."""

from typing import Annotated, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from autoseg.records import AutosegError, CandidateError, DeviceError, InputError

Ms = Annotated[float, Field(ge=0)]
Interval = tuple[Ms, Ms]


class _Checked(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True, allow_inf_nan=False)


class Facts(_Checked):
    """What runs there: the first line."""

    runtime: str
    threads: int
    provider: str
    cpu: str


class Result(_Checked):
    """The figures of a Measurement: the last line."""

    runs: Annotated[int, Field(ge=1)]
    warmup: Annotated[int, Field(ge=0)]
    min_ms: Ms
    mean_ms: Ms
    std_ms: Ms
    p50_ms: Ms
    p50_ci_ms: Interval
    p90_ms: Ms | None
    p90_ci_ms: Interval | None
    p95_ms: Ms | None
    p99_ms: Ms | None
    load_ms: Ms
    peak_rss_bytes: Annotated[int, Field(ge=0)]
    throttled: bool | None
    temperature_c: float | None
    cpu_share: Annotated[float, Field(ge=0)]


class Fault(_Checked):
    """Why there is no result."""

    kind: str
    message: str


class _Line(_Checked):
    facts: Facts | None = None
    result: Result | None = None
    error: Fault | None = None


Part = TypeVar("Part", Facts, Result)


class Answer:
    """Everything one call of the runner said."""

    def __init__(self, output: bytes) -> None:
        """Raises what the error line says, or DeviceError for output that is not the runner's."""
        lines = [_parse(line) for line in output.splitlines() if line.strip()]
        for line in lines:
            if line.error:
                raise error_of(line.error)
        self._facts = next((line.facts for line in lines if line.facts), None)
        self._result = next((line.result for line in reversed(lines) if line.result), None)

    @property
    def facts(self) -> Facts:
        return _said("facts", self._facts)

    @property
    def result(self) -> Result:
        return _said("result", self._result)


def error_of(fault: Fault) -> AutosegError:
    """The error of the tree for one error line: the model's, the caller's, else the machine's."""
    if fault.kind in ("model", "input", "memory"):
        return CandidateError(fault.message)
    return (InputError if fault.kind == "plan" else DeviceError)(fault.message)


def _parse(line: bytes) -> _Line:
    try:
        return _Line.model_validate_json(line)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        at = ".".join(map(str, first["loc"])) or "line"
        text = line[:200].decode(errors="replace")
        raise DeviceError(f"the runner's {at} is wrong ({first['msg']}): {text}") from error


def _said(what: str, part: Part | None) -> Part:
    if part is None:
        raise DeviceError(f"the runner ended without its {what} line; is the machine healthy?")
    return part
