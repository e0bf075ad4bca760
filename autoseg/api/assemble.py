"""Makes the parts of a run from its declaration: data, task, scheduler, pool, and run.yaml."""

from __future__ import annotations

import math
import platform
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from statistics import fmean
from typing import Any

from autoseg import __version__
from autoseg import data as data_room
from autoseg.core.cpus import usable_cpus
from autoseg.core.errors import CandidateError, InputError
from autoseg.core.records import Constraints, DeviceInfo
from autoseg.core.serialize import from_json, to_json
from autoseg.core.units import parse_hw
from autoseg.data.dataset import FULL_RANGE, Dataset
from autoseg.data.licence import licence_of
from autoseg.data.resize import VERSION as RESIZE_VERSION
from autoseg.data.user_augmentation import Augmentation, check, load_augmentation
from autoseg.networks.space import SearchSpace
from autoseg.networks.space_file import load_space
from autoseg.networks.structure import structure_digest
from autoseg.pools.local import LocalPool
from autoseg.pools.protocol import Pool
from autoseg.pools.slots import make_slots, this_machine, training_bytes
from autoseg.run.declaration import Declaration
from autoseg.run.places import continued
from autoseg.run.store import read_declaration
from autoseg.search.expected_hypervolume import ExpectedHypervolume
from autoseg.search.overheads import Overheads
from autoseg.search.proposers.optuna import OptunaProposer
from autoseg.search.scheduler import SearchScheduler
from autoseg.search.state import SearchProblem, StateBuilder
from autoseg.search.training_time import TrainingTime
from autoseg.search.whole_trainings import WholeTrainings
from autoseg.train.contact_sheet import Example
from autoseg.train.recipe import OF_EFFORT, Recipe
from autoseg.train.storage import FolderStorage, Storage, storage_at
from autoseg.train.task import Task, build_candidate, task_for

UNTRAINED = ("data", "remap", "space")  # files of a run that are needed where nothing is trained
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


def dataset_of(results: Path, declaration: Declaration) -> Dataset:
    """The declared data; what their inspection found is kept beside the runs in `results`."""
    inspected = results / ".cache" / "inspected"
    return data_room.load(declaration.data, declaration.reading, cache_dir=inspected)


def task_of(
    folder: Path,
    declaration: Declaration,
    space: SearchSpace,
    dataset: Dataset,
    step: int,
    augmentation: Augmentation | None = None,
    *,
    checkpoints: Storage,
    examples: tuple[Example, ...] = (),
) -> Task:
    """The task of the run in `folder` for its workers; `step` is its channel step."""
    return Task(
        space=space,
        dataset=dataset,
        recipe=recipe_of(space, declaration),
        seed=declaration.seed,
        cache_dir=folder.parent / ".cache" / "pictures",
        checkpoints=checkpoints,
        channel_step=step,
        augmentation=augmentation,
        examples=examples,
    )


def checkpoints_url(
    folder: Path, declaration: Declaration, before: Mapping[str, Any]
) -> str | None:
    """The URL of a run's checkpoints, None for its folder; `before` is its run.yaml, if any.

    A run that gets another name keeps its place.
    """
    if declaration.storage is None:
        return None
    if before.get("storage") == declaration.storage:
        return str(before["checkpoints"])
    return f"{declaration.storage.rstrip('/')}/{folder.absolute().name}"


def checkpoints_of(folder: Path, url: str | None) -> Storage:
    """The storage of a run's checkpoints. Raises InputError where its driver is missing."""
    return storage_at(url) if url else FolderStorage(folder / "checkpoints")


def task_of_run(folder: Path, declaration: Declaration | None = None) -> Task:
    """The task of an existing run: the same networks, data and channel step; a `declaration` says
    where its files lie now.

    Raises InputError where one of them changed since the run began, or is not there.
    """
    raw = read_declaration(folder)
    declaration = declaration or continued(folder, {}, UNTRAINED)
    space, dataset = load_space(declaration.space), dataset_of(folder.parent, declaration)
    own = own_device(raw)
    # Nothing is trained: the file of an augmentation may be gone.
    augmentation = raw.get("training", {}).get("augmentation")
    require_same(raw, statement(declaration, space, dataset, own, augmentation))
    checkpoints = checkpoints_of(folder, raw.get("checkpoints"))
    return task_of(folder, declaration, space, dataset, own.channel_step, checkpoints=checkpoints)


