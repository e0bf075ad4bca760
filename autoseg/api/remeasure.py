"""A finished run on another device: its candidates measured there, and nothing is trained."""

from __future__ import annotations

import logging
import shlex
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import takewhile
from pathlib import Path

from autoseg import data as data_room
from autoseg import device as device_room
from autoseg.api.assemble import (
    measurements_of,
    own_device,
    require_same,
    scheduler_of,
    statement,
    task_of,
    write_files,
    write_report,
)
from autoseg.api.optimize import Devices, named, stopped
from autoseg.core.errors import AutosegError, InputError
from autoseg.core.records import DeviceInfo, Evaluation, Job
from autoseg.core.serialize import from_json, to_json
from autoseg.core.signals import Stop
from autoseg.core.units import parse_duration_s
from autoseg.device import Device
from autoseg.networks.space import load_space
from autoseg.pools.local import LocalPool
from autoseg.run.confirm import confirm_one, read_test
from autoseg.run.context import RunContext
from autoseg.run.declaration import Declaration
from autoseg.run.diagnose import exhibit
from autoseg.run.ledger import fold
from autoseg.run.messages import OnEvent, call, follow
from autoseg.run.result import Result, declaration_on
from autoseg.run.screen import screen
from autoseg.run.store import Run, read_declaration
from autoseg.search.status import next_to_confirm
from autoseg.train.checkpoints import checkpoint_path
from autoseg.train.task import Task

log = logging.getLogger(__name__)


def remeasure(
    run: str | Path,
    *,
    device: Devices | Sequence[Devices],
    max_latency: str | None = None,
    accept_new_host_key: bool = False,
    on_event: OnEvent | None = None,
    on_start: Callable[[Run, Declaration], None] | None = None,
) -> Result:
    """Measure a run's candidates on another device; return that device's own Pareto front.

    `run` is its folder. Every candidate is timed untrained, then those that have trained weights
    are confirmed from the front down. The ceiling is `max_latency`, else the one that this device
    was asked for last, at first the run's. Called again after an interruption, it goes on: nothing
    is measured twice. `on_event` is called as `optimize` does, with the events of this device;
    when it returns ``"stop"``, no other candidate is timed. Raises InputError for a run that is
    not there, is being worked on, or was begun on this device; DeviceError as `optimize` does, and
    Interrupted at once on Ctrl-C or after a stop: what is confirmed by then is written as files.
    """
    folder = Path(run)
    said = read_declaration(folder)
    if max_latency is not None:
        _ceiling_s(max_latency)
    target = device_room.resolve(device, accept_new_host_key=accept_new_host_key)
    try:
        info = target.describe()
        _require_another(folder, info, own_device(said))
        task = task_of_run(folder)
        opened = Run.open(folder, info.name)
        try:
            stop = Stop()
            if on_event:
                call(opened, on_event, stop.ask)
            declaration = _asked(opened, info, max_latency)
            if on_start:
                on_start(opened, declaration)
            follow(opened, declaration)
            context = _context(opened, task, target, declaration, stop)
            try:
                return _travel(context)
            except (AutosegError, OSError, KeyboardInterrupt) as error:
                raise stopped(context, error, _again(folder, device, max_latency)) from error
        finally:
            opened.close()
    finally:
        target.close()


def _require_another(folder: Path, info: DeviceInfo, own: DeviceInfo) -> None:
    if info.name == own.name:
        raise InputError(
            f"the run {folder.name!r} was begun on {info.name} itself; to measure it on "
            "another machine of that name, give a copy of the profile with a name of its own"
        )
    if info.channel_step != own.channel_step:
        log.warning(
            "%s likes multiples of %d channels; the run's networks keep to its own step of %d",
            info.name, info.channel_step, own.channel_step,
        )  # fmt: skip


def _again(folder: Path, device: Devices | Sequence[Devices], max_latency: str | None) -> str:
    said = named(device)
    words = ["autoseg", "remeasure", str(folder)]
    for each in [said] if isinstance(said, str) else said or []:
        words += ["--device", each]
    if max_latency is not None:
        words += ["--max-latency", str(max_latency)]
    return shlex.join(words)


