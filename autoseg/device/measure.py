"""One measurement of one model on a board: state before, timing, state after, flags."""

from __future__ import annotations

import dataclasses
import functools
import math
import statistics
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from autoseg.core.errors import DeviceError
from autoseg.core.feasibility import NORMAL_95, latency_ci_ms, unusable
from autoseg.core.records import FedInput, FrameParts, Measurement, MeasurePlan
from autoseg.device.findings import MIN_CLOCK_SHARE, THROTTLED_NOW
from autoseg.device.history import Spread, sample_of
from autoseg.device.model_files import files_of
from autoseg.device.percentiles import NEEDED_RUNS, estimate, figures, quantiles, run_times
from autoseg.device.processes import CPU, MeasuredBoard, share, time_process
from autoseg.device.rpc_schema import ModelInput, StateAfter, Status
from autoseg.device.timing import CANDIDATE, Timing

# Window for the load of other programs; the system counts in steps of 0.01 s.
WATCH_S = {"screen": 0.2, "confirm": 0.3}
MAX_NAMED_NODES = 20
COOL_S, COOL_POLL_S, REST_S = 300.0, 2.0, 30.0
COOL_MARGIN_C = 5.0
MIN_FLAGGED_CORES = 0.5
# Reference over its calm median from which the whole measurement is flagged.
MIN_FLAGGED_RATIO = 1.05


@dataclasses.dataclass(frozen=True, kw_only=True)
class TimedPass:
    """One timing, with the state of the machine before and after it.

    `timings` are of the promised latency, `beside` of the other one if it was timed, both a
    process each.
    """

    before: Status
    after: StateAfter
    timings: list[Timing]
    beside: list[Timing]
    warmup: int
    load_ms: float
    inputs: list[ModelInput]
    throttled: bool | None

    @property
    def reference_ms(self) -> float:
        return statistics.median(timing.reference_ms for timing in self.timings)

    @property
    def calm_ms(self) -> float:
        return min(timing.calm_ms for timing in self.timings)

    def total(self, name: Literal["redone", "disturbed", "blocks"]) -> int:
        return sum(getattr(timing, name) for timing in self.timings)


def measure(board: MeasuredBoard, onnx: Path, plan: MeasurePlan) -> Measurement:
    """Measures one file; repeats a throttled measurement once, after the machine cooled."""
    info, digest, plan = board.describe(), files_of(onnx).digest, own_plan(board, plan)
    cool_down(board)
    found = time_once(board, onnx, plan)
    # This machine may be throttled by other programs all day: it waits only to confirm.
    if found.throttled and (board.connection.launcher.keeps_claim or plan.phase == "confirm"):
        rest(board)
        found = time_once(board, onnx, plan)
    known_ms = [ms for ms in (board.calm_ms, board.history.calm_ms()) if ms is not None]
    board.note_calm(found.calm_ms)
    p90_ms = statistics.median(timing.reference_p90_ms for timing in found.timings)
    sample = sample_of(found.calm_ms, p90_ms, process_figures(found.timings))
    if plan.processes > 1 and not found.total("disturbed"):
        board.history.add(sample)
    fallen, fallen_flags = fallen_back(board, onnx)
    ratio = found.reference_ms / min([found.calm_ms, *known_ms])
    measurement = Measurement(
        device=info.name,
        phase=plan.phase,
        runtime=info.runtime,
        threads=info.threads,
        provider=info.provider,
        session=info.session,
        latency=plan.latency,
        onnx_digest=digest,
        taken_at=datetime.now(UTC).isoformat(timespec="seconds"),
        reference_ratio=ratio,
        fallback_nodes=fallen[:MAX_NAMED_NODES],
        **state_fields(found),
        **timed_fields(found, plan, board.history.spread().of_model(sample)),
    )
    flags = [*flags_of(found, ratio), *fallen_flags, *doubts_of(plan, measurement)]
    return dataclasses.replace(measurement, flags=tuple(flags))


def timed_fields(found: TimedPass, plan: MeasurePlan, spread: Spread) -> dict[str, Any]:
    """The fields of a measurement that follow from the runs."""
    process_ms = [timing.times_ms for timing in found.timings]
    beside_ms = [timing.times_ms for timing in found.beside]
    times_ms = [ms for own in process_ms for ms in own]
    p50_ms, (low, high) = estimate(times_ms, "p50")
    own_sd = (high - low) / 2 / NORMAL_95 / p50_ms
    relative = statistics.median(timing.relative_p50 for timing in found.timings)
    return {
        # Not for screenings: a search has hundreds, and no report shows their quantiles.
        "quantiles_ms": quantiles(times_ms) if plan.phase == "confirm" else (),
        "process_p50_ms": tuple(statistics.median(t.times_ms) for t in found.timings),
        "relative_p50": relative,
        "relative_sd": math.hypot(own_sd, spread.process["relative"] / math.sqrt(len(process_ms))),
        "frame": frame_parts(found, plan),
        "beside": run_times(beside_ms, spread) if beside_ms else None,
        **figures(process_ms, spread),
    }