def pool_of(task: Task, declaration: Declaration, scheduler: SearchScheduler) -> Pool:
    """The declared pool, not started.

    Raises InputError where it asks for GPUs that are not there, or for a cluster that does not
    answer.
    """

    def largest_bytes() -> int:
        """GPU memory of the largest training among the candidates that the scheduler knows."""
        known = scheduler.states.proposed
        return max(
            training_bytes(cost, task_for(task, candidate).recipe.batch)
            for candidate, cost in zip(known.candidates, known.costs, strict=True)
        )

    asked: dict[str, Any] = {
        "workers": declaration.workers,
        "gpus": declaration.gpus,
        "gpus_per_trial": declaration.gpus_per_trial,
        "training_bytes": largest_bytes,
    }
    if declaration.pool == "local":
        return LocalPool(task, make_slots(this_machine(with_gpus=declaration.gpus != 0), **asked))
    from autoseg.pools.ray.layout import Wanted
    from autoseg.pools.ray.pool import RayPool

    address = None if declaration.pool == "ray" else declaration.pool
    return RayPool(task, address=address, wanted=Wanted(**asked))


def scheduler_of(
    task: Task, declaration: Declaration, constraints: Constraints
) -> SearchScheduler:
    """The scheduler for a task, a latency ceiling and an IoU floor."""
    effort, seed = declaration.effort, declaration.seed
    splits = task.dataset.splits
    _, visited = task.recipe.pictures(0, len(splits["train"]))
    training_time = TrainingTime(
        space=task.space,
        recipe=task.recipe,
        outputs=task.dataset.outputs,
        pictures=visited,
        channel_step=task.channel_step,
        overheads=_overheads(task, visited),
    )
    problem = SearchProblem(
        space=task.space,
        effort=effort,
        constraints=constraints,
        recipe=task.recipe,
        training_time=training_time,
        seed=seed,
        budget_s=declaration.budget_s,
        trials=declaration.trials,
    )
    if declaration.sampler == "autoseg":
        return SearchScheduler(StateBuilder(problem), ExpectedHypervolume())
    proposer = OptunaProposer(task.space, effort, constraints, seed, declaration.sampler)
    return SearchScheduler(StateBuilder(problem), WholeTrainings(proposer))


def _overheads(task: Task, visited: int) -> Overheads:
    splits = task.dataset.splits
    sizes = [math.prod(sample.hw) for split in splits.values() for sample in split]
    return Overheads(
        train=visited,
        scored=min(len(splits["val"]), task.recipe.val_pictures),
        val=len(splits["val"]),
        test=len(splits.get("test", ())),
        pixels=fmean(sizes),
    )


def statement(
    declaration: Declaration,
    space: SearchSpace,
    dataset: Dataset,
    device: DeviceInfo,
    augmentation: str | None = None,
) -> dict[str, Any]:
    """The content of run.yaml: the declaration, and what must be the same in a continued run.

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
        "grey_range": None if dataset.grey_range == FULL_RANGE else [*dataset.grey_range],
        "licence": licence_of(declaration.data),
        "resize": RESIZE_VERSION,
        "structure": structure_digest(net, space.baseline.input_hw),
        "knobs": {k.name: [*k.choices] for k in space.knobs_at(declaration.effort)},
        "training": {**to_json(recipe_of(space, declaration)), "augmentation": augmentation},
        "measured_on": to_json(device),
        "machine": {
            "platform": platform.platform(),
            "processor": platform.machine(),
            "cpus": usable_cpus(),
        },
        "versions": {
            "autoseg": __version__,
            "python": platform.python_version(),
            **{p: version(p) for p in PACKAGES},
        },
    }


def own_device(raw: Mapping[str, Any]) -> DeviceInfo:
    """The device that a run was begun on, from the content of its run.yaml."""
    return from_json(DeviceInfo, raw["measured_on"])


def require_same(before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Raises InputError where two statements differ in what results depend on."""
    was, is_now, trained = own_device(before), own_device(now), before.get("training", {})
    same = {
        _data_text(before, now): before.get("data_digest") == now["data_digest"],
        "the device or its runtime": was.fingerprint == is_now.fingerprint,
        # Before the structure, which changes with it for most networks.
        "the channel step of the device": was.channel_step == is_now.channel_step,
        "the network's code": before.get("structure") == now["structure"],
        "the resize of pictures": before.get("resize") == now["resize"],
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


def _data_text(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """The data's place, and its numbers of pictures where they differ."""
    where = f"the data in {now['data']}" if now["data"] else "the data"
    then, here = (
        ", ".join(f"{count} {split}" for split, count in said.get("pictures", {}).items())
        for said in (before, now)
    )
    return where if then == here else f"{where} ({here}; the run's were {then})"
