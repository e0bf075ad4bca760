"""Latency first: untrained candidates are timed, and what is too slow is never trained."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

from autoseg.core.errors import AutosegError, CandidateError
from autoseg.core.feasibility import MIN_P_FEASIBLE, p_latency_met
from autoseg.core.records import Candidate, Measurement, MeasurePlan
from autoseg.core.serialize import digest, from_json, to_json
from autoseg.export.to_onnx import Exported, structure_digest
from autoseg.networks.candidate import identity, parts_of
from autoseg.networks.cost import cost
from autoseg.run.context import RunContext, export_candidate, measure
from autoseg.train.task import network


@dataclass(frozen=True)
class _Timed:
    """An exported candidate, how to get its timing, and whether that comes at once."""

    candidate: Candidate
    exported: Exported
    timing: Callable[[], Measurement]
    done: Callable[[], bool]


def screen(context: RunContext, candidates: Iterable[Candidate]) -> None:
    """Latency first: it does not depend on the weights, and what is too slow is never trained.

    Several boards time side by side; what they said is written in the order of the candidates.
    """
    info = context.device.describe()
    side_by_side = 1 if info.here else info.boards  # on one machine they would time each other
    waiting: deque[_Timed] = deque()
    threads = ThreadPoolExecutor(side_by_side)
    try:
        for candidate in candidates:
            if exported := _untrained(context, candidate):
                waiting.append(_timed(context, candidate, exported, threads, side_by_side))
            if len(waiting) >= side_by_side:
                _screened(context, waiting.popleft())
        while waiting:
            _screened(context, waiting.popleft())
    except (AutosegError, KeyboardInterrupt) as error:
        # What the other boards timed is paid for; Ctrl-C does not wait for them.
        _rescue(context, waiting, wait=isinstance(error, AutosegError))
        raise
    finally:
        threads.shutdown(wait=False, cancel_futures=True)


def _timed(
    context: RunContext,
    candidate: Candidate,
    exported: Exported,
    threads: ThreadPoolExecutor,
    side_by_side: int,
) -> _Timed:
    timing = partial(_screen_measurement, context, exported)
    if side_by_side == 1:
        return _Timed(candidate, exported, timing, lambda: False)
    future = threads.submit(timing)
    return _Timed(candidate, exported, future.result, future.done)


def _rescue(context: RunContext, waiting: Iterable[_Timed], *, wait: bool) -> None:
    for timed in waiting:
        with suppress(AutosegError):
            if wait or timed.done():
                _screened(context, timed)
        timed.exported.path.unlink(missing_ok=True)


def _untrained(context: RunContext, candidate: Candidate) -> Exported | None:
    """The file to time, or None where the ledger has the answer, by now at least."""
    known = context.run.evaluations.get(candidate.key)
    if known is not None and known.state != "proposed":
        return None
    context.run.announce(candidate, f"measuring {candidate}")
    try:
        net, structure = _proposed(context, candidate)
        same = _known_twin(context, candidate, structure)
        if same is None:
            file = context.run.artifact(candidate, "-untrained")
            return export_candidate(context.task, net, candidate, file)
        context.run.record("stopped", candidate, reason=f"the same network as {same}")
    except CandidateError as error:
        context.run.record("failed", candidate, reason=str(error))
    return None


def _screened(context: RunContext, timed: _Timed) -> None:
    candidate, exported = timed.candidate, timed.exported
    try:
        measurement = timed.timing()
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
    # What was disturbed must not be believed again and again.
    if not measurement.flags and context.measured_before.get(identity) is None:
        context.measured_before.put(identity, measurement)


def _proposed(context: RunContext, candidate: Candidate) -> tuple[Any, str]:
    """The network and its digest; the ledger tells of a candidate even if it cannot be built."""
    known = candidate.key in context.run.evaluations
    said = {"candidate": to_json(candidate)}
    try:
        net = network(context.task, candidate)
        structure = structure_digest(net, candidate.input_hw)
        counted = to_json(cost(net, candidate.input_hw))
    except CandidateError:
        if not known:
            context.run.record("proposed", candidate, **said, structure=None, cost=None)
        raise
    if not known:
        context.run.record("proposed", candidate, **said, structure=structure, cost=counted)
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


def _identity(context: RunContext, exported: Exported) -> str:
    # Screening stops at the ceiling: what was cut short for another one is not good enough here.
    asked = [context.constraints.max_latency_ms, context.constraints.statistic]
    return digest([exported.graph_digest, context.device.describe().fingerprint, *asked])


def _screen_measurement(context: RunContext, exported: Exported) -> Measurement:
    known = context.measured_before.get(_identity(context, exported))
    return known or measure(context, exported.path, MeasurePlan.screen(context.constraints))
