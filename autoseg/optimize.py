"""From a declaration to a Result: wires the rooms, holds no logic."""

from __future__ import annotations

import logging
import os
import platform
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from autoseg import __version__
from autoseg import data as data_room
from autoseg import device as device_room
from autoseg.data.dataset import Dataset
from autoseg.declaration import Declaration
from autoseg.device import Device
from autoseg.device.local import LocalDevice
from autoseg.journey import Trip, journey
from autoseg.networks.structure import structure_digest
from autoseg.pools.local import LocalPool
from autoseg.recipe import OF_EFFORT, Recipe
from autoseg.records import (
    AutosegError,
    CandidateError,
    DeviceInfo,
    InputError,
    Statistic,
    to_json,
)
from autoseg.report.bundle import write_bundle
from autoseg.report.plot import pareto_png
from autoseg.report.tables import write_front
from autoseg.result import Result, runs_in
from autoseg.search.engine import AshaEngine
from autoseg.search.pricing import Pricing
from autoseg.search.proposer import OptunaProposer
from autoseg.search.study import StudyMirror
from autoseg.space import SearchSpace, load_space
from autoseg.store import MeasurementCache, Run, read_declaration
from autoseg.train import Task, build_candidate

log = logging.getLogger(__name__)

PACKAGES = ("torch", "onnxruntime", "onnx", "optuna", "opencv-python-headless", "numpy")


class Interrupted(AutosegError):
    """Ctrl-C: the run's folder holds all that was paid for, and --resume goes on."""


def optimize(
    *,
    data: str | Path | None = None,
    device: str | Path | Device | None = None,
    max_latency: str | None = None,
    min_iou: float | None = None,
    statistic: Statistic | None = None,
    effort: str | None = None,
    space: str | Path | None = None,
    budget: str | None = None,
    trials: int | None = None,
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
    on_start: Callable[[Run, Declaration], None] | None = None,
) -> Result:
    """Search, train, measure and confirm; return the Pareto front.

    `max_latency` and `budget` are durations with a unit (``"33ms"``, ``"2h"``); `min_iou` a
    fraction; the defaults are those of the command line. `on_start` gets the open run, to add
    listeners for its events. Raises InputError for what is wrong with the arguments or the data,
    before anything is written; DeviceError when the device is lost and Interrupted on Ctrl-C: in
    both cases the run can be continued with ``resume=True``.
    """
    named = device is None or isinstance(device, str | Path)
    given = {
        "data": _text(data), "device": _text(device) if named else type(device).__name__,
        "max_latency": max_latency, "min_iou": min_iou, "statistic": statistic, "effort": effort,
        "space": _text(space), "budget": budget, "trials": trials, "pool": pool, "seed": seed,
        "workers": workers, "recipe": recipe, "format": format, "remap": _text(remap),
        "split_column": split_column, "group_column": group_column,
        "group_pattern": group_pattern,
    }  # fmt: skip
    root = Path(results)
    folder = _folder(root, name, resume=resume)
    before = read_declaration(folder) if resume else None
    declaration = Declaration.of(given, before)
    chosen = load_space(declaration.space)
    target = device_room.resolve(
        declaration.device if device is None or isinstance(device, str | Path) else device
    )
    dataset = data_room.load(
        declaration.data, **asdict(declaration.reading), cache_dir=root / ".cache" / "inspected"
    )
    stated = _statement(declaration, chosen, dataset, target.describe())
    if before is not None:
        _same(before, stated)
    run = Run.open(folder) if resume else Run.create(folder, stated)
    try:
        return _travel(run, root, declaration, chosen, dataset, target, on_start)
    finally:
        run.close()
        target.close()


def recipe_of(space: SearchSpace, declaration: Declaration) -> Recipe:
    """The effort's schedule, changed by the space's own recipe and then by what was declared."""
    schedule = OF_EFFORT[declaration.effort]
    return Recipe.of({"schedule": schedule, **space.recipe, **declaration.recipe})


