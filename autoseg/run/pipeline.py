"""THE PATH of a candidate, and nothing else: survey, search, confirm, test, exhibit.

    propose -> build -> export (random weights) -> measure -> over the ceiling? record, next
      -> job by job: train -> score on val -> record -> stop it as soon as it can no longer matter
      ... budget spent -> confirm: short decay, export the TRAINED winner, measure again with many
          runs, IoU of the ONNX file itself on val; strike out what does not hold
      -> read test once -> exhibit: for people, where the time of the front's models goes

Every event is in the ledger before anyone acts on it, and every step looks there first: a run
that was killed anywhere goes on here, with nothing measured or trained twice.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from autoseg.core.feasibility import SURE
from autoseg.core.records import (
    AutosegError,
    Candidate,
    CandidateError,
    Evaluation,
    Job,
    Score,
    clock,
    to_json,
)
from autoseg.run.confirm import confirm_one, read_test
from autoseg.run.context import Trip
from autoseg.run.diagnose import exhibit
from autoseg.run.screen import screen
from autoseg.run.store import Run
from autoseg.search.protocol import Done, Screen, Wait
from autoseg.train.checkpoints import checkpoint_path
from autoseg.train.recipe import Recipe

LOOK_EVERY_S = 5.0  # between two outlooks, or this share of the time that they look ahead
LOOK_SHARE = 1 / 200


def journey(trip: Trip, *, dry: bool = False) -> bool:
    """From nothing, or from where the ledger stops, to confirmed models; `dry` up to the plan.

    Whoever asks to stop it in the middle of the search gets what can be confirmed in two minutes,
    but one model at least. Returns whether nothing was left out for that.
    """
    survey(trip)
    plan(trip)
    if dry:
        return False
    with trip.stop.heard(lambda: trip.run.say("interrupted; Ctrl-C again to leave now")):
        search(trip)
        confirm(trip)
        whole = not trip.stop.asked  # test is read to its end in any case
        read_test(trip)
        exhibit(trip)
        return whole


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


def plan(trip: Trip) -> None:
    """Say what is ahead, once for each allowance."""
    told = [e["allowance"] for e in trip.run.events if e["event"] == "plan"]
    if trip.allowance not in told:
        lines = trip.engine.plan(trip.run.evaluations, trip.budget_left_s, trip.run.spent_s)
        trip.run.record("plan", allowance=trip.allowance, lines=list(lines))


def search(trip: Trip) -> None:
    """Let the engine choose, job by job, until it is done or the finish needs the time left."""
    if trip.allowance in searched(trip.run):
        return
    # A kill may have come between a proposal and its timing.
    screen(trip, [e.candidate for e in trip.run.evaluations.values() if e.state == "proposed"])
    while not trip.stop.asked:
        if collect(trip, trip.pool.wait(0.0)):
            look_ahead(trip)
        step = trip.engine.propose(trip.run.evaluations, trip.pool.running, trip.remaining_s)
        match step:
            case Screen(candidate):
                screen(trip, [candidate])
            case Job():
                submit(trip, step)
            case Wait():
                if collect(trip, trip.pool.wait(1.0)):
                    look_ahead(trip)
            case Done():
                break
    collect(trip, trip.pool.wait(0.0))
    trip.pool.cancel()
    if trip.stop.asked:
        trip.run.record("interrupted")
        return
    look_ahead(trip, at_end=True)
    trip.run.record("searched", allowance=trip.allowance)


def searched(run: Run) -> list[list[float | None]]:
    """The allowances that searches have used."""
    return [e["allowance"] for e in run.events if e["event"] == "searched"]


def look_ahead(trip: Trip, *, at_end: bool = False) -> None:
    """Write down now and then where the search stands, and what going on is expected to add.

    It looks as far as the budget goes; without one, and at the end, as far as the run has come.
    """
    run = trip.run
    ahead_s = run.spent_s if at_end or trip.budget_left_s is None else trip.budget_left_s
    last_s = next((e["spent_s"] for e in reversed(run.events) if e["event"] == "outlook"), 0.0)
    soon = run.spent_s - last_s < max(LOOK_EVERY_S, LOOK_SHARE * ahead_s)
    if trip.stop.asked or (soon and not at_end):
        return
    if outlook := trip.engine.outlook(run.evaluations, trip.pool.running, max(ahead_s, 1.0)):
        run.record("outlook", **to_json(outlook))


def submit(trip: Trip, job: Job) -> None:
    """Hand a job to the pool, and say so."""
    kind = "decaying" if job.decay else "training"
    trip.run.announce(job.candidate, f"{kind} {job.candidate} to epoch {job.to_epoch}")
    trip.pool.submit(job)


def collect(trip: Trip, outcomes: Iterable[tuple[Job, Score | CandidateError]]) -> bool:
    """Write down what jobs brought, if anything, then stop what can no longer matter."""
    job = None
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
    return job is not None


def confirm(trip: Trip) -> None:
    """Down the list until nothing unconfirmed could enter the front, or the budget is spent."""
    while True:
        hurried = trip.stop.asked  # before the choice: who asks after it has it made again
        jobs = trip.engine.finalists(trip.run.evaluations, trip.remaining_s)
        if not jobs:
            return
        if hurried:
            about = clock(trip.engine.finish_s(trip.run.evaluations, jobs))
            trip.run.say(
                f"finishing: {len(jobs)} model(s), about {about}; Ctrl-C again to leave now"
            )
        waiting = [job for job in jobs if not _decayed(trip, job)]
        for job in waiting:
            submit(trip, job)
        while trip.pool.running and trip.stop.asked == hurried:
            collect(trip, trip.pool.wait(1.0))
        trip.pool.cancel()  # somebody asks to stop: fewer of them are chosen
        for job in jobs:  # timed when all of them are trained, on a quiet machine
            state = trip.run.evaluations[job.candidate.key].state
            if state == "scored" and trip.stop.asked == hurried:
                confirm_one(trip, job)


def _decayed(trip: Trip, job: Job) -> bool:
    score = trip.run.evaluations[job.candidate.key].score("val")
    return bool(score and score.decayed) and checkpoint_path(trip.task, job).exists()


def reopen(run: Run, recipe: Recipe, allowance: list[float | None]) -> int:
    """Let what was struck for its IoU be trained further; returns how many these are.

    All that were, where the search gets more than ever; else what an interrupted one has struck
    early. What is at the top rung, or was struck for its latency, no training mends.
    """
    marks = [i for i, e in enumerate(run.events) if e["event"] in ("searched", "interrupted")]
    told = searched(run)
    if not marks or allowance in told:
        return 0
    if all(_exceeds(allowance, used) for used in told):
        since = 0
    elif run.events[marks[-1]]["event"] == "interrupted":
        since = marks[-1]
    else:
        return 0
    early = dict.fromkeys(e["key"] for e in run.events[since:] if e["event"] == "struck")
    able = [e for key in early if _mendable(e := run.evaluations[key], recipe)]
    for evaluation in able:
        run.record("reopened", evaluation.candidate)
    return len(able)


def _exceeds(allowance: list[float | None], used: list[float | None]) -> bool:
    """Whether more time or more trials are allowed than were used; None is no limit."""
    pairs = zip(allowance, used, strict=True)
    return any(was is not None and (now is None or now > was) for now, was in pairs)


def _mendable(evaluation: Evaluation, recipe: Recipe) -> bool:
    promised, trained = evaluation.promised, evaluation.score(source="torch", decayed=False)
    short = trained is not None and trained.epoch < recipe.rungs[-1]
    unsure = promised is not None and (promised.p_floor or 0) < SURE
    return evaluation.state == "struck" and short and unsure


def rescue(trip: Trip) -> None:
    """Write down what jobs have brought by now: the run stops, and they are paid for."""
    with suppress(AutosegError):  # another one stops it already
        while outcomes := list(trip.pool.wait(0.0)):
            collect(trip, outcomes)
