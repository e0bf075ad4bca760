"""Times one model in one process on a board: the promised latency, and the other one beside it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

from autoseg.core.errors import DeviceError
from autoseg.core.records import DeviceInfo, MeasurePlan
from autoseg.core.units import HW
from autoseg.device.device_profile import ONNXRUNTIME_NAMES, Profile
from autoseg.device.history import History
from autoseg.device.model_session import ModelSession
from autoseg.device.rpc_schema import Block, Hello, Node, OpenedModels, StateAfter, Status
from autoseg.device.runner_connection import Connection
from autoseg.device.timing import (
    CANDIDATE,
    FAR_OVER_CEILING_COLD,
    MIN_RUNS,
    REFERENCE,
    REFERENCE_WARMUP_S,
    BlockRequest,
    BlockSource,
    Timing,
    far_over_ceiling,
    time_candidate,
)

CPU = ONNXRUNTIME_NAMES["CPU"]
# The latency that is not promised: the whole frame beside the model, or the model beside it.
BESIDE = "beside"
MIN_BESIDE_RUNS, MAX_BESIDE_S = 12, 2.0


class MeasuredBoard(Protocol):
    """The part of a board that a measurement needs; `Board` imports this module.

    `reference` is the file of the reference model, `calm_ms` its median on the calm machine, None
    before the first measurement; `note_calm` adds one. `history` is of earlier days.
    """

    connection: Connection
    profile: Profile

    @property
    def history(self) -> History: ...

    @property
    def reference(self) -> Path: ...
    @property
    def calm_ms(self) -> float | None: ...
    def note_calm(self, calm_ms: float) -> None: ...
    def session(
        self,
        models: Mapping[str, Path],
        doing: str,
        *,
        frames: Mapping[str, HW] | None = None,
        fresh: bool = False,
    ) -> ModelSession: ...
    def hello(self) -> Hello: ...
    def describe(self) -> DeviceInfo: ...
    def status(self, window_s: float) -> Status: ...
    def nodes(self, onnx: Path, runs: int) -> list[Node]: ...


def share(plan: MeasurePlan) -> MeasurePlan:
    """The plan of one of its processes."""
    count = plan.processes
    return dataclasses.replace(
        plan,
        min_runs=math.ceil(plan.min_runs / count),
        max_runs=math.ceil(plan.max_runs / count),
        min_s=plan.min_s / count,
        max_s=plan.max_s / count,
    )


class Process(NamedTuple):
    """What one process gave."""

    opened: OpenedModels
    after: StateAfter
    timing: Timing
    beside: Timing | None
    warmup: int


def time_process(board: MeasuredBoard, onnx: Path, plan: MeasurePlan) -> Process:
    models, frames = {CANDIDATE: onnx, REFERENCE: board.reference}, dict[str, HW]()
    if plan.frame_hw is not None:
        models[BESIDE] = onnx
        frames[CANDIDATE if plan.latency == "frame" else BESIDE] = plan.frame_hw
    session = board.session(models, f"timing {onnx.name}", frames=frames, fresh=plan.processes > 1)
    opened = session.opened
    cold = far_over_ceiling(plan, opened.first_ms[CANDIDATE], FAR_OVER_CEILING_COLD)
    warmup = 0 if cold else session.warm(CANDIDATE, plan.warmup_s)
    session.warm(REFERENCE, min(REFERENCE_WARMUP_S, plan.warmup_s))
    cpu_only = board.profile.provider_names == [CPU]
    timing = time_candidate(session.blocks, plan, calm_ms=board.calm_ms, judge_core=cpu_only)
    beside = None
    if plan.frame_hw is not None:
        short = _beside_plan(plan)
        beside = time_candidate(_as_candidate(session.blocks), short, judge_core=cpu_only)
    if session.after is None:
        raise DeviceError(f"{board.connection.name} did not report its state after the timing")
    return Process(opened, session.after, timing, beside, warmup)


def _beside_plan(plan: MeasurePlan) -> MeasurePlan:
    """Few runs of the other latency; in three processes enough for a p90."""
    runs = MIN_BESIDE_RUNS if plan.phase == "confirm" else MIN_RUNS
    max_s = min(plan.max_s, MAX_BESIDE_S)
    return dataclasses.replace(
        plan, ceiling_ms=None, min_runs=runs, max_runs=2 * runs, min_s=0.0, max_s=max_s
    )


def _as_candidate(source: BlockSource) -> BlockSource:
    """The same source with the other latency in the candidate's place."""
    there, here = {CANDIDATE: BESIDE}, {BESIDE: CANDIDATE}

    def blocks(wanted: Sequence[BlockRequest]) -> Iterator[Block]:
        asked = [dataclasses.replace(w, model=there.get(w.model, w.model)) for w in wanted]
        for block in source(asked):
            yield block.model_copy(update={"model": here.get(block.model, block.model)})

    return blocks
