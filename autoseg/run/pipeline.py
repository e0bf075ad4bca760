"""The path of a candidate: survey, search, confirm, test, diagnose.

    propose -> build -> export (random weights) -> measure -> over the ceiling? record, next
      -> job by job: train -> score on val -> record -> stop candidates that cannot reach the front
      ... budget spent -> confirm: short decay, export the TRAINED winner, measure again with many
          runs, IoU of the ONNX file itself on val; reject what does not hold
      -> read test once -> diagnose: profile the models of the front, for reporting only

Every event is in the ledger before any step acts on it, and every step reads the ledger first: a
run that was killed at any point continues here, and measures and trains nothing twice.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress

from autoseg.core.errors import AutosegError, CandidateError
from autoseg.core.records import Candidate, Job, Score
from autoseg.core.serialize import to_json
from autoseg.core.units import clock
from autoseg.run.confirm import confirm_one, read_test, retake_unusable
from autoseg.run.context import RunContext
from autoseg.run.diagnose import diagnose
from autoseg.run.reopen import searched
from autoseg.run.screen import screen
from autoseg.search.protocol import Done, Screen, Wait
from autoseg.train.checkpoints import checkpoint_path, discard, discard_start, is_saved

LOOK_EVERY_S = 5.0  # between two outlooks, or this share of the time that they look ahead
LOOK_SHARE = 1 / 200


def run_pipeline(context: RunContext, *, dry: bool = False) -> bool:
    """From nothing, or from the end of the ledger, to confirmed models; `dry` up to the plan.

    After a stop request during the search, the models that can be confirmed in two minutes are
    confirmed, at least one. Returns False where that left out any work.
    """
    survey(context)
    plan(context)
    if dry:
        return False
    with context.stop.signals_handled(
        lambda: context.run.notify("interrupted; Ctrl-C again to leave now")
    ):
        search(context)
        confirm(context)
        complete = not context.stop.requested  # test is read to its end in any case
        read_test(context)
        diagnose(context)
        return complete


def survey(context: RunContext) -> None:
    """Measure a few dozen untrained networks in a tenth of the budget; record the verdict."""
    if context.run.first("verdict"):
        return
    screen(context, _in_time(context))
    lines = context.scheduler.verdict(context.run.evaluations)
    context.run.record("verdict", lines=list(lines))


def _in_time(context: RunContext) -> Iterator[Candidate]:
    limit_s = float("inf") if context.budget_s is None else context.budget_s / 10
    for number, candidate in enumerate(context.scheduler.survey()):
        if number > 2 and context.run.spent_s > limit_s:
            return
        yield candidate


def plan(context: RunContext) -> None:
    """Record what the budget pays for, once for each allowance."""
    planned = [e["allowance"] for e in context.run.events if e["event"] == "plan"]
    if context.allowance not in planned:
        lines = context.scheduler.plan(
            context.run.evaluations, context.budget_left_s, context.run.spent_s
        )
        context.run.record("plan", allowance=context.allowance, lines=list(lines))


def search(context: RunContext) -> None:
    """Run the scheduler's steps until it is done or the rest of the time is needed to confirm."""
    if context.allowance in searched(context.run):
        return
    # The run may have been killed between a proposal and its measurement.
    screen(
        context, [e.candidate for e in context.run.evaluations.values() if e.state == "proposed"]
    )
    while not context.stop.requested:
        if collect(context, context.pool.wait(0.0)):
            look_ahead(context)
        step = context.scheduler.next_step(
            context.run.evaluations, context.pool.running, context.remaining_s
        )
        match step:
            case Screen(candidate):
                screen(context, [candidate])
            case Job():
                submit(context, step)
            case Wait():
                if collect(context, context.pool.wait(1.0)):
                    look_ahead(context)
            case Done():
                break
    collect(context, context.pool.wait(0.0))
    context.pool.cancel()
    if context.stop.requested:
        context.run.record("interrupted")
        return
    look_ahead(context, at_end=True)
    context.run.record("searched", allowance=context.allowance)


def look_ahead(context: RunContext, *, at_end: bool = False) -> None:
    """Record now and then the expected gain of continuing the search (an outlook).

    Its horizon is the rest of the budget; without one, and at the end, the time spent so far.
    """
    run = context.run
    ahead_s = run.spent_s if at_end or context.budget_left_s is None else context.budget_left_s
    last_s = next((e["spent_s"] for e in reversed(run.events) if e["event"] == "outlook"), 0.0)
    soon = run.spent_s - last_s < max(LOOK_EVERY_S, LOOK_SHARE * ahead_s)
    if context.stop.requested or (soon and not at_end):
        return
    if outlook := context.scheduler.outlook(run.evaluations, max(ahead_s, 1.0)):
        run.record("outlook", **to_json(outlook))


def submit(context: RunContext, job: Job) -> None:
    kind = "decaying" if job.decay else "training"
    context.run.report_activity(job.candidate, f"{kind} {job.candidate} to epoch {job.to_epoch}")
    context.pool.submit(job)


def collect(context: RunContext, outcomes: Iterable[tuple[Job, Score | CandidateError]]) -> bool:
    """Record the outcomes of jobs, then stop candidates that cannot reach the front."""
    job = None
    for job, outcome in outcomes:
        if isinstance(outcome, CandidateError):
            context.run.record("failed", job.candidate, reason=str(outcome))
            continue
        context.run.record(
            "scored",
            job.candidate,
            score=to_json(outcome),
            checkpoint=checkpoint_path(context.task, job).name,
        )
        discard_start(context.task, job)
        for candidate, reason in context.scheduler.stops(
            context.run.evaluations, context.pool.running
        ):
            context.run.record("stopped", candidate, reason=reason)
            discard(context.task, candidate)
    return job is not None


def confirm(context: RunContext) -> None:
    """Confirm finalists until no other could enter the front, or the budget is spent."""
    while True:
        hurried = context.stop.requested  # read first: a request during the choice repeats it
        jobs = context.scheduler.finalists(context.run.evaluations, context.remaining_s)
        if not jobs:
            retake_unusable(context)
            return
        if hurried:
            about = clock(context.scheduler.finish_s(context.run.evaluations, jobs))
            context.run.notify(
                f"finishing: {len(jobs)} model(s), about {about}; Ctrl-C again to leave now"
            )
        waiting = [job for job in jobs if not _decayed(context, job)]
        for job in waiting:
            submit(context, job)
        while context.pool.running and context.stop.requested == hurried:
            collect(context, context.pool.wait(1.0))
        context.pool.cancel()  # jobs are left only after a stop request: fewer finalists follow
        for job in jobs:  # measured after all are trained, on a quiet machine
            state = context.run.evaluations[job.candidate.key].state
            if state == "scored" and context.stop.requested == hurried:
                confirm_one(context, job)


def _decayed(context: RunContext, job: Job) -> bool:
    score = context.run.evaluations[job.candidate.key].score("val")
    return bool(score and score.decayed) and is_saved(context.task, job)


def rescue(context: RunContext) -> None:
    """Record the jobs that have ended, before the run stops: their time is spent."""
    with suppress(AutosegError):  # another error stops the run already
        while outcomes := list(context.pool.wait(0.0)):
            collect(context, outcomes)
