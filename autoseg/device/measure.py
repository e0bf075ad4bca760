"""One measurement of one model on a board: state before, timing, state after, flags."""

from __future__ import annotations

import dataclasses
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from autoseg.core.errors import DeviceError
from autoseg.core.records import DeviceInfo, Measurement, MeasurePlan
from autoseg.core.serialize import file_digest
from autoseg.device import machine_state
from autoseg.device.device_profile import ONNXRUNTIME_NAMES, Profile
from autoseg.device.model_session import ModelSession, SessionHost
from autoseg.device.percentiles import figures, quantiles, supported_statistic
from autoseg.device.rpc_schema import Node, StateAfter, Status
from autoseg.device.timing import (
    CANDIDATE,
    FAR_OVER_CEILING_COLD,
    REFERENCE,
    REFERENCE_WARMUP_S,
    Timing,
    far_over_ceiling,
    time_candidate,
)

CPU = ONNXRUNTIME_NAMES["CPU"]
# Window for the load of other programs; the system counts in steps of 0.01 s.
WATCH_S = {"screen": 0.2, "confirm": 0.3}
MAX_NAMED_NODES = 20
COOL_S, COOL_POLL_S, REST_S = 300.0, 2.0, 30.0


class MeasuredBoard(SessionHost, Protocol):
    """The part of a board that a measurement needs.

    `reference` is the file of the reference model, `calm_ms` its median on the calm machine, None
    before the first measurement; `note_calm` adds one.
    """

    @property
    def profile(self) -> Profile: ...
    @property
    def reference(self) -> Path: ...
    @property
    def calm_ms(self) -> float | None: ...
    def note_calm(self, calm_ms: float) -> None: ...
    def describe(self) -> DeviceInfo: ...
    def status(self, window_s: float) -> Status: ...
    def nodes(self, onnx: Path, runs: int) -> list[Node]: ...


@dataclasses.dataclass(frozen=True, kw_only=True)
class TimedPass:
    """One timing, with the state of the machine before and after it."""

    before: Status
    after: StateAfter
    timing: Timing
    warmup: int
    load_ms: float
    throttled: bool | None


def measure(board: MeasuredBoard, onnx: Path, plan: MeasurePlan) -> Measurement:
    """Measures one file; repeats a throttled measurement once, after the machine cooled."""
    info, digest, plan = board.describe(), file_digest(onnx), own_plan(board, plan)
    cool_down(board)
    found = time_once(board, onnx, plan)
    # This machine may be throttled by other programs all day: it waits only to confirm.
    if found.throttled and (board.connection.launcher.keeps_claim or plan.phase == "confirm"):
        rest(board)
        found = time_once(board, onnx, plan)
    past_ms, timing = board.calm_ms, found.timing
    board.note_calm(timing.calm_ms)
    fallen, words = fallen_back(board, onnx)
    ratio = timing.reference_ms / min(timing.calm_ms, past_ms or timing.calm_ms)
    flags = machine_state.flags(
        ratio=ratio,
        timing=timing,
        was_throttled=found.throttled,
        status=found.before,
        after=found.after,
        fallen_back=words,
    )
    return Measurement(
        device=info.name,
        phase=plan.phase,
        runtime=info.runtime,
        threads=info.threads,
        provider=info.provider,
        onnx_digest=digest,
        taken_at=datetime.now(UTC).isoformat(timespec="seconds"),
        reference_ratio=ratio,
        fallback_nodes=fallen[:MAX_NAMED_NODES],
        flags=(*flags, *unsupported(plan, timing)),
        # Not for screenings: a search has hundreds, and no report shows their quantiles.
        quantiles_ms=quantiles(timing.times_ms) if plan.phase == "confirm" else (),
        **state_fields(found),
        **dataclasses.asdict(figures(timing.times_ms)),
    )


def state_fields(found: TimedPass) -> dict[str, Any]:
    """The fields of a measurement about its timing and the state of the machine."""
    before, after = found.before, found.after
    clocks = (before.clock_mhz, after.clock_mhz)
    return {
        "warmup": found.warmup,
        "load_ms": found.load_ms,
        "peak_rss_bytes": after.peak_rss_bytes,
        "throttled": found.throttled,
        "temperature_c": after.temperature_c,
        "reference_ms": found.timing.reference_ms,
        "redone_blocks": found.timing.redone,
        "governor": ", ".join(before.governors) or None,
        "clock_mhz": clocks if all(clocks) else None,
        "other_cores": before.other_cores,
    }