def _travel(
    run: Run,
    root: Path,
    declaration: Declaration,
    space: SearchSpace,
    dataset: Dataset,
    device: Device,
    on_start: Callable[[Run, Declaration], None] | None,
) -> Result:
    recipe = recipe_of(space, declaration)
    task = Task(
        space,
        dataset,
        recipe,
        declaration.seed,
        root / ".cache" / "pictures",
        run.folder / "checkpoints",
    )
    constraints = declaration.constraints
    _, visited = recipe.pictures(0, len(dataset.splits["train"]))
    pricing = Pricing(space, recipe, dataset.outputs, visited, declaration.workers)
    engine = AshaEngine(
        space,
        declaration.effort,
        constraints,
        recipe,
        OptunaProposer(space, declaration.effort, constraints, declaration.seed),
        pricing,
        declaration.seed,
        budget_s=declaration.budget_s,
        trials=declaration.trials,
        checkpoint_dir=str(task.checkpoint_dir),
    )
    mirror = StudyMirror(
        run.folder, space, declaration.effort, constraints,
        declaration=run.declaration, evaluations=run.evaluations.values(),
    )  # fmt: skip
    run.listeners.append(
        lambda event: mirror.update(run.evaluations[event["key"]]) if "key" in event else None
    )
    if on_start:
        on_start(run, declaration)
    pool = LocalPool(task, declaration.workers)
    try:
        pool.start()
        journey(
            Trip(
                run,
                task,
                constraints,
                engine,
                pool,
                device,
                MeasurementCache(root / ".cache" / "measurements.jsonl"),
                declaration.budget_s,
                device_is_here=isinstance(device, LocalDevice),
                trials=declaration.trials,
            )
        )
        mirror.finish(run.evaluations.values())
        pool.close()
        write_files(run.folder, dataset.classes)
    except KeyboardInterrupt as error:
        pool.close()
        write_files(run.folder, dataset.classes)
        where = "" if root == Path("results") else f" --results {root}"
        raise Interrupted(
            f"interrupted; to go on: autoseg optimize --resume --name {run.folder.name}{where}"
        ) from error
    finally:
        pool.close()
        mirror.close()
    run.record("finished")
    return Result.from_run(run.folder)


def write_files(folder: Path, classes: tuple[str, ...]) -> Result:
    """front.csv, front.json, pareto.png and the bundles of a run, from its ledger."""
    result = Result.from_run(folder)
    write_front(folder, result.front, result.constraints, result.baseline)
    pareto_png(
        folder / "pareto.png", result.evaluations, result.constraints, baseline=result.baseline
    )
    names = [f"{rank}-{e.candidate.key}" for rank, e in enumerate(result.front, start=1)]
    for name, evaluation in zip(names, result.front, strict=True):
        # Again even if it is there: one of an interrupted session has no test score yet.
        write_bundle(
            folder / "bundles" / name,
            onnx=folder / "artifacts" / f"{evaluation.candidate.key}.onnx",
            evaluation=evaluation,
            classes=classes,
            constraints=result.constraints,
        )
    for old in (folder / "bundles").iterdir():
        # Of an earlier session, beaten or ranked otherwise since; a user's own files stay.
        if old.is_dir() and old.name not in names:
            shutil.rmtree(old)
    return result


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


def _statement(
    declaration: Declaration, space: SearchSpace, dataset: Dataset, device: DeviceInfo
) -> dict[str, Any]:
    """What run.yaml says: the declaration, and what must be the same if the run is continued."""
    try:
        net = build_candidate(space, space.baseline, dataset.outputs)
    except CandidateError as error:
        raise InputError(f"the baseline of {space.name} must work: {error}") from error
    return {
        **declaration.to_yaml(),
        "baseline": to_json(space.baseline),
        "classes": list(dataset.classes),
        "pictures": {split: len(samples) for split, samples in dataset.splits.items()},
        "data_digest": dataset.digest,
        "structure": structure_digest(net, space.baseline.input_hw),
        "knobs": {k.name: [*k.choices] for k in space.knobs_at(declaration.effort)},
        "training": to_json(recipe_of(space, declaration)),
        "measured_on": to_json(device),
        "machine": {
            "platform": platform.platform(),
            "processor": platform.machine(),
            "cpus": os.cpu_count(),
        },
        "versions": {
            "autoseg": __version__,
            "python": platform.python_version(),
            **{p: version(p) for p in PACKAGES},
        },
    }


def _same(before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    for name, what in (
        ("data_digest", "the data"),
        ("structure", "the network's code"),
        ("baseline", "the space"),
        ("knobs", "the space"),
        ("training", "the recipe"),
        ("measured_on", "the device or its runtime"),
    ):
        if before.get(name) != now[name]:
            raise InputError(
                f"{what} changed since the run began; results would not compare: "
                "start a new run with another --name"
            )


def _text(value: Any) -> str | None:
    return None if value is None else str(value)
