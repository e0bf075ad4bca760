"""The path of a run's candidates on another device: screen, confirm, test, diagnose; no training.

It uses the candidates and the weights of the run. Its own events are in the same ledger.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import takewhile
from pathlib import Path

from autoseg.core.records import DeviceInfo, Evaluation, Job
from autoseg.core.serialize import from_json, to_json
from autoseg.run.confirm import confirm_one, read_test, retake_unusable
from autoseg.run.context import RunContext
from autoseg.run.declaration import Declaration, option_s
from autoseg.run.diagnose import diagnose
from autoseg.run.ledger import fold
from autoseg.run.result import declaration_for
from autoseg.run.screen import screen
from autoseg.run.store import Run
from autoseg.search.status import next_to_confirm
from autoseg.train.checkpoints import is_saved


def request_remeasure(run: Run, info: DeviceInfo, max_latency: str | None) -> Declaration:
    """The declaration for this device; another ceiling or runtime starts its measuring again."""
    before = run.first("remeasure_requested")
    own = Declaration.from_yaml(run.declaration).max_latency
    wanted = max_latency or (before["max_latency"] if before else own)
    same = (
        before is not None
        and option_s("max_latency", before["max_latency"]) == option_s("max_latency", wanted)
        and from_json(DeviceInfo, before["device"]).fingerprint == info.fingerprint
    )
    if not same:
        run.record("remeasure_requested", max_latency=wanted, device=to_json(info))
    return declaration_for(run.declaration, run.first("remeasure_requested"))


def run_on_device(context: RunContext) -> bool:
    """The whole path; returns False where it was stopped before its end."""
    survey(context)
    confirm(context)
    if context.stop.requested:
        return False
    read_test(context)
    diagnose(context)
    return True


def survey(context: RunContext) -> None:
    """Measure every candidate of the ledger, untrained, and record the verdict."""
    before = len(context.run.events)
    known = [e.candidate for e in context.run.evaluations.values()]
    screen(context, takewhile(lambda _: not context.stop.requested, known))
    if context.stop.requested:
        return
    if len(context.run.events) > before or not context.run.first("verdict"):
        context.run.record(
            "verdict", lines=list(context.scheduler.verdict(context.run.evaluations))
        )


def confirm(context: RunContext) -> None:
    """Confirm candidates with weights, until no unconfirmed one could enter the front."""
    home = fold(context.run.events)
    while not context.stop.requested:
        seen = [
            _waiting(context, e, home[e.candidate.key]) for e in context.run.evaluations.values()
        ]
        able = {
            e: found
            for e in seen
            if e.state == "measured" and (found := _weights(context, e, home[e.candidate.key]))
        }
        chosen = next_to_confirm([*able], [*seen], context.constraints)
        if chosen is None:
            retake_unusable(context)
            return
        confirm_one(context, *able[chosen])


def _waiting(context: RunContext, here: Evaluation, home: Evaluation) -> Evaluation:
    """The evaluation here; not confirmed yet where the run has confirmed other weights since."""
    mine, theirs = here.promised, home.promised
    if not mine or not theirs or not _confirmed_file(context, here).exists():
        return here
    if (mine.epoch, mine.decayed) == (theirs.epoch, theirs.decayed):
        return here
    shared = tuple(s for s in home.scores if s.source != "board")
    return replace(here, state="measured", scores=shared)


def _confirmed_file(context: RunContext, evaluation: Evaluation) -> Path:
    return context.run.folder / "artifacts" / f"{evaluation.candidate.key}.onnx"


def _weights(
    context: RunContext, here: Evaluation, home: Evaluation
) -> tuple[Job, Path | None] | None:
    """The job that made a candidate's best weights, and the file that was confirmed of them."""
    file = _confirmed_file(context, here)
    if home.promised and file.exists():
        epoch, decayed = home.promised.epoch, home.promised.decayed
        return Job(here.candidate, 0, epoch, decay=decayed), file
    trained = [s for s in here.scores if s.split == "val" and s.source == "torch"]
    for score in sorted(trained, key=lambda s: (s.decayed, s.epoch), reverse=True):
        job = Job(here.candidate, 0, score.epoch, decay=score.decayed)
        if is_saved(context.task, job):
            return job, None
    return None
