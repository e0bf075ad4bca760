"""Opens and closes the parts of a run in one place: device, run, pool and study mirror."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autoseg import device as device_room
from autoseg.api.assemble import measurements_of, pool_of, scheduler_of
from autoseg.api.files import write_files, write_report
from autoseg.core.errors import AutosegError, DeviceError
from autoseg.core.signals import StopRequest
from autoseg.device import Device
from autoseg.run.context import RunContext
from autoseg.run.declaration import Declaration
from autoseg.run.pipeline import rescue
from autoseg.run.result import Result
from autoseg.run.store import Run
from autoseg.train.task import Task

if TYPE_CHECKING:
    from autoseg.report.dashboard.study import StudyMirror

OneDevice = str | Path | Device
Devices = OneDevice | Sequence[OneDevice]
OnStart = Callable[[Run, Declaration], None]


class Interrupted(AutosegError):
    """Ctrl-C or SIGTERM: the run's folder holds all finished work, and --resume continues it.

    `result` is what was confirmed before leaving; None after a second signal.
    """

    result: Result | None = None


class Session:
    """Device, run, pool and study mirror, opened in this order, since each needs the one before.

    Leaving the `with` block closes them in reverse.
    """

    def __init__(self) -> None:
        self.stop = StopRequest()
        self._parts = ExitStack()

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *failure: Any) -> None:
        self._parts.__exit__(*failure)

    def open_device(self, device: Devices, *, accept_new_host_key: bool) -> Device:
        """The device of a name, a profile or an object, or the group of several."""
        found = device_room.resolve(device, accept_new_host_key=accept_new_host_key)
        return self._parts.enter_context(closing(found))

    def open_run(self, folder: Path, on: str | None = None) -> Run:
        """An existing run; `on` names the device of a remeasurement."""
        return self._parts.enter_context(closing(Run.open(folder, on)))

    def create_run(self, folder: Path, facts: dict[str, Any]) -> Run:
        """A new run whose run.yaml holds these facts."""
        return self._parts.enter_context(closing(Run.create(folder, facts)))

    def open_context(
        self, run: Run, task: Task, declaration: Declaration, device: Device, workers: int
    ) -> RunContext:
        """What the pipeline's steps share, with a pool of so many workers."""
        pool = self._parts.enter_context(closing(pool_of(task, declaration.pool, workers)))
        return RunContext(
            run=run,
            task=task,
            constraints=declaration.constraints,
            scheduler=scheduler_of(task, declaration),
            pool=pool,
            device=device,
            measured_before=measurements_of(run.folder),
            budget_s=declaration.budget_s,
            trials=declaration.trials,
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
        self._parts.callback(mirror.close)
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
