"""The training of the shared run reaches its floor whatever kernels the processor has."""

import json
import os
import subprocess
import sys
from itertools import product
from pathlib import Path

import pytest

from autoseg import data
from autoseg.core.feasibility import p_iou_met
from autoseg.core.records import Candidate, Job, Score
from autoseg.core.serialize import from_json, to_json
from autoseg.networks.space_file import load_space
from autoseg.train.loop import train_job
from autoseg.train.recipe import Recipe
from autoseg.train.storage import FolderStorage
from autoseg.train.task import Task

SEEDS = range(3)
MARGIN = 0.2  # IoU: an unlucky seed or another rounding costs less
KERNELS = [
    ("ATEN_CPU_CAPABILITY", "default"),
    ("ATEN_CPU_CAPABILITY", "avx2"),
    ("ONEDNN_MAX_CPU_ISA", "SSE41"),
    ("ONEDNN_MAX_CPU_ISA", "AVX2"),
]


def promised(task: Task, candidate: Candidate) -> Score:
    """The score on val after both rungs and the decay."""
    done = 0
    for epochs in task.recipe.rungs:
        train_job(task, Job(candidate, done, epochs), "cpu")
        done = epochs
    decay = task.recipe.decay_epochs(done)
    return train_job(task, Job(candidate, done, done + decay, decay=True), "cpu").score


def train_all(folder: Path, asked: dict) -> list[Score]:
    """Every candidate of the tiny space, with each seed."""
    space, pictures = load_space(asked["space"]), data.load(asked["data"])
    recipe = Recipe(**{**asked["recipe"], "rungs": tuple(asked["recipe"]["rungs"])})
    found = []
    for seed, resolution, a in product(SEEDS, (96, 64), (0.25, 0.125)):
        place = folder / str(seed)
        task = Task(
            space=space, dataset=pictures, recipe=recipe, seed=seed,
            cache_dir=folder / "pictures", checkpoints=FolderStorage(place).prepare(),
        )  # fmt: skip
        found.append(promised(task, space.candidate(resolution=resolution, a=a)))
    return found


@pytest.mark.slow
@pytest.mark.parametrize(("variable", "kernels"), KERNELS)
def test_every_candidate_is_far_over_the_floor_with_any_kernels(variable, kernels, tiny, tmp_path):
    given = json.dumps(tiny.given, default=str)
    done = subprocess.run(
        [sys.executable, __file__, tmp_path, given], env={**os.environ, variable: kernels},
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    scores = [from_json(Score, score) for score in json.loads(done.stdout)]
    assert len(scores) == len(SEEDS) * 4
    floor = tiny.given["min_iou"]
    assert min(score.iou for score in scores) > floor + MARGIN
    assert min(p_iou_met(score, floor) for score in scores) > 0.999


if __name__ == "__main__":
    import torch

    torch.set_num_threads(1)
    scores = train_all(Path(sys.argv[1]), json.loads(sys.argv[2]))
    print(json.dumps([to_json(score) for score in scores]))
