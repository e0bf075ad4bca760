"""What every job of a pool needs: pictures, a space and a recipe."""

import pytest

from autoseg import data
from autoseg.networks.space import load_space
from autoseg.train.recipe import Recipe
from autoseg.train.task import Task


@pytest.fixture(scope="module")
def task(tiny, tmp_path_factory) -> Task:
    folder = tmp_path_factory.mktemp("pool")
    recipe = Recipe(rungs=(1, 2), batch=4, augment=False)
    return Task(
        load_space(tiny.space), data.load(tiny.data), recipe, 0, folder / "pictures",
        folder / "checkpoints",
    )  # fmt: skip
