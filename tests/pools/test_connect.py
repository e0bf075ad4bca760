"""What travels to the nodes of a cluster."""

import dataclasses
from pathlib import Path

import pytest

import autoseg
from autoseg.data.user_augmentation import Augmentation
from autoseg.pools.ray.connect import modules_of


@pytest.mark.parametrize(
    ("files", "source", "travels"),
    [
        (["travels_alone.py"], "travels_alone:flips", "travels_alone.py"),
        (["travels/__init__.py", "travels/own.py"], "travels.own:flips", "travels"),
        (["travels_bare/own.py"], "travels_bare.own:flips", "travels_bare"),
        ([], "numpy.random:default_rng", None),  # the nodes have it installed
        ([], "flips.json", None),  # its content travels with the task
    ],
)
def test_modules_of_a_task_are_autoseg_and_what_the_user_wrote(
    task, files, source, travels, tmp_path, monkeypatch
):
    for file in files:
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).touch()
    monkeypatch.syspath_prepend(tmp_path)
    own = dataclasses.replace(task, augmentation=Augmentation(source, None, ""))
    expected = [str(tmp_path / travels)] if travels else []
    assert modules_of(own) == [str(Path(autoseg.__file__).parent), *expected]
