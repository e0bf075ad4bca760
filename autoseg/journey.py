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

from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from autoseg.confirming import confirm_one, read_test
from autoseg.records import AutosegError, Candidate, CandidateError, Job, Score, to_json
from autoseg.screening import screen
from autoseg.seams import Done, Screen, Wait
from autoseg.train import checkpoint_path
from autoseg.trip import Trip


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
    screen(trip, _in_time(trip))
    trip.run.record("verdict", lines=list(trip.engine.verdict(trip.run.evaluations)))


def _in_time(trip: Trip) -> Iterator[Candidate]:
    limit_s = float("inf") if trip.budget_s is None else trip.budget_s / 10
    for number, candidate in enumerate(trip.engine.survey()):
        if number > 2 and trip.run.spent_s > limit_s:
            return
        yield candidate


def search(trip: Trip) -> None:
    """Let the engine choose, job by job, until it is done or the finish needs the time left."""
    if trip.allowance in [e["allowance"] for e in trip.run.events if e["event"] == "searched"]:
        return
    # A kill may have come between a proposal and its timing.
    screen(trip, [e.candidate for e in trip.run.evaluations.values() if e.state == "proposed"])
    while True:
        collect(trip, trip.pool.wait(0.0))
        step = trip.engine.propose(trip.run.evaluations, trip.pool.running, trip.remaining_s)
        match step:
            case Screen(candidate):
                screen(trip, [candidate])
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


def rescue(trip: Trip) -> None:
    """Write down what jobs have brought by now: the run stops, and they are paid for."""
    with suppress(AutosegError):  # another one stops it already
        while outcomes := list(trip.pool.wait(0.0)):
            collect(trip, outcomes)
