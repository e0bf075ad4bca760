"""THE PATH of a candidate, and nothing else: survey, search, confirm, test.

    propose -> build -> export (random weights) -> measure -> over the ceiling? record, next
      -> job by job: train -> score on val -> record -> stop it as soon as it can no longer matter
      ... budget spent -> confirm: short decay, export the TRAINED winner, measure again with many
          runs, IoU of the ONNX file itself on val; strike out what does not hold
      -> read test once

Every event is in the ledger before anyone acts on it, and every step looks there first: a run
that was killed anywhere goes on here, with nothing measured or trained twice.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autoseg.cost import cost
from autoseg.device import Device
from autoseg.export import Exported, check, export, structure_digest
from autoseg.promise import SURE, probability_fast, why_struck
from autoseg.records import (
    Candidate,
    CandidateError,
    Constraints,
    Job,
    Measurement,
    MeasurePlan,
    Score,
    digest,
    to_json,
)
from autoseg.seams import Done, Engine, Pool, Screen, Wait
from autoseg.store import MeasurementCache, Run
from autoseg.train import (
    Task,
    build_candidate,
    channels_of,
    checkpoint_path,
    picture_score,
    split_arrays,
    trained_network,
)

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Trip:
    """What a journey needs: who decides, who trains, who measures, and where it is written."""

    run: Run
    task: Task
    constraints: Constraints
    engine: Engine
    pool: Pool
    device: Device
    measured_before: MeasurementCache
    budget_s: float | None
    device_is_here: bool
    trials: int | None = None

    @property
    def allowance(self) -> list[float | None]:
        """What the search may use; a continued run that is given more searches on."""
        return [self.budget_s, self.trials]

    @property
    def remaining_s(self) -> float | None:
        return None if self.budget_s is None else self.budget_s - self.run.spent_s


def journey(trip: Trip) -> None:
    """From nothing, or from where the ledger stops, to confirmed models."""
    survey(trip)
    search(trip)
    confirm(trip)
    read_test(trip)


def survey(trip: Trip) -> None:
    """Measure a few dozen untrained networks in a tenth of the budget, and say what fits."""
    if trip.run.first("verdict"):
        return
    limit_s = float("inf") if trip.budget_s is None else trip.budget_s / 10
    for number, candidate in enumerate(trip.engine.survey()):
        if number > 2 and trip.run.spent_s > limit_s:
            break
        screen(trip, candidate)
    trip.run.record("verdict", lines=list(trip.engine.verdict(trip.run.evaluations)))


def search(trip: Trip) -> None:
    """Let the engine choose, job by job, until it is done or the finish needs the time left."""
    if trip.allowance in [e["allowance"] for e in trip.run.events if e["event"] == "searched"]:
        return
    for evaluation in [e for e in trip.run.evaluations.values() if e.state == "proposed"]:
        screen(trip, evaluation.candidate)  # a kill came between the proposal and the timing
    while True:
        collect(trip, trip.pool.wait(0.0))
        step = trip.engine.propose(trip.run.evaluations, trip.pool.running, trip.remaining_s)
        match step:
            case Screen(candidate):
                screen(trip, candidate)
            case Job():
                submit(trip, step)
            case Wait():
                collect(trip, trip.pool.wait(1.0))
            case Done():
                break
    trip.pool.cancel()
    trip.run.record("searched", allowance=trip.allowance)


def submit(trip: Trip, job: Job) -> None:
    """Hand a job to the pool, and say so."""
    kind = "decaying" if job.decay else "training"
    trip.run.announce(job.candidate, f"{kind} {job.candidate} to epoch {job.to_epoch}")
    trip.pool.submit(job)


def screen(trip: Trip, candidate: Candidate) -> None:
    """Latency first: it does not depend on the weights, and what is too slow is never trained."""
    known = trip.run.evaluations.get(candidate.key)
    if known is not None and known.state != "proposed":
        return
    trip.run.announce(candidate, f"measuring {candidate}")
    path = trip.run.artifact(candidate, "-untrained")
    try:
        net, structure = _proposed(trip, candidate)
        same = _same_network(trip.run, candidate, structure)
        if same is not None:
            trip.run.record("stopped", candidate, reason=f"the same network as {same}")
            return
        exported = _export(trip, net, candidate, path)
        measurement = _screen_measurement(trip, exported)
    except CandidateError as error:
        trip.run.record("failed", candidate, reason=str(error))
        return
    finally:
        path.unlink(missing_ok=True)
    trip.run.record(
        "measured",
        candidate,
        measurement=to_json(measurement),
        onnx_bytes=exported.size_bytes,
        too_slow=probability_fast(measurement, trip.constraints) < 1 - SURE,
    )


def _proposed(trip: Trip, candidate: Candidate) -> tuple[Any, str]:
    """The network and its digest; the ledger tells of a candidate even if it cannot be built."""
    known = candidate.key in trip.run.evaluations
    said = {"candidate": to_json(candidate)}
    try:
        net = build_candidate(trip.task.space, candidate, trip.task.dataset.outputs)
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


def _screen_measurement(trip: Trip, exported: Exported) -> Measurement:
    # Screening stops at the ceiling: what was cut short for another one is not good enough here.
    asked = [trip.constraints.max_latency_ms, trip.constraints.statistic]
    identity = digest([exported.graph_digest, trip.device.describe().fingerprint, *asked])
    measurement = trip.measured_before.get(identity)
    if measurement is None:
        measurement = _measure(trip, exported.path, MeasurePlan.screen(trip.constraints))
        trip.measured_before.put(identity, measurement)
    return measurement


def _measure(trip: Trip, onnx: Path, plan: MeasurePlan) -> Measurement:
    # A latency must never be timed while something trains on the same machine.
    with trip.pool.paused() if trip.device_is_here else nullcontext():
        return trip.device.measure(onnx, plan)


def _export(trip: Trip, net: Any, candidate: Candidate, path: Path) -> Exported:
    return export(
        net,
        path,
        input_hw=candidate.input_hw,
        channels=channels_of(candidate),
        classes=trip.task.dataset.outputs,
        metadata={
            "classes": "\n".join(trip.task.dataset.classes),
            "knobs": str(candidate),
            "key": candidate.key,
            "input_hw": "x".join(map(str, candidate.input_hw)),
        },
    )


def collect(trip: Trip, outcomes: Iterable[tuple[Job, Score | CandidateError]]) -> None:
    """Write down what jobs brought, then stop what can no longer matter."""
    for job, outcome in outcomes:
        if isinstance(outcome, CandidateError):
            trip.run.record("failed", job.candidate, reason=str(outcome))
            continue
        trip.run.record(
            "scored",
            job.candidate,
            score=to_json(outcome),
            checkpoint=checkpoint_path(trip.task, job).name,
        )
        if job.checkpoint and not job.decay:
            Path(job.checkpoint).unlink(missing_ok=True)  # the newer rung holds all of it
        for candidate, reason in trip.engine.stops(trip.run.evaluations, trip.pool.running):
            trip.run.record("stopped", candidate, reason=reason)
            for path in trip.task.checkpoint_dir.glob(f"{candidate.key}-*"):
                path.unlink(missing_ok=True)  # it is never continued


def confirm(trip: Trip) -> None:
    """Down the list until nothing unconfirmed could enter the front, or the budget is spent."""
    while jobs := trip.engine.finalists(trip.run.evaluations, trip.remaining_s):
        waiting = [job for job in jobs if not _decayed(trip, job)]
        for job in waiting:
            submit(trip, job)
        while trip.pool.running:
            collect(trip, trip.pool.wait(1.0))
        for job in jobs:  # timed when all of them are trained, on a quiet machine
            if trip.run.evaluations[job.candidate.key].state == "scored":
                confirm_one(trip, job)


def _decayed(trip: Trip, job: Job) -> bool:
    score = trip.run.evaluations[job.candidate.key].score("val")
    return bool(score and score.decayed) and checkpoint_path(trip.task, job).exists()


def confirm_one(trip: Trip, job: Job) -> None:
    """Promise only what the exported file, with its trained weights, does on device and val."""
    candidate, task = job.candidate, trip.task
    trip.run.announce(candidate, f"confirming {candidate}")
    val = split_arrays(task, candidate, "val")
    try:
        net = trained_network(task, job)
        exported = _export(trip, net, candidate, trip.run.artifact(candidate))
        check(exported, net, val.batch(range(min(16, len(val))))[0])
        measurement = _measure(
            trip, exported.path, MeasurePlan.confirm(trip.constraints.statistic)
        )
        maps = trip.device.predict(exported.path, val.frames())
    except CandidateError as error:
        trip.run.record("failed", candidate, reason=str(error))
        return
    trained = trip.run.evaluations[candidate.key].score("val")
    score = picture_score(
        task.dataset,
        maps,
        cache_dir=task.cache_dir,
        split="val",
        source="onnx",
        epoch=job.to_epoch,
        train_s=trained.train_s if trained else 0.0,
        seed=task.seed,
        decayed=True,
        min_iou=trip.constraints.min_iou,
    )
    sure = probability_fast(measurement, trip.constraints) * (score.p_floor or 0.0)
    holds = sure >= SURE
    trip.run.record(
        "confirmed" if holds else "struck",
        candidate,
        score=to_json(score),
        measurement=to_json(measurement),
        onnx_bytes=exported.size_bytes,
        p_feasible=sure,
        reason=None if holds else why_struck(measurement, score, trip.constraints),
    )


def read_test(trip: Trip) -> None:
    """Read test once, after the choice is made; it is reported and decides nothing."""
    task = trip.task
    if not task.dataset.splits.get("test"):
        return
    for evaluation in list(trip.run.evaluations.values()):
        promised = evaluation.score("val", source="onnx")
        if promised is None or evaluation.score("test"):
            continue
        candidate = evaluation.candidate
        frames = split_arrays(task, candidate, "test").frames()
        maps = trip.device.predict(trip.run.artifact(candidate), frames)
        score = picture_score(
            task.dataset,
            maps,
            cache_dir=task.cache_dir,
            split="test",
            source="onnx",
            epoch=promised.epoch,
            train_s=promised.train_s,
            seed=promised.seed,
            decayed=True,
        )
        trip.run.record("tested", candidate, score=to_json(score))
