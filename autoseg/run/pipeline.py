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

import time
from collections.abc import Iterable, Sequence
from contextlib import suppress

from autoseg.core.diagnostics import write_sheet
from autoseg.core.errors import AutosegError, CandidateError
from autoseg.core.records import Job
from autoseg.core.serialize import to_json
from autoseg.core.units import clock
from autoseg.pools.protocol import Outcome
from autoseg.run.confirm import confirm_one, read_test, retake_unusable
from autoseg.run.context import RunContext
from autoseg.run.diagnose import diagnose
from autoseg.run.reopen import searched
from autoseg.run.screen import Screening, screen
from autoseg.run.survey import Survey
from autoseg.search.plan import budget_line
from autoseg.search.protocol import Done, Screen, Step, Wait
from autoseg.train.checkpoints import checkpoint_name, discard, discard_start, is_saved

LOOK_EVERY_S = 5.0  # between two outlooks, or this share of the time that they look ahead
LOOK_SHARE = 1 / 200
LOOK_AT_BOARD_S = 0.2  # how long to wait for a board before looking at the trainings again


def run_pipeline(context: RunContext, *, dry: bool = False) -> bool:
    """From nothing, or from the end of the ledger, to confirmed models; `dry` up to the plan.

    After a stop request during the search, the models that can be confirmed in two minutes are
    confirmed, at least one. Returns False where that left out any work.
    """
    record_changes(context)
    survey(context, whole=dry or not context.trains_beside_survey)
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


def survey(context: RunContext, *, whole: bool) -> None:
    """Measure a few untrained networks before any training, and record the verdict."""
    if context.run.first("verdict"):
        return
    first = Survey(context, "tenth" if whole else "first")
    screen(context, first.candidates())
    record_verdict(context, first)


def record_verdict(context: RunContext, of: Survey) -> None:
    """Record what fits, and whether more of the survey is to be measured."""
    lines = [*context.scheduler.verdict(context.run.evaluations), of.ended]
    context.run.record("verdict", lines=lines, surveying=of.part == "first")


def plan(context: RunContext) -> None:
    """Record what the budget is expected to bring, once for each allowance."""
    run, left_s = context.run, context.budget_left_s
    planned = [e["allowance"] for e in run.events if e["event"] == "plan"]
    if context.allowance not in planned:
        found = context.scheduler.plan(run.evaluations, left_s, run.spent_s, resumed=run.resumed)
        facts = to_json(found)
        run.record("plan", allowance=context.allowance, **facts)
    elif run.resumed and left_s is not None:
        run.notify(budget_line(left_s, run.spent_s))


def search(context: RunContext) -> None:
    """Run the scheduler's steps until it is done or the rest of the time is needed to confirm."""
    if context.allowance in searched(context.run):
        return
    # The run may have been killed between a proposal and its measurement.
    screen(
        context, [e.candidate for e in context.run.evaluations.values() if e.state == "proposed"]
    )
    with Screening(context, beside=context.trains_beside_survey) as screening:
        survey = _rest_of_survey(context)
        while not context.stop.requested and _step(context, screening, survey):
            _end_survey(context, survey, screening)
        screening.record_all()
        if not context.stop.requested:
            survey.ended = survey.ended or "the search ended before the survey"
            _end_survey(context, survey, screening)
    collect(context, context.pool.wait(0.0))
    context.pool.cancel()
    if context.stop.requested:
        context.run.record("interrupted")
        return
    look_ahead(context, at_end=True)
    context.run.record("searched", allowance=context.allowance)


def _step(context: RunContext, screening: Screening, survey: Survey) -> bool:
    """Record what has ended, and begin what the scheduler says; False at the end of the search."""
    screening.record_done()
    if collect(context, context.pool.wait(0.0)):
        look_ahead(context)
    step = next_step(context, measuring=not screening.ready)
    if isinstance(step, Screen):
        screening.begin(step.candidate)
        if not context.trains_beside_survey:
            screening.record_all()
    elif isinstance(step, Job):
        submit(context, step)
    elif isinstance(step, Done) and screening.idle:
        return False
    elif isinstance(step, Wait) and screening.ready and (candidate := survey.next()):
        screening.begin(candidate)
    elif not screening.idle:
        screening.record_done(LOOK_AT_BOARD_S)
    elif collect(context, context.pool.wait(1.0)):
        look_ahead(context)
    return True