def unsupported(plan: MeasurePlan, timing: Timing) -> tuple[str, ...]:
    """A flag where too few runs replace the plan's percentile by a lower one."""
    runs = len(timing.times_ms)
    supported = supported_statistic(runs, plan.statistic)
    if plan.phase == "screen" or supported == plan.statistic:
        return ()
    return (f"{runs} runs cannot give a {plan.statistic}: the {supported} replaces it",)


def own_plan(board: MeasuredBoard, plan: MeasurePlan) -> MeasurePlan:
    """The plan with the profile's warm-up and number of confirming runs."""
    profile = board.profile
    if profile.warmup_s is not None:
        plan = dataclasses.replace(plan, warmup_s=profile.warmup_s)
    if profile.runs is not None and plan.phase == "confirm":
        max_runs = max(plan.max_runs, profile.runs)
        plan = dataclasses.replace(plan, min_runs=profile.runs, max_runs=max_runs)
    return plan


def time_once(board: MeasuredBoard, onnx: Path, plan: MeasurePlan) -> TimedPass:
    """One timing beside the reference. Raises CandidateError, DeviceError."""
    before = board.status(WATCH_S[plan.phase])
    models = {CANDIDATE: onnx, REFERENCE: board.reference}
    session = ModelSession(board, models, f"timing {onnx.name}")
    opened = session.opened
    cold = far_over_ceiling(plan, opened.first_ms[CANDIDATE], FAR_OVER_CEILING_COLD)
    warmup = 0 if cold else session.warm(CANDIDATE, plan.warmup_s)
    session.warm(REFERENCE, min(REFERENCE_WARMUP_S, plan.warmup_s))
    cpu_only = board.profile.provider_names == [CPU]
    timing = time_candidate(session.blocks, plan, calm_ms=board.calm_ms, judge_core=cpu_only)
    after = session.after
    if after is None:
        raise DeviceError(f"{board.connection.name} did not report its state after the timing")
    limited = machine_state.throttled(before, after, board.profile.max_temperature_c)
    return TimedPass(
        before=before,
        after=after,
        timing=timing,
        warmup=warmup,
        load_ms=opened.load_ms[CANDIDATE],
        throttled=limited,
    )


def fallen_back(board: MeasuredBoard, onnx: Path) -> tuple[tuple[str, ...], str | None]:
    """The nodes that ran on another provider than the profile's first, and a flag about them."""
    wanted = board.profile.provider_names
    if wanted[0] == CPU:
        return (), None
    nodes = board.nodes(onnx, runs=1)
    fallen = [node for node in nodes if node.provider not in ("", wanted[0])]
    where = sorted({"the CPU" if node.provider == CPU else node.provider for node in fallen})
    text = f"{len(fallen)} of {len(nodes)} nodes ran on {' and '.join(where)}, not on {wanted[0]}"
    return tuple(node.name for node in fallen), text if fallen else None


def cool_down(board: MeasuredBoard) -> None:
    """Waits until the machine is below the profile's limit. Raises DeviceError after 300 s."""
    max_c = board.profile.max_temperature_c
    if max_c is None:
        return
    temperature_c = board.status(0.0).temperature_c
    deadline = time.monotonic() + COOL_S
    while temperature_c is not None and temperature_c > max_c:
        if time.monotonic() >= deadline:
            raise DeviceError(
                f"{board.connection.name} is at {temperature_c:.0f} °C, over max_temperature_c "
                f"{max_c:g} of its profile, and did not cool within {COOL_S:g} s; "
                "give it a fan or a heat sink, or raise max_temperature_c"
            )
        time.sleep(COOL_POLL_S)
        temperature_c = board.status(0.0).temperature_c


def rest(board: MeasuredBoard) -> None:
    """Waits until a throttled machine is well below its limit, or a while without a limit."""
    max_c = board.profile.max_temperature_c
    deadline = time.monotonic() + (REST_S if max_c is None else COOL_S)
    while time.monotonic() < deadline and not machine_state.is_cool(board.status(0.0), max_c):
        time.sleep(COOL_POLL_S)
