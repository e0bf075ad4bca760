"""`autoseg.remeasure`: a run's candidates measured on another device, without training."""

from __future__ import annotations

import logging
import shlex
from contextlib import closing
from pathlib import Path

from autoseg.api.assemble import UNTRAINED, own_device, scheduler_of, task_of_run
from autoseg.api.session import Devices, OnStart, Session, device_names, finish, resumable
from autoseg.core.errors import InputError
from autoseg.core.records import DeviceInfo
from autoseg.device import resolve
from autoseg.pools.local import LocalPool
from autoseg.run.declaration import constraints_of, option_s
from autoseg.run.messages import OnEvent, call_on_event, follow
from autoseg.run.places import continued, keep_places
from autoseg.run.remeasure import request_remeasure, run_on_device
from autoseg.run.result import Result
from autoseg.run.store import Run, read_declaration

log = logging.getLogger(__name__)


def remeasure(
    run: str | Path,
    *,
    device: Devices,
    data: str | Path | None = None,
    max_latency: str | None = None,
    accept_new_host_key: bool = False,
    on_event: OnEvent | None = None,
    on_start: OnStart | None = None,
) -> Result:
    """Measure a run's candidates on another device; return that device's own Pareto front.

    `run` is its folder, `data` the new place of its data where they were moved. Every candidate is
    timed untrained, then those that have trained weights are confirmed from the front down. The
    ceiling is `max_latency`, else that of the last remeasurement on this device, at first the
    run's. Called again after an interruption, it goes on: nothing is measured twice. `on_event` is
    called as `optimize` does, with the events of this device; when it returns ``"stop"``, no other
    candidate is timed. Raises InputError for a run that does not exist, is in use, or was begun on
    this device; DeviceError as `optimize` does, and Interrupted at once on Ctrl-C or after a stop:
    what is confirmed by then is written as files.
    """
    folder = Path(run)
    raw = read_declaration(folder)
    if max_latency is not None:
        option_s("max_latency", max_latency)
    with Session() as session:
        found = resolve(device, accept_new_host_key=accept_new_host_key)
        target = session.enter_context(closing(found))
        info = target.describe()
        _require_another(folder, info, own_device(raw))
        moved = {} if data is None else {"data": str(data)}
        declared = continued(folder, moved, UNTRAINED)
        task = task_of_run(folder, declared)
        opened = session.enter_context(closing(Run.open(folder, info.name)))
        keep_places(opened, declared)
        if on_event:
            call_on_event(opened, on_event, session.stop.request)
        declaration = request_remeasure(opened, info, max_latency)
        if on_start:
            on_start(opened, declaration)
        follow(opened, declaration)
        constraints = constraints_of(declaration, opened.declaration)
        scheduler = scheduler_of(task, declaration, constraints)
        pool = session.enter_context(closing(LocalPool(task, ())))
        context = session.open_context(opened, task, scheduler, pool, target)
        with resumable(context, _command(folder, device, max_latency)):
            if not run_on_device(context):
                raise KeyboardInterrupt
            return finish(context)


def _require_another(folder: Path, info: DeviceInfo, own: DeviceInfo) -> None:
    if info.name == own.name:
        raise InputError(
            f"the run {folder.name!r} was begun on {info.name} itself; to measure it on "
            "another machine of that name, give a copy of the profile with a name of its own"
        )
    if info.channel_step != own.channel_step:
        log.warning(
            "%s prefers multiples of %d channels; the run's networks keep to its own step of %d",
            info.name, info.channel_step, own.channel_step,
        )  # fmt: skip


def _command(folder: Path, device: Devices, max_latency: str | None) -> str:
    names = device_names(device)
    words = ["autoseg", "remeasure", str(folder)]
    for each in [names] if isinstance(names, str) else names or []:
        words += ["--device", each]
    if max_latency is not None:
        words += ["--max-latency", str(max_latency)]
    return shlex.join(words)
