"""One measurement of one model on a board: state before, timing, state after, flags."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from autoseg.core.errors import DeviceError
from autoseg.core.records import DeviceInfo, FedInput, Measurement, MeasurePlan
from autoseg.device.device_profile import ONNXRUNTIME_NAMES, Profile
from autoseg.device.findings import MIN_CLOCK_SHARE, THROTTLED_NOW
from autoseg.device.model_files import files_of
from autoseg.device.model_session import ModelSession
from autoseg.device.percentiles import figures, quantiles
from autoseg.device.rpc_schema import ModelInput, Node, StateAfter, Status
from autoseg.device.runner_connection import Connection
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
COOL_MARGIN_C = 5.0
MIN_FLAGGED_CORES = 0.5
# Reference over its calm median from which the whole measurement is flagged.
MIN_FLAGGED_RATIO = 1.05


class MeasuredBoard(Protocol):
    """The part of a board that a measurement needs; `Board` imports this module.

    `reference` is the file of the reference model, `calm_ms` its median on the calm machine, None
    before the first measurement; `note_calm` adds one.
    """

    connection: Connection
    profile: Profile

    @property
    def reference(self) -> Path: ...
    @property
    def calm_ms(self) -> float | None: ...
    def note_calm(self, calm_ms: float) -> None: ...
    def session(self, models: Mapping[str, Path], doing: str) -> ModelSession: ...
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
    inputs: list[ModelInput]
    throttled: bool | None


def measure(board: MeasuredBoard, onnx: Path, plan: MeasurePlan) -> Measurement:
    """Measures one file; repeats a throttled measurement once, after the machine cooled."""
    info, digest, plan = board.describe(), files_of(onnx).digest, own_plan(board, plan)
    cool_down(board)
    found = time_once(board, onnx, plan)
    # This machine may be throttled by other programs all day: it waits only to confirm.
    if found.throttled and (board.connection.launcher.keeps_claim or plan.phase == "confirm"):
        rest(board)
        found = time_once(board, onnx, plan)
    past_ms, timing = board.calm_ms, found.timing
    board.note_calm(timing.calm_ms)
    fallen, fallen_flags = fallen_back(board, onnx)
    ratio = timing.reference_ms / min(timing.calm_ms, past_ms or timing.calm_ms)
    measurement = Measurement(
        device=info.name,
        phase=plan.phase,
        runtime=info.runtime,
        threads=info.threads,
        provider=info.provider,
        onnx_digest=digest,
        taken_at=datetime.now(UTC).isoformat(timespec="seconds"),
        reference_ratio=ratio,
        fallback_nodes=fallen[:MAX_NAMED_NODES],
        # Not for screenings: a search has hundreds, and no report shows their quantiles.
        quantiles_ms=quantiles(timing.times_ms) if plan.phase == "confirm" else (),
        **state_fields(found),
        **figures(timing.times_ms),
    )
    flags = [*flags_of(found, ratio), *fallen_flags, *unsupported(plan, measurement)]
    return dataclasses.replace(measurement, flags=tuple(flags))


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
        "inputs": tuple(map(_fed, found.inputs)),
    }


def _fed(given: ModelInput) -> FedInput:
    declared = tuple(size if isinstance(size, int) else str(size) for size in given.declared)
    return FedInput(given.name, given.dtype, tuple(given.shape), declared)


def flags_of(found: TimedPass, ratio: float) -> list[str]:
    """Everything irregular while a model was timed, in words; `ratio` is the reference's."""
    before, after, timing = found.before, found.after, found.timing
    flags = []
    if found.throttled:
        flags.append("the machine was throttled")
    if after.quota_stops:
        times = f"{after.quota_stops} time{'s' * (after.quota_stops != 1)}"
        flags.append(f"the CPU quota of the control group stopped the process {times}")
    if after.governors and after.governors != before.governors:
        now = ", ".join(after.governors)
        flags.append(f"the governor went from {', '.join(before.governors)} to {now}")
    if timing.disturbed:
        flags.append(f"{timing.disturbed} of {timing.blocks} blocks disturbed")
    if ratio >= MIN_FLAGGED_RATIO:
        flags.append(f"reference {100 * (ratio - 1):.0f} % slower than when calm")
    if before.other_cores is not None and before.other_cores >= MIN_FLAGGED_CORES:
        top = ", ".join(f"{name} {cores:.1f}" for name, cores in before.top if cores)
        busy = f"other programs keep {before.other_cores:.1f} cores busy"
        flags.append(f"{busy} ({top})" if top else busy)
    return flags


