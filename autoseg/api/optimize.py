"""From a declaration to a Result: wires the rooms, holds no logic."""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from autoseg import data as data_room
from autoseg import device as device_room
from autoseg.api.assemble import (
    augmentation_of,
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
from autoseg.run.declaration import ANEW, Declaration
from autoseg.run.messages import OnEvent, follow
from autoseg.run.pipeline import journey, reopen, rescue
from autoseg.run.result import Result, runs_in
from autoseg.run.store import Run, read_declaration
from autoseg.train.task import Task

Devices = str | Path | Device


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
    augment: str | Path | None = None,
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
    ``"random"``). `augment` is a file written by `albumentations.save` or a
    ``package.module:function``. Several devices share the run's measurements and must be
    alike; `accept_new_host_key` trusts a board that is reached for the first time. `dry_run`
    ends after the survey: the result has a verdict and a plan, and no front. `on_event` is
    called with each event of the ledger after it was written, a mapping; its ``"evaluation"``
    is the candidate's Evaluation by then, or None. What it raises is logged, and the run goes
    on; when it returns ``"stop"``, the run ends as on Ctrl-C. `on_start` gets the open run
    before its first event, for listeners that also want to hear what begins. Raises InputError
    for what is wrong with the arguments or the data, before anything is written; DeviceError
    when the device is lost, or the run cannot go on for another reason, and Interrupted on
    Ctrl-C or SIGTERM, after what is trained was confirmed within two minutes, but one model at
    least: in both cases the run can be continued with ``resume=True``.
    """
    given = {
        "data": _text(data), "device": named(device),
        "max_latency": max_latency, "min_iou": min_iou, "statistic": statistic, "effort": effort,
        "space": _text(space), "budget": budget, "trials": trials, "sampler": sampler,
        "pool": pool, "seed": seed, "workers": workers, "recipe": recipe,
        "augment": _text(augment), "format": format,
        "remap": _text(remap), "split_column": split_column, "group_column": group_column,
        "group_pattern": group_pattern,
    }  # fmt: skip
    root = Path(results)
    folder = _folder(root, name, resume=resume)
    before = read_declaration(folder) if resume else None
    declaration = Declaration.of(given, before)
    chosen = load_space(declaration.space)
    augmentation = augmentation_of(declaration, chosen)
    target = device_room.resolve(
        declaration.device if device is None else device, accept_new_host_key=accept_new_host_key
    )
    try:
        inspected = root / ".cache" / "inspected"
        dataset = data_room.load(declaration.data, declaration.reading, cache_dir=inspected)
        info = target.describe()
        digest = augmentation.digest if augmentation else None
        stated = statement(declaration, chosen, dataset, info, digest)
        if before is not None:
            require_same(before, stated)
        task = task_of(folder, declaration, chosen, dataset, info.channel_step, augmentation)
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
        goes_on = again(run.folder, run.declaration, declaration.to_yaml())
        raise stopped(context, error, goes_on) from error
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


def again(folder: Path, begun: Mapping[str, Any], asked: Mapping[str, Any]) -> str:
    """The command that goes on with a run as it was `asked` for now; run.yaml says how it begun.

    What may be given anew, and was, must be given again: run.yaml stays as it is.
    """
    words = ["autoseg", "optimize", "--resume", "--name", folder.name]
    for name in ANEW:
        if asked.get(name) not in (None, begun.get(name)):
            words += [f"--{name}", str(asked[name])]
    if folder.parent != Path("results"):
        words += ["--results", str(folder.parent)]
    return shlex.join(words)


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


def _text(value: Any) -> str | None:
    return None if value is None else str(value)