def frame_parts(found: TimedPass, plan: MeasurePlan) -> FrameParts | None:
    """The medians over the processes of the parts of a frame; None where none was timed."""
    timings = found.timings if plan.latency == "frame" else found.beside
    if plan.frame_hw is None or not timings:
        return None
    parts = zip(*(timing.parts_ms for timing in timings), strict=True)
    into, run, back = (statistics.median(each) for each in parts)
    return FrameParts(hw=plan.frame_hw, resize_ms=into, inference_ms=run, resize_back_ms=back)


def process_figures(timings: Sequence[Timing]) -> dict[str, list[float]]:
    """The figures of each process whose spread the device's history keeps."""
    enough = all(len(timing.times_ms) >= NEEDED_RUNS["p90"] for timing in timings)
    p90 = {"p90": [estimate(t.times_ms, "p90")[0] for t in timings]} if enough else {}
    return {
        "p50": [statistics.median(t.times_ms) for t in timings],
        "relative": [t.relative_p50 for t in timings],
        **p90,
    }


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
        "reference_ms": found.reference_ms,
        "redone_blocks": found.total("redone"),
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
    before, after, disturbed = found.before, found.after, found.total("disturbed")
    flags = []
    if found.throttled:
        flags.append("the machine was throttled")
    if after.quota_stops:
        times = f"{after.quota_stops} time{'s' * (after.quota_stops != 1)}"
        flags.append(f"the CPU quota of the control group stopped the process {times}")
    if after.governors and after.governors != before.governors:
        now = ", ".join(after.governors)
        flags.append(f"the governor went from {', '.join(before.governors)} to {now}")
    if disturbed:
        flags.append(f"{disturbed} of {found.total('blocks')} blocks disturbed")
    if ratio >= MIN_FLAGGED_RATIO:
        flags.append(f"reference {100 * (ratio - 1):.0f} % slower than when calm")
    if before.other_cores is not None and before.other_cores >= MIN_FLAGGED_CORES:
        top = ", ".join(f"{name} {cores:.1f}" for name, cores in before.top if cores)
        busy = f"other programs keep {before.other_cores:.1f} cores busy"
        flags.append(f"{busy} ({top})" if top else busy)
    return flags


def doubts_of(plan: MeasurePlan, found: Measurement) -> list[str]:
    """Flags where too few runs replace the plan's percentile, or its interval makes it useless."""
    if plan.phase == "screen":
        return []
    supported, flags = found.supported(plan.statistic), []
    if supported != plan.statistic:
        flags.append(
            f"{found.runs} runs cannot give a {plan.statistic}: the {supported} replaces it"
        )
    if unusable(found, plan.statistic):
        low, high = latency_ci_ms(found, supported)
        flags.append(f"the {supported} is unusable: it may be {low:.3g} to {high:.3g} ms")
    return flags


def own_plan(board: MeasuredBoard, plan: MeasurePlan) -> MeasurePlan:
    """The plan with the profile's warm-up and number of confirming runs.

    A board without Pillow times no frames; raises DeviceError where they are what is promised.
    """
    profile = board.profile
    if plan.frame_hw and board.hello().pillow is None:
        plan = dataclasses.replace(plan, frame_hw=None)
    if plan.latency == "frame" and plan.frame_hw is None:
        raise DeviceError(
            f"{board.connection.name} has no Pillow, which resizes frames: run `autoseg devices "
            "setup` for it, or promise the model alone with --latency model"
        )
    if profile.warmup_s is not None:
        plan = dataclasses.replace(plan, warmup_s=profile.warmup_s)
    if profile.runs is not None and plan.phase == "confirm":
        max_runs = max(plan.max_runs, profile.runs)
        plan = dataclasses.replace(plan, min_runs=profile.runs, max_runs=max_runs)
    return plan


def time_once(board: MeasuredBoard, onnx: Path, plan: MeasurePlan) -> TimedPass:
    """One timing beside the reference. Raises CandidateError, DeviceError."""
    before = board.status(WATCH_S[plan.phase])
    each = [time_process(board, onnx, share(plan)) for _ in range(plan.processes)]
    after = functools.reduce(StateAfter.merged, (one.after for one in each))
    return TimedPass(
        before=before,
        after=after,
        timings=[one.timing for one in each],
        beside=[one.beside for one in each if one.beside],
        warmup=sum(one.warmup for one in each),
        load_ms=statistics.median(one.opened.load_ms[CANDIDATE] for one in each),
        inputs=each[0].opened.inputs[CANDIDATE],
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
