"""From a declaration to a Result: wires the rooms, holds no logic."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from autoseg import data as data_room
from autoseg import device as device_room
from autoseg.api.assemble import (
    measurements_of,
    require_same,
    scheduler_of,
    statement,
    task_of,
    write_files,
    write_report,
)
from autoseg.core.errors import AutosegError, DeviceError, InputError
from autoseg.core.records import Statistic
from autoseg.device import Device
from autoseg.networks.space import load_space
from autoseg.pools.local import LocalPool
from autoseg.report.dashboard.snapshot import view_of
from autoseg.report.dashboard.study import StudyMirror
from autoseg.run.context import RunContext
from autoseg.run.declaration import Declaration
from autoseg.run.messages import OnEvent, follow
from autoseg.run.pipeline import journey, reopen, rescue
from autoseg.run.result import Result, runs_in
from autoseg.run.store import Run, read_declaration
from autoseg.train.task import Task

Devices = str | Path | Device
Value = TypeVar("Value")


class Interrupted(AutosegError):
    """Ctrl-C: the run's folder holds all that was paid for, and --resume goes on.

    `result` is what could be confirmed before leaving; None where nobody waited for that.
    """

    result: Result | None = None


def optimize(
    *,
    data: str | Path | None = None,
    device: Devices | Sequence[Devices] | None = None,
    max_latency: str | None = None,
    min_iou: float | None = None,
    statistic: Statistic | None = None,
    effort: str | None = None,
    space: str | Path | None = None,
    budget: str | None = None,
    trials: int | None = None,
    sampler: str | None = None,
    pool: str | None = None,
    workers: int | None = None,
    seed: int | None = None,
    name: str | None = None,
    resume: bool = False,
    results: str | Path = "results",
    recipe: Mapping[str, Any] | None = None,
    format: str | None = None,
    remap: str | Path | None = None,
    split_column: str | None = None,
    group_column: str | None = None,
    group_pattern: str | None = None,
    accept_new_host_key: bool = False,
    dry_run: bool = False,
    on_event: OnEvent | None = None,
    on_start: Callable[[Run, Declaration], None] | None = None,
) -> Result:
    """Search, train, measure and confirm; return the Pareto front.

    `max_latency` and `budget` are durations with a unit (``"33ms"``, ``"2h"``); `min_iou` a
    fraction; the defaults are those of the command line. `sampler` says who proposes:
    ``"autoseg"``, or one of Optuna's (``"gp"``, ``"tpe"``, ``"nsga2"``, ``"nsga3"``,
    ``"random"``). Several devices share the run's measurements and must be alike;
    `accept_new_host_key` trusts a board that is reached for the first time. `dry_run` ends after
    the survey: the result has a verdict and a plan, and no front. `on_event` is called with each
    event of the ledger after it was written, a mapping; its ``"evaluation"`` is the candidate's
    Evaluation by then, or None. What it raises is logged, and the run goes on; when it returns
    ``"stop"``, the run ends as on Ctrl-C. `on_start` gets the open run before its first event,
    for listeners that also want to hear what begins. Raises InputError for what is wrong with the
    arguments or the data, before anything is written; DeviceError when the device is lost, or the
    run cannot go on for another reason, and Interrupted on Ctrl-C or SIGTERM, after what is
    trained was confirmed within two minutes, but one model at least: in both cases the run can be
    continued with ``resume=True``.
    """
    root = Path(results)
    folder = _folder(root, name, resume=resume)
    before = read_declaration(folder) if resume else None
    base = Declaration.from_yaml(before) if before else Declaration()
    declaration = replace(
        base,
        max_latency=_or(max_latency, base.max_latency),
        min_iou=_or(min_iou, base.min_iou),
        statistic=_or(statistic, base.statistic),
        data=_or(_text(data), base.data),
        format=_or(format, base.format),
        remap=_or(_text(remap), base.remap),
        split_column=_or(split_column, base.split_column),
        group_column=_or(group_column, base.group_column),
        group_pattern=_or(group_pattern, base.group_pattern),
        device=_or(named(device), base.device),
        effort=_or(effort, base.effort),
        space=_or(_text(space), base.space),
        budget=_or(budget, base.budget),
        trials=_or(trials, base.trials),
        sampler=_or(sampler, base.sampler),
        pool=_or(pool, base.pool),
        workers=_or(workers, base.workers),
        seed=_or(seed, base.seed),
        recipe=_or(recipe, base.recipe),
    )
    if resume:
        declaration.require_continues(base)
    else:
        declaration = declaration.begun()
    chosen = load_space(declaration.space)
    target = device_room.resolve(
        declaration.device if device is None else device, accept_new_host_key=accept_new_host_key
    )
    try:
        inspected = root / ".cache" / "inspected"
        dataset = data_room.load(declaration.data, declaration.reading, cache_dir=inspected)
        info = target.describe()
        stated = statement(declaration, chosen, dataset, info)
        if before is not None:
            require_same(before, stated)
        task = task_of(folder, declaration, chosen, dataset, info.channel_step)
        run = Run.open(folder) if resume else Run.create(folder, stated)
        try:
            return _travel(run, task, declaration, target, (on_start, on_event), dry_run)
        finally:
            run.close()
    finally:
        target.close()


def _travel(
    run: Run,
    task: Task,
    declaration: Declaration,
    device: Device,
    hooks: tuple[Callable[[Run, Declaration], None] | None, OnEvent | None],
    dry_run: bool,
) -> Result:
    pool = LocalPool(task, declaration.workers)
    context = _context(run, task, declaration, device, pool)
    on_start, on_event = hooks
    if on_start:
        on_start(run, declaration)
    follow(run, declaration, on_event, context.stop.ask)
    opened = 0 if dry_run else reopen(run, task.recipe, context.allowance)
    mirror = _mirror(run, task, declaration)
    if opened:
        run.say(f"{opened} model(s) that were rejected for their IoU may be trained further")
    try:
        if dry_run:
            journey(context, dry=True)
            return Result.from_run(run.folder)
        pool.start()
        if not journey(context):
            raise KeyboardInterrupt
        mirror.finish(run.evaluations.values())
        pool.close()
        write_files(run.folder, task.dataset.classes)
        run.record("finished")
        result = Result.from_run(run.folder)
        write_report(result)
        return result
    except (AutosegError, OSError, KeyboardInterrupt) as error:
        rescue(context)
        pool.close()
        command = declaration.resume_command(run.folder, run.declaration)
        raise stopped(context, error, command) from error
    finally:
        pool.close()
        mirror.close()


def _context(
    run: Run, task: Task, declaration: Declaration, device: Device, pool: LocalPool
) -> RunContext:
    scheduler, constraints = scheduler_of(task, declaration), declaration.constraints
    return RunContext(
        run, task, constraints, scheduler, pool, device, measurements_of(run.folder),
        declaration.budget_s, declaration.trials,
    )  # fmt: skip


def _mirror(run: Run, task: Task, declaration: Declaration) -> StudyMirror:
    mirror = StudyMirror(
        run.folder, task.space, declaration.effort, declaration.constraints,
        declaration=run.declaration, evaluations=run.evaluations.values(),
        look=lambda: view_of(Result.from_run(run.folder)),
    )  # fmt: skip
    run.listeners.append(lambda event: mirror.hear(event, run.evaluations))
    return mirror


def stopped(context: RunContext, error: BaseException, again: str) -> AutosegError:
    """What a run that cannot go on now raises, with the command that goes on with it.

    Whatever stopped it, a run was begun: what it has confirmed by now is written as files.
    """
    result = None
    with suppress(AutosegError, OSError):
        result = write_files(context.run.folder, context.task.dataset.classes, context.run.on)
        write_report(result)
    if isinstance(error, KeyboardInterrupt):
        interrupted = Interrupted(f"interrupted; to go on: {again}")
        if context.stop.asked and not context.stop.insisted:
            interrupted.result = result
        return interrupted
    said = f"{error.filename}: {error.strerror}" if isinstance(error, OSError) else str(error)
    return DeviceError(f"{said}; to go on: {again}")


def _folder(root: Path, name: str | None, *, resume: bool) -> Path:
    if name is not None and (not name.strip() or Path(name).name != name):
        raise InputError(f"--name is a folder's name without slashes, got {name!r}")
    if name is not None:
        return root / name
    if not resume:
        return root / time.strftime("%Y%m%d-%H%M%S")
    runs = runs_in(root)
    if not runs:
        raise InputError(f"--resume continues the newest run, and {root} holds none")
    return runs[-1]


def named(device: Any) -> str | list[str] | None:
    """A device as run.yaml says it: a name, several, or the class of an object."""
    if device is None or isinstance(device, str | Path):
        return _text(device)
    if isinstance(device, Sequence):
        each = [str(named(one)) for one in device]
        return each[0] if len(each) == 1 else each
    return type(device).__name__


def _or(given: Value | None, otherwise: Value) -> Value:
    """What was given; without it, the default or the value of the run that is continued."""
    return otherwise if given is None else given


def _text(value: Any) -> str | None:
    return None if value is None else str(value)
