"""THE PATH of a candidate, and nothing else: survey, search, confirm, test, exhibit.

    propose -> build -> export (random weights) -> measure -> over the ceiling? record, next
      -> job by job: train -> score on val -> record -> stop it as soon as it can no longer matter
      ... budget spent -> confirm: short decay, export the TRAINED winner, measure again with many
          runs, IoU of the ONNX file itself on val; reject what does not hold
      -> read test once -> exhibit: for people, where the time of the front's models goes

Every event is in the ledger before anyone acts on it, and every step looks there first: a run
that was killed anywhere goes on here, with nothing measured or trained twice.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress

from autoseg.core.errors import AutosegError, CandidateError
from autoseg.core.feasibility import MIN_P_FEASIBLE
from autoseg.core.records import Candidate, Evaluation, Job, Score
from autoseg.core.serialize import to_json
from autoseg.core.units import clock
from autoseg.run.confirm import confirm_one, read_test
from autoseg.run.context import RunContext
from autoseg.run.diagnose import exhibit
from autoseg.run.screen import screen
from autoseg.run.store import Run
from autoseg.search.protocol import Done, Screen, Wait
from autoseg.train.checkpoints import checkpoint_path, discard, discard_start
from autoseg.train.recipe import Recipe

LOOK_EVERY_S = 5.0  # between two outlooks, or this share of the time that they look ahead
LOOK_SHARE = 1 / 200


def journey(context: RunContext, *, dry: bool = False) -> bool:
    """From nothing, or from where the ledger stops, to confirmed models; `dry` up to the plan.

    Whoever asks to stop it in the middle of the search gets what can be confirmed in two minutes,
    but one model at least. Returns whether nothing was left out for that.
    """
    survey(context)
    plan(context)
    if dry:
        return False
    with context.stop.heard(lambda: context.run.say("interrupted; Ctrl-C again to leave now")):
        search(context)
        confirm(context)
        whole = not context.stop.asked  # test is read to its end in any case
        read_test(context)
        exhibit(context)
        return whole


def survey(context: RunContext) -> None:
    """Measure a few dozen untrained networks in a tenth of the budget, and say what fits."""
    if context.run.first("verdict"):
        return
    screen(context, _in_time(context))
    context.run.record("verdict", lines=list(context.scheduler.verdict(context.run.evaluations)))


def _in_time(context: RunContext) -> Iterator[Candidate]:
    limit_s = float("inf") if context.budget_s is None else context.budget_s / 10
    for number, candidate in enumerate(context.scheduler.survey()):
        if number > 2 and context.run.spent_s > limit_s:
            return
        yield candidate


def plan(context: RunContext) -> None:
    """Say what is ahead, once for each allowance."""
    told = [e["allowance"] for e in context.run.events if e["event"] == "plan"]
    if context.allowance not in told:
        lines = context.scheduler.plan(
            context.run.evaluations, context.budget_left_s, context.run.spent_s
        )
        context.run.record("plan", allowance=context.allowance, lines=list(lines))


def search(context: RunContext) -> None:
    """Let the scheduler choose, job by job, until it is done or the finish needs the time left."""
    if context.allowance in searched(context.run):
        return
    # A kill may have come between a proposal and its timing.
    screen(
        context, [e.candidate for e in context.run.evaluations.values() if e.state == "proposed"]
    )
    while not context.stop.asked:
        if collect(context, context.pool.wait(0.0)):
            look_ahead(context)
        step = context.scheduler.propose(
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
    if context.stop.asked:
        context.run.record("interrupted")
        return
    look_ahead(context, at_end=True)
    context.run.record("searched", allowance=context.allowance)


def searched(run: Run) -> list[list[float | None]]:
    """The allowances that searches have used."""
    return [e["allowance"] for e in run.events if e["event"] == "searched"]


def look_ahead(context: RunContext, *, at_end: bool = False) -> None:
    """Write down now and then where the search stands, and what going on is expected to add.

    It looks as far as the budget goes; without one, and at the end, as far as the run has come.
    """
    run = context.run
    ahead_s = run.spent_s if at_end or context.budget_left_s is None else context.budget_left_s
    last_s = next((e["spent_s"] for e in reversed(run.events) if e["event"] == "outlook"), 0.0)
    soon = run.spent_s - last_s < max(LOOK_EVERY_S, LOOK_SHARE * ahead_s)
    if context.stop.asked or (soon and not at_end):
        return
    if outlook := context.scheduler.outlook(
        run.evaluations, context.pool.running, max(ahead_s, 1.0)
    ):
        run.record("outlook", **to_json(outlook))


def submit(context: RunContext, job: Job) -> None:
    """Hand a job to the pool, and say so."""
    kind = "decaying" if job.decay else "training"
    context.run.announce(job.candidate, f"{kind} {job.candidate} to epoch {job.to_epoch}")
    context.pool.submit(job)


def collect(context: RunContext, outcomes: Iterable[tuple[Job, Score | CandidateError]]) -> bool:
    """Write down what jobs brought, if anything, then stop what can no longer matter."""
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
    """Down the list until nothing unconfirmed could enter the front, or the budget is spent."""
    while True:
        hurried = context.stop.asked  # before the choice: who asks after it has it made again
        jobs = context.scheduler.finalists(context.run.evaluations, context.remaining_s)
        if not jobs:
            return
        if hurried:
            about = clock(context.scheduler.finish_s(context.run.evaluations, jobs))
            context.run.say(
                f"finishing: {len(jobs)} model(s), about {about}; Ctrl-C again to leave now"
            )
        waiting = [job for job in jobs if not _decayed(context, job)]
        for job in waiting:
            submit(context, job)
        while context.pool.running and context.stop.asked == hurried:
            collect(context, context.pool.wait(1.0))
        context.pool.cancel()  # somebody asks to stop: fewer of them are chosen
        for job in jobs:  # timed when all of them are trained, on a quiet machine
            state = context.run.evaluations[job.candidate.key].state
            if state == "scored" and context.stop.asked == hurried:
                confirm_one(context, job)


def _decayed(context: RunContext, job: Job) -> bool:
    score = context.run.evaluations[job.candidate.key].score("val")
    return bool(score and score.decayed) and checkpoint_path(context.task, job).exists()


def reopen(run: Run, recipe: Recipe, allowance: list[float | None]) -> int:
    """Let what was rejected for its IoU be trained further; returns how many these are.

    All that were, where the search gets more than ever; else what an interrupted one has rejected
    early. What is at the top rung, or was rejected for its latency, no training fixes.
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
    early = dict.fromkeys(e["key"] for e in run.events[since:] if e["event"] == "rejected")
    able = [e for key in early if _mendable(e := run.evaluations[key], recipe)]
    for evaluation in able:
        run.record("reopened", evaluation.candidate)
    if able:
        run.say(f"{len(able)} model(s) that were rejected for their IoU may be trained further")
    return len(able)


def _exceeds(allowance: list[float | None], used: list[float | None]) -> bool:
    """Whether more time or more trials are allowed than were used; None is no limit."""
    pairs = zip(allowance, used, strict=True)
    return any(was is not None and (now is None or now > was) for now, was in pairs)


def _mendable(evaluation: Evaluation, recipe: Recipe) -> bool:
    promised, trained = evaluation.promised, evaluation.score(source="torch", decayed=False)
    short = trained is not None and trained.epoch < recipe.rungs[-1]
    unsure = promised is not None and (promised.p_floor or 0) < MIN_P_FEASIBLE
    return evaluation.state == "rejected" and short and unsure


def rescue(context: RunContext) -> None:
    """Write down what jobs have brought by now: the run stops, and they are paid for."""
    with suppress(AutosegError):  # another one stops it already
        while outcomes := list(context.pool.wait(0.0)):
            collect(context, outcomes)
