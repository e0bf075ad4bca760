"""Latency first: measures untrained candidates; those that are too slow are never trained."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from types import TracebackType
from typing import Any

from autoseg.core.errors import AutosegError, CandidateError
from autoseg.core.feasibility import MIN_P_FEASIBLE, p_latency_met
from autoseg.core.records import Candidate, Measurement, MeasurePlan
from autoseg.core.serialize import digest, from_json, to_json
from autoseg.core.units import HW
from autoseg.export.to_onnx import Exported
from autoseg.networks.cost import cost
from autoseg.networks.space import channels_of, identity, parts_of
from autoseg.networks.structure import structure_digest
from autoseg.run.context import RunContext, export_candidate, measure
from autoseg.train.task import network

Timed = tuple[Measurement, float]  # and the seconds that it took


@dataclass(frozen=True)
class _Pending:
    """An exported candidate, and its measurement by a thread."""

    candidate: Candidate
    exported: Exported
    export_s: float
    measured: Future[Timed]


def screen(context: RunContext, candidates: Iterable[Candidate]) -> None:
    """Measure untrained candidates: latency does not depend on the weights.

    Several boards measure side by side; events are recorded in the order of the candidates.
    """
    with Screening(context) as screening:
        for candidate in candidates:
            screening.begin(candidate)
            if not screening.ready:
                screening.record_next()
        screening.record_all()


class Screening:
    """Measurements that are going on, at most one a board; recorded in the order of their begin.

    One board alone is waited for, unless the caller goes on `beside` it.

    Leaving the `with` block because of a fault or Ctrl-C keeps what was measured until then.
    """

    def __init__(self, context: RunContext, *, beside: bool = False) -> None:
        info = context.device.describe()
        # On one machine they would disturb each other.
        self._at_once = 1 if info.here else info.boards
        self._threads = ThreadPoolExecutor(self._at_once) if beside or self._at_once > 1 else None
        self._context = context
        self._pending: deque[_Pending] = deque()

    @property
    def ready(self) -> bool:
        """Whether a board is free for another measurement."""
        return len(self._pending) < self._at_once

    @property
    def idle(self) -> bool:
        return not self._pending

    def begin(self, candidate: Candidate) -> None:
        """Export a candidate and have it measured, unless the ledger has its result."""
        began, context = time.monotonic(), self._context
        exported = _untrained(context, candidate)
        if exported is None:
            return
        export_s = time.monotonic() - began
        plan = _plan(context, candidate, [pending.candidate for pending in self._pending])
        find = partial(_measured, context, exported, plan)
        if self._threads:
            measured = self._threads.submit(find)
            self._pending.append(_Pending(candidate, exported, export_s, measured))
        else:
            _record(context, candidate, exported, export_s, find)

    def record_next(self) -> None:
        """Record the oldest measurement, as soon as it is there."""
        self._record(self._pending.popleft())

    def record_done(self, timeout_s: float = 0.0) -> None:
        """Record, in order, what is measured within the time."""
        wait([pending.measured for pending in self._pending], timeout_s, "FIRST_COMPLETED")
        while self._pending and self._pending[0].measured.done():
            self.record_next()

    def record_all(self) -> None:
        while self._pending:
            self.record_next()

    def __enter__(self) -> Screening:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        try:
            if error is None:
                self.record_all()
        finally:
            # Keeps what the other boards have measured; Ctrl-C does not wait for them.
            for pending in self._pending:
                with suppress(AutosegError):
                    if isinstance(error, AutosegError) or pending.measured.done():
                        self._record(pending)
                pending.exported.path.unlink(missing_ok=True)
            self._pending.clear()
            if self._threads:
                self._threads.shutdown(wait=False, cancel_futures=True)

    def _record(self, pending: _Pending) -> None:
        found = pending.measured.result
        _record(self._context, pending.candidate, pending.exported, pending.export_s, found)


def _untrained(context: RunContext, candidate: Candidate) -> Exported | None:
    """The file to measure; None where the ledger has the candidate's result, or gets it here."""
    known = context.run.evaluations.get(candidate.key)
    if known is not None and known.state != "proposed":
        return None
    context.run.report_activity(candidate, f"measuring {candidate}")
    try:
        net, structure = _propose(context, candidate)
        same = _known_twin(context, candidate, structure)
        if same is None:
            file = context.run.artifact(candidate, "-untrained")
            return export_candidate(context.task, net, candidate, file)
        context.run.record("stopped", candidate, reason=f"the same network as {same}")
    except CandidateError as error:
        context.run.record("failed", candidate, reason=str(error))
    return None


def _record(
    context: RunContext,
    candidate: Candidate,
    exported: Exported,
    export_s: float,
    find: Callable[[], Timed],
) -> None:
    try:
        measurement, measure_s = find()
    except CandidateError as error:
        context.run.record("failed", candidate, reason=str(error))
        return
    finally:
        exported.path.unlink(missing_ok=True)
    context.run.record(
        "measured",
        candidate,
        measurement=to_json(measurement),
        onnx_bytes=exported.size_bytes,
        too_slow=p_latency_met(measurement, context.constraints) < 1 - MIN_P_FEASIBLE,
        took_s=round(export_s + measure_s, 3),
    )
    identity = _identity(context, exported)
    # A disturbed measurement must not be reused by later runs.
    if not measurement.flags and context.measured_before.get(identity) != measurement:
        context.measured_before.put(identity, measurement)


def _propose(context: RunContext, candidate: Candidate) -> tuple[Any, str]:
    """The network and its digest; a candidate that cannot be built is recorded as well."""
    known = candidate.key in context.run.evaluations
    facts = {"candidate": to_json(candidate)}
    try:
        net = network(context.task, candidate)
        structure = structure_digest(net, candidate.input_hw)
        counted = to_json(cost(net, candidate.input_hw))
    except CandidateError:
        if not known:
            context.run.record("proposed", candidate, **facts, structure=None, cost=None)
        raise
    if not known:
        context.run.record("proposed", candidate, **facts, structure=structure, cost=counted)
    return net, structure


def _known_twin(context: RunContext, candidate: Candidate, structure: str) -> str | None:
    """The key of the candidate of the same identity that was proposed first, if it is another."""
    space = context.task.space
    own = identity(structure, parts_of(space, candidate))
    for event in context.run.events:
        if event["event"] == "proposed" and event["structure"] == structure:
            other = from_json(Candidate, event["candidate"])
            if identity(structure, parts_of(space, other)) == own:
                return None if other == candidate else other.key
    return None


def _plan(context: RunContext, candidate: Candidate, pending: Sequence[Candidate]) -> MeasurePlan:
    """The first of each input size is measured in whole frames too: what its resizes take."""
    timed = [e.candidate for e in context.run.evaluations.values() if e.measurement]
    first = all(_input_of(each) != _input_of(candidate) for each in (*timed, *pending))
    return MeasurePlan.screen(context.constraints, both=first)


def _input_of(candidate: Candidate) -> tuple[HW, int]:
    return candidate.input_hw, channels_of(candidate)


def _identity(context: RunContext, exported: Exported) -> str:
    # Screening stops once the ceiling is decided, so a measurement holds for one ceiling only.
    asked = to_json(replace(context.constraints, min_iou=0.0))
    return digest([exported.graph_digest, context.device.describe().fingerprint, asked])


def _measured(context: RunContext, exported: Exported, plan: MeasurePlan) -> Timed:
    began, known = time.monotonic(), context.measured_before.get(_identity(context, exported))
    enough = known is not None and (known.frame or not plan.frame_hw)
    measurement = known if known and enough else measure(context, exported.path, plan)
    return measurement, time.monotonic() - began
