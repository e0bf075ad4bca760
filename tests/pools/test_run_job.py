"""A job needs no file of the machine that asks for it: data and results travel."""

import dataclasses
import io
import pickle
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import torch
from PIL import Image
from pools.jobs import candidates
from pools.test_conformance import BUILDER, SPACE

from autoseg.core.errors import OutOfMemory
from autoseg.core.records import Job
from autoseg.data import user_augmentation
from autoseg.data.cache import shard_arrays
from autoseg.networks.space_file import load_space
from autoseg.pools.run_job import run_job
from autoseg.pools.slots import Slot
from autoseg.train.checkpoints import trained_network
from autoseg.train.contact_sheet import MAX_ROWS_AT_SCORE, examples_of
from autoseg.train.storage import FolderStorage
from autoseg.train.task import Task


def no_files(sample):
    raise AssertionError("the pictures are not on this machine")


@pytest.fixture
def both(task, tmp_path) -> tuple[Task, Task]:
    """The task where the data are, and the same where they are not."""
    task = dataclasses.replace(task, examples=examples_of(task.dataset, MAX_ROWS_AT_SCORE))
    here, there = (
        dataclasses.replace(task, checkpoints=FolderStorage(tmp_path / name).prepare())
        for name in ("here", "there")
    )
    bare = dataclasses.replace(
        there,
        dataset=dataclasses.replace(task.dataset, read=no_files),
        cache_dir=Path("/dev/null/cache"),
        fetch=partial(shard_arrays, task.dataset, tmp_path / "pictures"),
    )
    return here, pickle.loads(pickle.dumps(bare))


def test_run_job_gives_the_same_bits_and_sheet_without_the_files_of_the_data(both):
    job = Job(candidates(both[0])[0], 0, 2)
    here, there = (run_job(task, job, Slot()) for task in both)
    assert dataclasses.replace(here.score, train_s=0.0) == dataclasses.replace(
        there.score, train_s=0.0
    )
    nets = [trained_network(task, job).state_dict().values() for task in both]
    assert all(torch.equal(*pair) for pair in zip(*nets, strict=True))
    assert here.sheet == there.sheet
    assert Image.open(io.BytesIO(there.sheet)).format == "JPEG"


def test_run_job_without_examples_draws_no_sheet(task, tmp_path):
    bare = dataclasses.replace(task, checkpoints=FolderStorage(tmp_path))
    assert run_job(bare, Job(candidates(task)[0], 0, 1), Slot()).sheet is None


@pytest.mark.parametrize(
    "told", ["CUDA error: out of memory", "cuDNN error: CUDNN_STATUS_ALLOC_FAILED"]
)
def test_run_job_knows_memory_that_is_short_however_a_gpu_says_so(
    told, task, tmp_path, monkeypatch
):
    """These are what a context and a workspace raise that find no room beside other trainings."""
    raises = BUILDER.replace('KeyError("no such feature")', f"RuntimeError({told!r})")
    (tmp_path / "short_nets.py").write_text(raises)
    (tmp_path / "odd.yaml").write_text(SPACE.replace("odd_networks", "short_nets"))
    monkeypatch.delitem(sys.modules, "short_nets", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    space = load_space(tmp_path / "odd.yaml")
    checkpoints = FolderStorage(tmp_path / "checkpoints").prepare()
    own = dataclasses.replace(task, space=space, checkpoints=checkpoints)
    assert isinstance(run_job(own, Job(space.candidate(size=5), 0, 1), Slot()), OutOfMemory)


BUILDS = """\
import pickle, sys
from autoseg.train.task import network
task = pickle.load(sys.stdin.buffer)
print(type(network(task, task.space.baseline)).__module__, task.augmentation.digest)
"""
OWN = """\
import albumentations

def flips(height, width, channels):
    return albumentations.Compose([albumentations.HorizontalFlip()])
"""


def test_task_carries_a_users_own_network_and_augmentation_by_name(task, tmp_path, monkeypatch):
    (tmp_path / "odd_travellers.py").write_text(BUILDER + OWN)
    (tmp_path / "odd.yaml").write_text(SPACE.replace("odd_networks", "odd_travellers"))
    monkeypatch.syspath_prepend(tmp_path)
    own = user_augmentation.load_augmentation("odd_travellers:flips")
    space = load_space(tmp_path / "odd.yaml")
    sent = pickle.dumps(dataclasses.replace(task, space=space, augmentation=own))
    done = subprocess.run(
        [sys.executable, "-c", BUILDS], input=sent, capture_output=True, check=False,
        env={"PYTHONPATH": ":".join([str(tmp_path), *sys.path])},
    )  # fmt: skip
    assert done.stdout.decode().split() == ["odd_travellers", own.digest], done.stderr.decode()
