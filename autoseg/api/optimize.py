"""`autoseg.optimize`: from a declaration to a Result."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from autoseg.api.assemble import (
    augmentation_of,
    checkpoints_of,
    checkpoints_url,
    dataset_of,
    pool_of,
    require_same,
    scheduler_of,
    statement,
    task_of,
)
from autoseg.api.session import Devices, OnStart, Session, device_names, finish, resumable
from autoseg.core.errors import InputError
from autoseg.core.records import Latency, Statistic
from autoseg.core.units import parse_duration_s
from autoseg.data import is_parcels
from autoseg.device import resolve
from autoseg.networks.space_file import load_space
from autoseg.run.context import RunContext, typical_hw
from autoseg.run.declaration import OPTIONS, Declaration, constraints_of
from autoseg.run.ledger import read_events, spent_s
from autoseg.run.messages import OnEvent, call_on_event, follow
from autoseg.run.pipeline import run_pipeline
from autoseg.run.places import continued, keep_places, places_of
from autoseg.run.reopen import kept_checkpoints, reopen
from autoseg.run.result import Result, runs_in
from autoseg.run.store import Run, read_declaration
from autoseg.train.contact_sheet import MAX_ROWS_AT_SCORE, examples_of
from autoseg.train.storage import require_usable


def optimize(
    *,
    data: str | Path | None = None,
    device: Devices | None = None,
    max_latency: str | None = None,
    min_iou: float | None = None,
    statistic: Statistic | None = None,
    latency: Latency | None = None,
    frame: str | None = None,
    effort: str | None = None,
    space: str | Path | None = None,
    budget: str | None = None,
    trials: int | None = None,
    sampler: str | None = None,
    pool: str | None = None,
    workers: int | None = None,
    gpus: int | None = None,
    gpus_per_trial: float | None = None,
    storage: str | None = None,
    seed: int | None = None,
    name: str | None = None,
    resume: bool = False,
    more: str | None = None,
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
    on_start: OnStart | None = None,
) -> Result:
    """Search, train, measure and confirm; return the Pareto front.

    `max_latency` and `budget` are durations with a unit (``"33ms"``, ``"2h"``); `min_iou` a
    fraction. `latency` says what is promised: that of the ``"model"``, or of a whole ``"frame"``
    of the size `frame` (``"1920x1080"``), with both its resizes. An option that is None has the
    default of `Declaration`, or with `resume` the value of the continued run, whose data and other
    files may lie elsewhere now: their new place is given in the same option. `sampler` is the
    proposer: ``"autoseg"``, or one of Optuna's (``"gp"``, ``"tpe"``, ``"nsga2"``, ``"nsga3"``,
    ``"random"``). `augment` is a file written by `albumentations.save` or a
    ``package.module:function``. `storage` is a URL for the checkpoints. Several devices share the
    run's measurements and must be of one kind; `accept_new_host_key` trusts a board at first
    contact. `budget` is the time from this call until it returns, of all sessions together where
    the run is continued; `more` with `resume` goes on for so long beyond what was spent.
    `dry_run` ends after the survey: the result has a verdict and a plan, and no front.

    `on_event` is called with each event of the ledger after it was written, a mapping; its
    ``"evaluation"`` is the candidate's Evaluation after the event, or None. What it raises is
    logged, and the run goes on; when it returns ``"stop"``, the run ends as on Ctrl-C. `on_start`
    gets the open run before its first event, for listeners that need activities as well.

    Raises InputError for faults of the arguments or the data, before anything is written;
    DeviceError when the device is lost, or the run cannot go on for another reason; Interrupted on
    Ctrl-C or SIGTERM, after confirming trained models for up to two minutes, at least one. In the
    last two cases the run can be continued with ``resume=True``.
    """
    given = {option: value for option, value in locals().items() if option in OPTIONS}
    began_at = time.monotonic()
    folder = _folder(Path(results), name, resume=resume)
    options = _plain({**given, "device": device_names(device)})
    if more is not None:
        options["budget"] = _extended(folder, more, budget, resume=resume)
    before = read_declaration(folder) if resume else None
    declaration = continued(folder, options) if resume else Declaration(**options).begun()
    chosen = load_space(declaration.space)
    augmentation = augmentation_of(declaration, chosen)
    with Session() as session:
        wanted = declaration.device if device is None else device
        found = resolve(wanted, accept_new_host_key=accept_new_host_key)
        target = session.enter_context(closing(found))
        dataset, info = dataset_of(folder.parent, declaration), target.describe()
        digest = augmentation.digest if augmentation else None
        facts = statement(declaration, chosen, dataset, info, digest)
        if before is not None:
            require_same(before, facts)
        url = checkpoints_url(folder, declaration, before or {})
        task = task_of(
            folder, declaration, chosen, dataset, info.channel_step, augmentation,
            checkpoints=checkpoints_of(folder, url),
            examples=() if dry_run else examples_of(dataset, MAX_ROWS_AT_SCORE),
        )  # fmt: skip
        if url and before is None:
            require_usable(task.checkpoints, None)
        facts |= {"places": places_of(folder), "checkpoints": url}
        if before is None:
            facts |= {"frame_hw": [*(declaration.constraints.frame_hw or typical_hw(task))]}
        constraints = constraints_of(declaration, before or facts)
        scheduler = scheduler_of(task, declaration, constraints)
        trainers = session.enter_context(closing(pool_of(task, declaration, scheduler)))
        opened = Run.create(folder, facts) if before is None else Run.open(folder)
        run = session.enter_context(closing(opened))
        run.count_from(began_at)
        if before is not None:
            require_usable(task.checkpoints, kept_checkpoints(run))
            keep_places(run, declaration)
            run.change(storage=declaration.storage, checkpoints=url)
        context = session.open_context(run, task, scheduler, trainers, target)
        if on_start:
            on_start(run, declaration)
        follow(run, declaration)
        if on_event:
            call_on_event(run, on_event, context.stop.request)
        return _run(session, context, declaration, dry_run=dry_run)


def _run(
    session: Session, context: RunContext, declaration: Declaration, *, dry_run: bool
) -> Result:
    run = context.run
    if not dry_run:
        reopen(run, context.task.recipe, context.allowance)
    mirror = session.open_mirror(context, declaration)
    with resumable(context, declaration.resume_command(run.folder, run.declaration)):
        if dry_run:
            run_pipeline(context, dry=True)
            run.leave()
            return Result.from_run(run.folder)
        context.pool.start()
        if not run_pipeline(context):
            raise KeyboardInterrupt
        mirror.finish(Result.from_run(run.folder).evaluations)
        return finish(context)


def _extended(folder: Path, more: str, budget: str | None, *, resume: bool) -> str:
    """The budget that leaves a continued run so much more time."""
    if not resume or budget is not None:
        raise InputError(
            "--more is the time that a continued run goes on for: give it with --resume, "
            "and without --budget, which is the total over all sessions"
        )
    more_s = parse_duration_s(more, "--more", "10m")
    return f"{math.ceil(spent_s(read_events(folder)) + more_s)}s"


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


def _plain(given: Mapping[str, Any]) -> dict[str, Any]:
    """The options that are given, with paths as text; the word "parcels" is the default."""
    return {
        name: str(value) if isinstance(value, Path) else value
        for name, value in given.items()
        if value is not None and not (name == "data" and is_parcels(value))
    }
