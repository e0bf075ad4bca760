"""RailSem19: one folder, 19 classes by the names of rs19-config.json, 255 ignored."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from autoseg.data.dataset import Reading
from autoseg.data.folder import inspect, open_folder
from autoseg.data.formats.railsem19 import NAMES

MASK = np.repeat(np.array([0, 17, 255, 12], np.uint8)[:, None], 6, 1).repeat(3, 0)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    base = tmp_path / "rs19_val"
    for kind in ("jpgs", "uint8"):
        (base / kind / "rs19_val").mkdir(parents=True)
    rng = np.random.default_rng(0)
    for number in range(10):
        noise = rng.integers(0, 256, (*MASK.shape, 3), dtype=np.uint8)
        Image.fromarray(noise).save(base / "jpgs" / "rs19_val" / f"rs{number:05d}.jpg")
        Image.fromarray(MASK).save(base / "uint8" / "rs19_val" / f"rs{number:05d}.png")
    labels = [{"name": name, "color": [0, 0, 0], "evaluate": True} for name in NAMES]
    (base / "rs19-config.json").write_text(json.dumps({"labels": labels}))
    return base


def test_railsem19_is_read_in_place_and_split_by_the_seed(root):
    seen = inspect(root)
    assert (seen.format, seen.faults, seen.classes) == ("railsem19", (), NAMES)
    assert re.search(r"70/15/15 .*seed 0", seen.split_source)
    assert seen.pairs == {"train": 6, "val": 2, "test": 2}
    dataset = open_folder(root)
    assert dataset.read(dataset.splits["train"][0])[1].tolist() == MASK.tolist()


def test_railsem19_is_found_one_folder_deeper(root):
    assert re.search(r"in rs19_val: .*jpgs/rs19_val/", inspect(root.parent).why)


def test_railsem19_class_names_come_from_the_config_or_the_default(root):
    (root / "rs19-config.json").write_text(json.dumps({"labels": [{"name": "x"}] * 3}))
    (fault,) = inspect(root).faults
    assert re.search(r"rs19-config\.json .*class.*labels: name", fault)
    labels = [{"name": f"class {number}"} for number in range(19)]
    (root / "rs19-config.json").write_text(json.dumps({"labels": labels}))
    assert inspect(root).classes[17] == "class 17"
    (root / "rs19-config.json").unlink()
    assert inspect(root).classes == NAMES


@pytest.mark.parametrize("text", ["[", "[]", '{"labels": 3}', "[" * 100_000])
def test_railsem19_invalid_config_is_a_fault(root, text):
    (root / "rs19-config.json").write_text(text)
    assert len(inspect(root).faults) == 1


def test_railsem19_requested_for_an_empty_folder_names_what_is_missing(tmp_path):
    seen = inspect(tmp_path, Reading(format="railsem19"))
    (fault,) = seen.faults
    assert all(fact in fault for fact in ("jpgs/rs19_val/", "uint8/rs19_val/", "RailSem19"))
