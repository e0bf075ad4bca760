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
from autoseg.core.records import (
    AutosegError,
    DeviceInfo,
    Evaluation,
    InputError,
    Job,
    from_json,
    parse_duration_s,
    to_json,
)
from autoseg.core.signals import Stop
from autoseg.device import Device
from autoseg.networks.space import load_space
from autoseg.optimize import Devices, named, stopped
from autoseg.pools.local import LocalPool
from autoseg.run.confirm import confirm_one, read_test
from autoseg.run.context import Trip
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
from autoseg.wiring import (
    engine_of,
    measurements_of,
    own_device,
    require_same,
    statement,
    task_of,
    write_files,
    write_report,
)

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
            trip = _trip(opened, task, target, declaration, stop)
            try:
                return _travel(trip)
            except (AutosegError, OSError, KeyboardInterrupt) as error:
                raise stopped(trip, error, _again(folder, device, max_latency)) from error
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
    require_same(said, statement(declaration, space, dataset, own))
    return task_of(folder, declaration, space, dataset, own.channel_step)


def _trip(run: Run, task: Task, device: Device, declaration: Declaration, stop: Stop) -> Trip:
    engine, idle = engine_of(task, declaration), LocalPool(task, 0)
    constraints, before = declaration.constraints, measurements_of(run.folder)
    return Trip(run, task, constraints, engine, idle, device, before, stop=stop)


def _travel(trip: Trip) -> Result:
    run = trip.run
    survey(trip)
    confirm(trip)
    if trip.stop.asked:
        raise KeyboardInterrupt
    read_test(trip)
    exhibit(trip)
    write_files(run.folder, trip.task.dataset.classes, run.on)
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


def survey(trip: Trip) -> None:
    """Measure every candidate of the ledger, untrained, and say what of the space fits."""
    before = len(trip.run.events)
    known = [e.candidate for e in trip.run.evaluations.values()]
    screen(trip, takewhile(lambda _: not trip.stop.asked, known))
    if trip.stop.asked:
        return
    if len(trip.run.events) > before or not trip.run.first("verdict"):
        trip.run.record("verdict", lines=list(trip.engine.verdict(trip.run.evaluations)))


def confirm(trip: Trip) -> None:
    """Confirm what has weights, until nothing unconfirmed could enter the front."""
    home = fold(trip.run.events)
    while not trip.stop.asked:
        seen = [_waiting(trip, e, home[e.candidate.key]) for e in trip.run.evaluations.values()]
        able = {
            e: found
            for e in seen
            if e.state == "measured" and (found := _weights(trip, e, home[e.candidate.key]))
        }
        chosen = next_to_confirm([*able], [*seen], trip.constraints)
        if chosen is None:
            return
        confirm_one(trip, *able[chosen])


def _waiting(trip: Trip, here: Evaluation, home: Evaluation) -> Evaluation:
    """As it stands here; not confirmed yet where the run has promised other weights since."""
    mine, theirs = here.promised, home.promised
    if not mine or not theirs or not _promised_file(trip, here).exists():
        return here
    if (mine.epoch, mine.decayed) == (theirs.epoch, theirs.decayed):
        return here
    lent = tuple(s for s in home.scores if s.source != "board")
    return replace(here, state="measured", scores=lent)


def _promised_file(trip: Trip, evaluation: Evaluation) -> Path:
    return trip.run.folder / "artifacts" / f"{evaluation.candidate.key}.onnx"


def _weights(trip: Trip, here: Evaluation, home: Evaluation) -> tuple[Job, Path | None] | None:
    """The job that left a candidate's best weights, and the file that was promised of them."""
    file = _promised_file(trip, here)
    if home.promised and file.exists():
        epoch, decayed = home.promised.epoch, home.promised.decayed
        return Job(here.candidate, 0, epoch, decay=decayed), file
    trained = [s for s in here.scores if s.split == "val" and s.source == "torch"]
    for score in sorted(trained, key=lambda s: (s.decayed, s.epoch), reverse=True):
        job = Job(here.candidate, 0, score.epoch, decay=score.decayed)
        if checkpoint_path(trip.task, job).exists():
            return job, None
    return None
