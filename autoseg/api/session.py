"""Opens and closes the parts of a run in one place, and writes its files when it ends."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autoseg.api.bundle import bundle_model
from autoseg.core.errors import AutosegError, DeviceError
from autoseg.core.signals import StopRequest
from autoseg.device import Device
from autoseg.pools.protocol import Pool
from autoseg.run.context import RunContext
from autoseg.run.declaration import Declaration
from autoseg.run.pipeline import rescue
from autoseg.run.result import Result
from autoseg.run.rows import write_front
from autoseg.run.store import MeasurementCache, Run
from autoseg.search.scheduler import SearchScheduler
from autoseg.train.task import Task

if TYPE_CHECKING:
    from autoseg.report.dashboard.study import StudyMirror

log = logging.getLogger(__name__)

OneDevice = str | Path | Device
Devices = OneDevice | Sequence[OneDevice]
OnStart = Callable[[Run, Declaration], None]


class Interrupted(AutosegError):
    """Ctrl-C or SIGTERM: the run's folder holds all finished work, and --resume continues it.

    `result` is what was confirmed before leaving; None after a second signal.
    """

    result: Result | None = None


class Session(ExitStack):
    """Device, pool, run and study mirror, opened in this order: what can be refused comes first.

    Leaving the `with` block closes them in reverse.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stop = StopRequest()

    def open_context(
        self, run: Run, task: Task, scheduler: SearchScheduler, pool: Pool, device: Device
    ) -> RunContext:
        """What the pipeline's steps share."""
        shared = run.folder.parent / ".cache" / "measurements.jsonl"
        problem = scheduler.states.problem
        return RunContext(
            run=run,
            task=task,
            constraints=problem.constraints,
            search=scheduler,
            pool=pool,
            device=device,
            measured_before=MeasurementCache(shared),
            budget_s=problem.budget_s,
            trials=problem.trials,
            stop=self.stop,
        )

    def open_mirror(self, context: RunContext, declaration: Declaration) -> StudyMirror:
        """The Optuna study of the run, kept up to date with its events from now on."""
        from autoseg.report.dashboard.study import StudyMirror  # loads SQLAlchemy
        from autoseg.report.dashboard.texts import overview

        run = context.run
        mirror = StudyMirror(
            run.folder, context.task.space, declaration.effort, declaration.constraints,
            declaration=run.declaration, evaluations=run.evaluations.values(),
            overview=lambda: overview(Result.from_run(run.folder)),
        )  # fmt: skip
        self.callback(mirror.close)
        run.listeners.append(lambda event: mirror.update(event, run.evaluations))
        return mirror


@contextmanager
def resumable(context: RunContext, command: str) -> Iterator[None]:
    """Where the run must stop, saves finished jobs and confirmed models, and names the `command`.

    Raises DeviceError for a fault, Interrupted for a stop.
    """
    try:
        yield
    except (AutosegError, OSError, KeyboardInterrupt) as error:
        rescue(context)
        context.pool.close()
        raise _stopped(context, error, command) from error


def _stopped(context: RunContext, error: BaseException, command: str) -> AutosegError:
    run, result = context.run, None
    run.leave()
    with suppress(AutosegError, OSError):
        result = write_files(run.folder, context.task.dataset.classes, run.on)
        write_report(result)
    if isinstance(error, KeyboardInterrupt):
        interrupted = Interrupted(f"interrupted; to go on: {command}")
        if context.stop.requested and not context.stop.forced:
            interrupted.result = result
        return interrupted
    cause = f"{error.filename}: {error.strerror}" if isinstance(error, OSError) else str(error)
    return DeviceError(f"{cause}; to go on: {command}")


def finish(context: RunContext) -> Result:
    """Ends the pool, writes the run's files and records that it is finished."""
    run = context.run
    context.pool.close()
    write_files(run.folder, context.task.dataset.classes, run.on)
    run.record("finished")
    result = Result.from_run(run.folder, run.on)
    write_report(result)
    return result


def write_files(folder: Path, classes: tuple[str, ...], device: str | None = None) -> Result:
    """front.csv, front.json, pareto.png and bundles of a run, from its ledger.

    Those of a `device` that it was remeasured on lie in a folder of their own.
    """
    from autoseg.report.plots import pareto_png

    result = Result.from_run(folder, device)
    place = result.files
    write_front(place, result.front, result.constraints, result.baseline)
    pareto_png(
        place / "pareto.png", result.evaluations, result.constraints, baseline=result.baseline
    )
    names = [f"{rank}-{e.candidate.key}" for rank, e in enumerate(result.front, start=1)]
    for name, evaluation in zip(names, result.front, strict=True):
        # Even if it exists: a bundle of an interrupted session has no test score yet.
        bundle_model(result, evaluation, place / "bundles" / name, classes)
    for old in (place / "bundles").iterdir():
        # Of an earlier session, dominated or ranked otherwise since; a user's own files stay.
        if old.is_dir() and old.name not in names:
            shutil.rmtree(old)
    return result


def write_report(result: Result) -> None:
    """report.html beside those files; after the last event, since it shows the run's progress."""
    from autoseg.report.page import write_page

    try:
        write_page(result, result.files / "report.html")
    except Exception as error:  # reporting only: no fault in it may cost a run its files
        log.warning("the report of %s could not be written: %s", result.folder.name, error)


def device_names(device: Any) -> str | list[str] | None:
    """A device as run.yaml names it: one name, several, or the class of an object."""
    if device is None:
        return None
    if isinstance(device, str | Path):
        return str(device)
    if isinstance(device, Sequence):
        each = [str(device_names(one)) for one in device]
        return each[0] if len(each) == 1 else each
    return type(device).__name__
