"""Latency first: measures untrained candidates; those that are too slow are never trained."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
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


@dataclass(frozen=True)
class _Pending:
    """An exported candidate, its plan, and its measurement where a thread takes it."""

    candidate: Candidate
    exported: Exported
    plan: MeasurePlan
    measured: Future[Measurement] | None


def screen(context: RunContext, candidates: Iterable[Candidate]) -> None:
    """Measure untrained candidates: latency does not depend on the weights.

    Several boards measure side by side; events are recorded in the order of the candidates.
    """
    info = context.device.describe()
    side_by_side = 1 if info.here else info.boards  # on one machine they would disturb each other
    waiting: deque[_Pending] = deque()
    threads = ThreadPoolExecutor(side_by_side)
    try:
        for candidate in candidates:
            if exported := _untrained(context, candidate):
                own, plan = side_by_side > 1, _plan(context, candidate, waiting)
                measured = threads.submit(_measured, context, exported, plan) if own else None
                waiting.append(_Pending(candidate, exported, plan, measured))
            if len(waiting) >= side_by_side:
                _record(context, waiting.popleft())
        while waiting:
            _record(context, waiting.popleft())
    except (AutosegError, KeyboardInterrupt) as error:
        # Keeps what the other boards have measured; Ctrl-C does not wait for them.
        _record_rest(context, waiting, wait=isinstance(error, AutosegError))
        raise
    finally:
        threads.shutdown(wait=False, cancel_futures=True)


def _record_rest(context: RunContext, waiting: Iterable[_Pending], *, wait: bool) -> None:
    for pending in waiting:
        with suppress(AutosegError):
            if wait or (pending.measured and pending.measured.done()):
                _record(context, pending)
        pending.exported.path.unlink(missing_ok=True)


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


def _record(context: RunContext, pending: _Pending) -> None:
    candidate, exported, measured = pending.candidate, pending.exported, pending.measured
    try:
        plan = pending.plan
        measurement = measured.result() if measured else _measured(context, exported, plan)
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


def _plan(context: RunContext, candidate: Candidate, waiting: Iterable[_Pending]) -> MeasurePlan:
    """The first of each input size is measured in whole frames too: what its resizes take."""
    timed = [e.candidate for e in context.run.evaluations.values() if e.measurement]
    timed += [pending.candidate for pending in waiting]
    first = all(_input_of(each) != _input_of(candidate) for each in timed)
    return MeasurePlan.screen(context.constraints, both=first)


def _input_of(candidate: Candidate) -> tuple[HW, int]:
    return candidate.input_hw, channels_of(candidate)


def _identity(context: RunContext, exported: Exported) -> str:
    # Screening stops once the ceiling is decided, so a measurement holds for one ceiling only.
    asked = to_json(replace(context.constraints, min_iou=0.0))
    return digest([exported.graph_digest, context.device.describe().fingerprint, asked])


def _measured(context: RunContext, exported: Exported, plan: MeasurePlan) -> Measurement:
    known = context.measured_before.get(_identity(context, exported))
    enough = known is not None and (known.frame or not plan.frame_hw)
    return known if known and enough else measure(context, exported.path, plan)
