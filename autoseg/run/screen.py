"""Latency first: untrained candidates are timed, and what is too slow is never trained."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

from autoseg.core.feasibility import SURE, probability_fast
from autoseg.core.records import (
    AutosegError,
    Candidate,
    CandidateError,
    Measurement,
    MeasurePlan,
    digest,
    to_json,
)
from autoseg.export.to_onnx import Exported, structure_digest
from autoseg.networks.cost import cost
from autoseg.run.context import Trip, export_candidate, measure
from autoseg.run.store import Run
from autoseg.train.task import network


@dataclass(frozen=True)
class _Timed:
    """An exported candidate, how to get its timing, and whether that comes at once."""

    candidate: Candidate
    exported: Exported
    timing: Callable[[], Measurement]
    done: Callable[[], bool]


def screen(trip: Trip, candidates: Iterable[Candidate]) -> None:
    """Latency first: it does not depend on the weights, and what is too slow is never trained.

    Several boards time side by side; what they said is written in the order of the candidates.
    """
    info = trip.device.describe()
    side_by_side = 1 if info.here else info.boards  # on one machine they would time each other
    waiting: deque[_Timed] = deque()
    threads = ThreadPoolExecutor(side_by_side)
    try:
        for candidate in candidates:
            if exported := _untrained(trip, candidate):
                waiting.append(_timed(trip, candidate, exported, threads, side_by_side))
            if len(waiting) >= side_by_side:
                _screened(trip, waiting.popleft())
        while waiting:
            _screened(trip, waiting.popleft())
    except (AutosegError, KeyboardInterrupt) as error:
        # What the other boards timed is paid for; Ctrl-C does not wait for them.
        _rescue(trip, waiting, wait=isinstance(error, AutosegError))
        raise
    finally:
        threads.shutdown(wait=False, cancel_futures=True)


def _timed(
    trip: Trip,
    candidate: Candidate,
    exported: Exported,
    threads: ThreadPoolExecutor,
    side_by_side: int,
) -> _Timed:
    timing = partial(_screen_measurement, trip, exported)
    if side_by_side == 1:
        return _Timed(candidate, exported, timing, lambda: False)
    future = threads.submit(timing)
    return _Timed(candidate, exported, future.result, future.done)


def _rescue(trip: Trip, waiting: Iterable[_Timed], *, wait: bool) -> None:
    for timed in waiting:
        with suppress(AutosegError):
            if wait or timed.done():
                _screened(trip, timed)
        timed.exported.path.unlink(missing_ok=True)


def _untrained(trip: Trip, candidate: Candidate) -> Exported | None:
    """The file to time, or None where the ledger has the answer, by now at least."""
    known = trip.run.evaluations.get(candidate.key)
    if known is not None and known.state != "proposed":
        return None
    trip.run.announce(candidate, f"measuring {candidate}")
    try:
        net, structure = _proposed(trip, candidate)
        same = _same_network(trip.run, candidate, structure)
        if same is None:
            file = trip.run.artifact(candidate, "-untrained")
            return export_candidate(trip.task, net, candidate, file)
        trip.run.record("stopped", candidate, reason=f"the same network as {same}")
    except CandidateError as error:
        trip.run.record("failed", candidate, reason=str(error))
    return None


def _screened(trip: Trip, timed: _Timed) -> None:
    candidate, exported = timed.candidate, timed.exported
    try:
        measurement = timed.timing()
    except CandidateError as error:
        trip.run.record("failed", candidate, reason=str(error))
        return
    finally:
        exported.path.unlink(missing_ok=True)
    trip.run.record(
        "measured",
        candidate,
        measurement=to_json(measurement),
        onnx_bytes=exported.size_bytes,
        too_slow=probability_fast(measurement, trip.constraints) < 1 - SURE,
    )
    identity = _identity(trip, exported)
    # What was disturbed must not be believed again and again.
    if not measurement.flags and trip.measured_before.get(identity) is None:
        trip.measured_before.put(identity, measurement)


def _proposed(trip: Trip, candidate: Candidate) -> tuple[Any, str]:
    """The network and its digest; the ledger tells of a candidate even if it cannot be built."""
    known = candidate.key in trip.run.evaluations
    said = {"candidate": to_json(candidate)}
    try:
        net = network(trip.task, candidate)
        structure = structure_digest(net, candidate.input_hw)
        counted = to_json(cost(net, candidate.input_hw))
    except CandidateError:
        if not known:
            trip.run.record("proposed", candidate, **said, structure=None, cost=None)
        raise
    if not known:
        trip.run.record("proposed", candidate, **said, structure=structure, cost=counted)
    return net, structure


def _same_network(run: Run, candidate: Candidate, structure: str) -> str | None:
    for event in run.events:
        if event["event"] == "proposed" and event["structure"] == structure:
            return None if event["key"] == candidate.key else str(event["key"])
    return None


def _identity(trip: Trip, exported: Exported) -> str:
    # Screening stops at the ceiling: what was cut short for another one is not good enough here.
    asked = [trip.constraints.max_latency_ms, trip.constraints.statistic]
    return digest([exported.graph_digest, trip.device.describe().fingerprint, *asked])


def _screen_measurement(trip: Trip, exported: Exported) -> Measurement:
    known = trip.measured_before.get(_identity(trip, exported))
    return known or measure(trip, exported.path, MeasurePlan.screen(trip.constraints))