def unsupported(plan: MeasurePlan, found: Measurement) -> list[str]:
    """A flag where too few runs replace the plan's percentile by a lower one."""
    supported = found.supported(plan.statistic)
    if plan.phase == "screen" or supported == plan.statistic:
        return []
    return [f"{found.runs} runs cannot give a {plan.statistic}: the {supported} replaces it"]


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
    session = board.session(models, f"timing {onnx.name}")
    opened = session.opened
    cold = far_over_ceiling(plan, opened.first_ms[CANDIDATE], FAR_OVER_CEILING_COLD)
    warmup = 0 if cold else session.warm(CANDIDATE, plan.warmup_s)
    session.warm(REFERENCE, min(REFERENCE_WARMUP_S, plan.warmup_s))
    cpu_only = board.profile.provider_names == [CPU]
    timing = time_candidate(session.blocks, plan, calm_ms=board.calm_ms, judge_core=cpu_only)
    after = session.after
    if after is None:
        raise DeviceError(f"{board.connection.name} did not report its state after the timing")
    return TimedPass(
        before=before,
        after=after,
        timing=timing,
        warmup=warmup,
        load_ms=opened.load_ms[CANDIDATE],
        inputs=opened.inputs[CANDIDATE],
        throttled=throttled(before, after, board.profile.max_temperature_c),
    )


def fallen_back(board: MeasuredBoard, onnx: Path) -> tuple[tuple[str, ...], list[str]]:
    """The nodes that ran on another provider than the profile's first, and a flag about them."""
    wanted = board.profile.provider_names
    if wanted[0] == CPU:
        return (), []
    nodes = board.nodes(onnx, runs=1)
    fallen = [node for node in nodes if node.provider not in ("", wanted[0])]
    where = sorted({"the CPU" if node.provider == CPU else node.provider for node in fallen})
    text = f"{len(fallen)} of {len(nodes)} nodes ran on {' and '.join(where)}, not on {wanted[0]}"
    return tuple(node.name for node in fallen), [text] if fallen else []


def throttled(
    before: Status, after: StateAfter, max_temperature_c: float | None = None
) -> bool | None:
    """Whether the clock was limited in between; None where the machine does not report it."""
    bits = (before.throttled_bits, after.throttled_bits)
    counts = (before.throttle_count, after.throttle_count)
    signs = [pair[0] != pair[1] for pair in (bits, counts) if None not in pair]
    signs += [bool(word & THROTTLED_NOW) for word in bits if word is not None]
    if not signs and set(before.governors) == {"performance"}:
        # Only without counters: with them, a clock below the highest is merely not boosted.
        clocks = (after.clock_mhz, before.max_clock_mhz)
        signs += [clocks[0] < MIN_CLOCK_SHARE * clocks[1]] if clocks[0] and clocks[1] else []
    if max_temperature_c is not None and after.temperature_c is not None:
        signs += [after.temperature_c > max_temperature_c]
    return any(signs) if signs else None


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
    while time.monotonic() < deadline and not is_cool(board.status(0.0), max_c):
        time.sleep(COOL_POLL_S)


def is_cool(status: Status, max_temperature_c: float | None) -> bool:
    """Whether a machine that was hot or throttled may be timed again."""
    if (status.throttled_bits or 0) & THROTTLED_NOW:
        return False
    known = None not in (status.temperature_c, max_temperature_c)
    return known and (status.temperature_c or 0) <= (max_temperature_c or 0) - COOL_MARGIN_C
