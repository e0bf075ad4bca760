"""What a run is made of: its task, its scheduler, what must stay the same, and its files."""

from __future__ import annotations

import logging
import os
import platform
import shutil
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from autoseg import __version__
from autoseg.api.bundle import bundle_model
from autoseg.core.errors import CandidateError, InputError
from autoseg.core.records import DeviceInfo
from autoseg.core.serialize import from_json, to_json
from autoseg.core.units import parse_hw
from autoseg.data.augmentation import Augmentation, check, load_augmentation
from autoseg.data.dataset import Dataset
from autoseg.data.licence import licence_of
from autoseg.networks.space import SearchSpace
from autoseg.networks.structure import structure_digest
from autoseg.report.page import write_page
from autoseg.report.plots import pareto_png
from autoseg.run.declaration import Declaration
from autoseg.run.result import Result
from autoseg.run.rows import write_front
from autoseg.run.store import MeasurementCache
from autoseg.search.proposers.optuna import OptunaProposer
from autoseg.search.proposers.whole_trainings import SamplerScheduler
from autoseg.search.protocol import Scheduler
from autoseg.search.scheduler import HypervolumeScheduler
from autoseg.search.training_time import Pricing
from autoseg.train.recipe import OF_EFFORT, Recipe
from autoseg.train.task import Task, build_candidate

log = logging.getLogger(__name__)

PACKAGES = ("torch", "onnxruntime", "onnx", "optuna", "opencv-python-headless", "numpy")


def recipe_of(space: SearchSpace, declaration: Declaration) -> Recipe:
    """The effort's schedule, changed by the space's own recipe and then by what was declared."""
    schedule = OF_EFFORT[declaration.effort]
    return Recipe.of({"schedule": schedule, **space.recipe, **declaration.recipe})


def augmentation_of(declaration: Declaration, space: SearchSpace) -> Augmentation | None:
    """The user's own augmentation, tried at every input size of the effort; None without one.

    Raises InputError for one that cannot be used.
    """
    if declaration.augment is None:
        return None
    if not recipe_of(space, declaration).augment:
        raise InputError(
            "--augment is never applied where the recipe says augment=false; leave one of them out"
        )
    augmentation = load_augmentation(declaration.augment)
    unlocked = {knob.name: knob.choices for knob in space.knobs_at(declaration.effort)}
    choices = {**{name: (value,) for name, value in space.baseline.choices}, **unlocked}
    sizes = [parse_hw(value) for value in choices["resolution"]]
    check(augmentation, sizes, [int(count) for count in choices["channels"]])
    return augmentation


def task_of(
    folder: Path,
    declaration: Declaration,
    space: SearchSpace,
    dataset: Dataset,
    step: int,
    augmentation: Augmentation | None = None,
) -> Task:
    """What the workers of the run in `folder` are told; `step` is the channel step it keeps."""
    return Task(
        space,
        dataset,
        recipe_of(space, declaration),
        declaration.seed,
        folder.parent / ".cache" / "pictures",
        folder / "checkpoints",
        step,
        folder,
        augmentation,
    )


def scheduler_of(task: Task, declaration: Declaration) -> Scheduler:
    """The scheduler for a task, a latency ceiling and an IoU floor."""
    constraints, effort, seed = declaration.constraints, declaration.effort, declaration.seed
    _, visited = task.recipe.pictures(0, len(task.dataset.splits["train"]))
    outputs, workers = task.dataset.outputs, declaration.workers
    search = HypervolumeScheduler(
        task.space,
        effort,
        constraints,
        task.recipe,
        Pricing(task.space, task.recipe, outputs, visited, workers, task.channel_step),
        seed,
        budget_s=declaration.budget_s,
        trials=declaration.trials,
    )
    if declaration.sampler == "autoseg":
        return search
    proposer = OptunaProposer(task.space, effort, constraints, seed, declaration.sampler)
    return SamplerScheduler(search, proposer)


def measurements_of(folder: Path) -> MeasurementCache:
    """The screening measurements that the runs of a results folder share."""
    return MeasurementCache(folder.parent / ".cache" / "measurements.jsonl")


def statement(
    declaration: Declaration,
    space: SearchSpace,
    dataset: Dataset,
    device: DeviceInfo,
    augmentation: str | None = None,
) -> dict[str, Any]:
    """What run.yaml says: the declaration, and what must be the same if the run is continued.

    `augmentation` is the digest of the user's own, which is part of the recipe.
    """
    try:
        net = build_candidate(space, space.baseline, dataset.outputs, device.channel_step)
    except CandidateError as error:
        raise InputError(f"the baseline of {space.name} must work: {error}") from error
    return {
        **declaration.to_yaml(),
        "baseline": to_json(space.baseline),
        "classes": list(dataset.classes),
        "pictures": {split: len(samples) for split, samples in dataset.splits.items()},
        "data_digest": dataset.digest,
        "licence": licence_of(declaration.data),
        "structure": structure_digest(net, space.baseline.input_hw),
        "knobs": {k.name: [*k.choices] for k in space.knobs_at(declaration.effort)},
        "training": {
            **to_json(recipe_of(space, declaration)),
            "augmentation": augmentation,
        },
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


def own_device(said: Mapping[str, Any]) -> DeviceInfo:
    """The device that a run was begun on, as its run.yaml tells."""
    return from_json(DeviceInfo, said["measured_on"])


def require_same(before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Raises InputError where two statements differ in what results depend on."""
    was, is_now, trained = own_device(before), own_device(now), before.get("training", {})
    same = {
        "the data": before.get("data_digest") == now["data_digest"],
        "the device or its runtime": was.fingerprint == is_now.fingerprint,
        # Before the structure, which changes with it for most networks.
        "the channel step of the device": was.channel_step == is_now.channel_step,
        "the network's code": before.get("structure") == now["structure"],
        "the space": all(before.get(name) == now[name] for name in ("baseline", "knobs")),
        "the augmentation": trained.get("augmentation") == now["training"]["augmentation"],
        "the recipe": trained == now["training"],
    }
    for what, holds in same.items():
        if not holds:
            raise InputError(
                f"{what} changed since the run began; results would not compare: put it back, or "
                "begin a new run with `autoseg optimize --name`"
            )


def write_files(folder: Path, classes: tuple[str, ...], device: str | None = None) -> Result:
    """front.csv, front.json, pareto.png and bundles of a run, from its ledger.

    Those of a `device` that it was measured on afterwards lie in a folder of their own.
    """
    result = Result.from_run(folder, device)
    place = result.files
    write_front(place, result.front, result.constraints, result.baseline)
    pareto_png(
        place / "pareto.png", result.evaluations, result.constraints, baseline=result.baseline
    )
    names = [f"{rank}-{e.candidate.key}" for rank, e in enumerate(result.front, start=1)]
    for name, evaluation in zip(names, result.front, strict=True):
        # Again even if it is there: one of an interrupted session has no test score yet.
        bundle_model(result, evaluation, place / "bundles" / name, classes)
    for old in (place / "bundles").iterdir():
        # Of an earlier session, beaten or ranked otherwise since; a user's own files stay.
        if old.is_dir() and old.name not in names:
            shutil.rmtree(old)
    return result


def write_report(result: Result) -> None:
    """report.html beside those files; after the last event, as it tells how far the run came."""
    try:
        write_page(result, result.files / "report.html")
    except Exception as error:  # it is for looking at: no fault in it may cost a run its files
        log.warning("the report of %s could not be written: %s", result.folder.name, error)
