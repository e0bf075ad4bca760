"""A finished run on another device: its candidates measured there, and nothing is trained."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from pathlib import Path

from autoseg import data as data_room
from autoseg import device as device_room
from autoseg.confirming import confirm_one, read_test
from autoseg.declaration import Declaration
from autoseg.device import Device
from autoseg.optimize import Devices, Interrupted, named
from autoseg.pools.local import LocalPool
from autoseg.records import (
    DeviceError,
    DeviceInfo,
    Evaluation,
    InputError,
    Job,
    from_json,
    parse_duration_s,
    to_json,
)
from autoseg.result import Result, declaration_on
from autoseg.screening import screen
from autoseg.search.standing import next_to_confirm
from autoseg.space import load_space
from autoseg.store import Run, fold, read_declaration
from autoseg.train import Task, checkpoint_path
from autoseg.trip import Trip
from autoseg.wiring import (
    engine_of,
    measurements_of,
    own_device,
    require_same,
    statement,
    task_of,
    write_files,
)


def remeasure(
    run: str | Path,
    *,
    device: Devices | Sequence[Devices],
    max_latency: str | None = None,
    accept_new_host_key: bool = False,
    on_start: Callable[[Run, Declaration], None] | None = None,
) -> Result:
    """Measure a run's candidates on another device; return that device's own Pareto front.

    `run` is its folder. Every candidate is timed untrained, then those that have trained weights
    are confirmed from the front down. The ceiling is the run's unless `max_latency` gives this
    device another one. Called again after an interruption, it goes on: nothing is measured twice.
    Raises InputError for a run that is not there, is being worked on, or was begun on this device;
    DeviceError and Interrupted as `optimize` does.
    """
    folder = Path(run)
    said = read_declaration(folder)
    if max_latency is not None:
        parse_duration_s(str(max_latency), "--max-latency", "33ms")
    target = device_room.resolve(device, accept_new_host_key=accept_new_host_key)
    try:
        info = target.describe()
        if info.name == own_device(said).name:
            raise InputError(
                f"the run {folder.name!r} was begun on {info.name} itself; to measure it on "
                "another machine of that name, give a copy of the profile with a name of its own"
            )
        task = task_of_run(folder)
        opened = Run.open(folder, info.name)
        try:
            return _travel(opened, task, target, max_latency, on_start)
        except DeviceError as error:
            raise DeviceError(f"{error}; to go on: {_again(folder, device)}") from error
        except KeyboardInterrupt as error:
            write_files(folder, task.dataset.classes, info.name)
            raise Interrupted(f"interrupted; to go on: {_again(folder, device)}") from error
        finally:
            opened.close()
    finally:
        target.close()


def _again(folder: Path, device: Devices | Sequence[Devices]) -> str:
    said = named(device)
    each = [said] if isinstance(said, str) else said or []
    return shlex.join(
        ["autoseg", "remeasure", str(folder), *(w for d in each for w in ("--device", d))]
    )


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


def _travel(
    run: Run,
    task: Task,
    device: Device,
    max_latency: str | None,
    on_start: Callable[[Run, Declaration], None] | None,
) -> Result:
    declaration = _asked(run, device.describe(), max_latency)
    idle = LocalPool(task, 0)
    trip = Trip(
        run,
        task,
        declaration.constraints,
        engine_of(task, declaration),
        idle,
        device,
        measurements_of(run.folder),
    )
    if on_start:
        on_start(run, declaration)
    survey(trip)
    confirm(trip)
    read_test(trip)
    write_files(run.folder, task.dataset.classes, run.on)
    run.record("finished")
    return Result.from_run(run.folder, run.on)


def _asked(run: Run, info: DeviceInfo, max_latency: str | None) -> Declaration:
    """What is asked of this device; with another ceiling or runtime, it begins anew."""
    before = run.first("asked")
    own = Declaration.of({}, run.declaration).max_latency
    wanted = max_latency or (before["max_latency"] if before else own)
    same = (
        before is not None
        and before["max_latency"] == wanted
        and from_json(DeviceInfo, before["device"]).fingerprint == info.fingerprint
    )
    if not same:
        run.record("asked", max_latency=wanted, device=to_json(info))
    return declaration_on(run.on, run.declaration, run.events)


def survey(trip: Trip) -> None:
    """Measure every candidate of the ledger, untrained, and say what of the space fits."""
    before = len(trip.run.events)
    screen(trip, [e.candidate for e in trip.run.evaluations.values()])
    if len(trip.run.events) > before or not trip.run.first("verdict"):
        trip.run.record("verdict", lines=list(trip.engine.verdict(trip.run.evaluations)))


def confirm(trip: Trip) -> None:
    """Confirm what has weights, until nothing unconfirmed could enter the front."""
    home = fold(trip.run.events)
    while True:
        seen = trip.run.evaluations.values()
        waiting = [e for e in seen if e.state == "measured"]
        able = {e: found for e in waiting if (found := _weights(trip, e, home[e.candidate.key]))}
        chosen = next_to_confirm([*able], [*seen], trip.constraints)
        if chosen is None:
            return
        confirm_one(trip, *able[chosen])


def _weights(trip: Trip, here: Evaluation, home: Evaluation) -> tuple[Job, Path | None] | None:
    """The job that left a candidate's best weights, and the file that was promised of them."""
    file = trip.run.folder / "artifacts" / f"{here.candidate.key}.onnx"
    if home.promised and file.exists():
        epoch, decayed = home.promised.epoch, home.promised.decayed
        return Job(here.candidate, 0, epoch, decay=decayed), file
    trained = [s for s in here.scores if s.split == "val" and s.source == "torch"]
    for score in sorted(trained, key=lambda s: (s.decayed, s.epoch), reverse=True):
        job = Job(here.candidate, 0, score.epoch, decay=score.decayed)
        if checkpoint_path(trip.task, job).exists():
            return job, None
    return None