def _rest_of_survey(context: RunContext) -> Survey:
    """What a board elsewhere measures beside the search; nothing where the survey has ended."""
    last = next((e for e in reversed(context.run.events) if e["event"] == "verdict"), {})
    going_on = context.trains_beside_survey and last.get("surveying")
    return Survey(context, "rest" if going_on else "none")


def _end_survey(context: RunContext, survey: Survey, screening: Screening) -> None:
    """Record the verdict again when all of the survey is measured."""
    if survey.part == "rest" and survey.ended and screening.idle:
        record_verdict(context, survey)
        survey.part = "none"


def next_step(context: RunContext, *, measuring: bool = False) -> Step:
    return context.scheduler.next_step(
        context.run.evaluations, context.pool.running, context.remaining_s, measuring=measuring
    )


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
    context.submitted_at[job.id] = time.monotonic()
    context.pool.submit(job)


def record_changes(context: RunContext) -> None:
    """Record what has happened to the pool's slots."""
    for text in context.pool.changes():
        context.run.record("pool", text=text)


def collect(context: RunContext, outcomes: Iterable[Outcome]) -> bool:
    """Record the outcomes of jobs, then stop candidates that cannot reach the front."""
    record_changes(context)
    job = None
    for job, outcome in outcomes:
        if isinstance(outcome, CandidateError):
            context.run.record("failed", job.candidate, reason=str(outcome))
            continue
        # First: listeners to the event show it.
        write_sheet(context.run.place, job.candidate.key, outcome.sheet)
        context.run.record(
            "scored",
            job.candidate,
            score=to_json(outcome.score),
            checkpoint=checkpoint_name(job),
            **_took(context, job),
        )
        discard_start(context.task, job)
        for candidate, reason in context.scheduler.stops(
            context.run.evaluations, context.pool.running
        ):
            context.run.record("stopped", candidate, reason=reason)
            discard(context.task, candidate)
    return job is not None


def _took(context: RunContext, job: Job) -> dict[str, float]:
    """Seconds from the job's submission until now, where this session has submitted it."""
    at = context.submitted_at.pop(job.id, None)
    return {} if at is None else {"took_s": round(time.monotonic() - at, 3)}


def confirm(context: RunContext) -> None:
    """Confirm finalists until no other could enter the front, or the budget is spent."""
    while True:
        hurried = context.stop.requested  # read first: a request during the choice repeats it
        jobs = context.scheduler.finalists(context.run.evaluations, context.remaining_s)
        if not jobs:
            retake_unusable(context)
            return
        _announce(context, jobs, hurried=hurried)
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


def _announce(context: RunContext, jobs: Sequence[Job], *, hurried: bool) -> None:
    """Say what is finished after a stop request, or beyond the budget."""
    about_s, left_s = (
        context.scheduler.finish_s(context.run.evaluations, jobs),
        context.remaining_s,
    )
    if hurried:
        context.run.notify(
            f"finishing: {len(jobs)} model(s), about {clock(about_s)}; Ctrl-C again to leave now"
        )
    elif left_s is not None and about_s > left_s:
        context.run.notify(
            "the budget ends before a model is finished; without one there would be no result, so "
            f"the shortest is finished, about {clock(about_s - left_s)} beyond the budget"
        )


def _decayed(context: RunContext, job: Job) -> bool:
    score = context.run.evaluations[job.candidate.key].score("val")
    return bool(score and score.decayed) and is_saved(context.task, job)


def rescue(context: RunContext) -> None:
    """Record the jobs that have ended, before the run stops: their time is spent."""
    with suppress(AutosegError):  # another error stops the run already
        while outcomes := list(context.pool.wait(0.0)):
            collect(context, outcomes)