def task_of_run(folder: Path) -> Task:
    """The run's own task: networks are built as it built them, on the data it was given."""
    said = read_declaration(folder)
    declaration = Declaration.of({}, said)
    space = load_space(declaration.space)
    inspected = folder.parent / ".cache" / "inspected"
    dataset = data_room.load(declaration.data, declaration.reading, cache_dir=inspected)
    own = own_device(said)
    # Nothing is trained: the file of an augmentation may be gone.
    augmentation = said.get("training", {}).get("augmentation")
    require_same(said, statement(declaration, space, dataset, own, augmentation))
    return task_of(folder, declaration, space, dataset, own.channel_step)


def _context(
    run: Run, task: Task, device: Device, declaration: Declaration, stop: Stop
) -> RunContext:
    scheduler, idle = scheduler_of(task, declaration), LocalPool(task, 0)
    constraints, before = declaration.constraints, measurements_of(run.folder)
    return RunContext(run, task, constraints, scheduler, idle, device, before, stop=stop)


def _travel(context: RunContext) -> Result:
    run = context.run
    survey(context)
    confirm(context)
    if context.stop.asked:
        raise KeyboardInterrupt
    read_test(context)
    exhibit(context)
    write_files(run.folder, context.task.dataset.classes, run.on)
    run.record("finished")
    result = Result.from_run(run.folder, run.on)
    write_report(result)
    return result


def _asked(run: Run, info: DeviceInfo, max_latency: str | None) -> Declaration:
    """What is asked of this device; with another ceiling or runtime, it begins anew."""
    before = run.first("asked")
    own = Declaration.of({}, run.declaration).max_latency
    wanted = max_latency or (before["max_latency"] if before else own)
    same = (
        before is not None
        and _ceiling_s(before["max_latency"]) == _ceiling_s(wanted)
        and from_json(DeviceInfo, before["device"]).fingerprint == info.fingerprint
    )
    if not same:
        run.record("asked", max_latency=wanted, device=to_json(info))
    return declaration_on(run.on, run.declaration, run.events)


def _ceiling_s(max_latency: str) -> float:
    return parse_duration_s(str(max_latency), "--max-latency", "33ms")


def survey(context: RunContext) -> None:
    """Measure every candidate of the ledger, untrained, and say what of the space fits."""
    before = len(context.run.events)
    known = [e.candidate for e in context.run.evaluations.values()]
    screen(context, takewhile(lambda _: not context.stop.asked, known))
    if context.stop.asked:
        return
    if len(context.run.events) > before or not context.run.first("verdict"):
        context.run.record(
            "verdict", lines=list(context.scheduler.verdict(context.run.evaluations))
        )


def confirm(context: RunContext) -> None:
    """Confirm what has weights, until nothing unconfirmed could enter the front."""
    home = fold(context.run.events)
    while not context.stop.asked:
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
            return
        confirm_one(context, *able[chosen])


def _waiting(context: RunContext, here: Evaluation, home: Evaluation) -> Evaluation:
    """As it stands here; not confirmed yet where the run has promised other weights since."""
    mine, theirs = here.promised, home.promised
    if not mine or not theirs or not _promised_file(context, here).exists():
        return here
    if (mine.epoch, mine.decayed) == (theirs.epoch, theirs.decayed):
        return here
    lent = tuple(s for s in home.scores if s.source != "board")
    return replace(here, state="measured", scores=lent)


def _promised_file(context: RunContext, evaluation: Evaluation) -> Path:
    return context.run.folder / "artifacts" / f"{evaluation.candidate.key}.onnx"


def _weights(
    context: RunContext, here: Evaluation, home: Evaluation
) -> tuple[Job, Path | None] | None:
    """The job that left a candidate's best weights, and the file that was promised of them."""
    file = _promised_file(context, here)
    if home.promised and file.exists():
        epoch, decayed = home.promised.epoch, home.promised.decayed
        return Job(here.candidate, 0, epoch, decay=decayed), file
    trained = [s for s in here.scores if s.split == "val" and s.source == "torch"]
    for score in sorted(trained, key=lambda s: (s.decayed, s.epoch), reverse=True):
        job = Job(here.candidate, 0, score.epoch, decay=score.decayed)
        if checkpoint_path(context.task, job).exists():
            return job, None
    return None
