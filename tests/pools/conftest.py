"""What every job of a pool needs: pictures, a space and a recipe."""

import pytest

from autoseg import data
from autoseg.networks.space_file import load_space
from autoseg.train.recipe import Recipe
from autoseg.train.storage import FolderStorage
from autoseg.train.task import Task


@pytest.fixture(scope="module")
def task(tiny, tmp_path_factory) -> Task:
    folder = tmp_path_factory.mktemp("pool")
    recipe = Recipe(rungs=(1, 2), batch=4, augment=False)
    return Task(
        space=load_space(tiny.space), dataset=data.load(tiny.data), recipe=recipe, seed=0,
        cache_dir=folder / "pictures", checkpoints=FolderStorage(folder / "checkpoints").prepare(),
    )  # fmt: skip
