"""Cityscapes: 34 label ids become 19 classes, sequences are groups, the test split is a dummy."""

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from autoseg.data.dataset import Reading
from autoseg.data.folder import inspect, open_folder

HW = (12, 16)
# id and train id of each label, as helpers/labels.py of cityscapesScripts lists them.
LABELS = {
    0: 255, 1: 255, 2: 255, 3: 255, 4: 255, 5: 255, 6: 255, 7: 0, 8: 1, 9: 255, 10: 255, 11: 2,
    12: 3, 13: 4, 14: 255, 15: 255, 16: 255, 17: 5, 18: 255, 19: 6, 20: 7, 21: 8, 22: 9, 23: 10,
    24: 11, 25: 12, 26: 13, 27: 14, 28: 15, 29: 255, 30: 255, 31: 16, 32: 17, 33: 18,
}  # fmt: skip


def add(root: Path, split: str, name: str, mask: np.ndarray, kind: str = "labelIds") -> None:
    city = name.split("_")[0]
    noise = np.random.default_rng(sum(name.encode())).integers(0, 256, (*HW, 3), dtype=np.uint8)
    for folder, ending, array in (
        ("leftImg8bit", "leftImg8bit", noise),
        ("gtFine", f"gtFine_{kind}", mask),
        ("gtFine", "gtFine_color", np.zeros((*HW, 3), np.uint8)),
    ):
        path = root / folder / split / city / f"{name}_{ending}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(array).save(path)
    (root / "gtFine" / split / city / f"{name}_gtFine_polygons.json").write_text("{}")


def all_ids() -> np.ndarray:
    return (np.arange(HW[0] * HW[1]) % 34).astype(np.uint8).reshape(HW)


FRAMES = {
    "train": ["aachen_000000_000019", "aachen_000000_000020", "bochum_000000_000313"],
    "val": ["lindau_000000_000019", "munster_000001_000019"],
    "test": ["berlin_000000_000019", "bonn_000004_000019"],
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for split, names in FRAMES.items():
        for name in names:
            dummy = np.where(np.arange(HW[1]) < 4, 1, 0).astype(np.uint8)
            mask = np.tile(dummy, (HW[0], 1)) if split == "test" else all_ids()
            add(tmp_path, split, name, mask)
    return tmp_path


def test_cityscapes_label_ids_become_train_ids(root):
    seen = inspect(root)
    assert (seen.format, seen.faults) == ("cityscapes", ())
    assert len(seen.classes) == 19
    assert (seen.classes[0], seen.classes[18]) == ("road", "bicycle")
    dataset = open_folder(root)
    mask = dataset.read(dataset.splits["val"][0])[1]
    assert mask.tolist() == np.vectorize(LABELS.get)(all_ids()).tolist()


def test_cityscapes_dummy_labels_of_test_are_left_out(root):
    seen = inspect(root)
    assert seen.pairs == {"train": 3, "val": 2, "test": 0}
    assert any(re.search(r"\btest\b.*ignored", warning) for warning in seen.warnings)


def test_cityscapes_test_split_with_labels_is_used(root):
    for name in FRAMES["test"]:
        add(root, "test", name, all_ids())
    assert inspect(root).pairs == {"train": 3, "val": 2, "test": 2}


def test_cityscapes_sequence_of_a_city_is_a_group(root):
    groups = {s.stem: s.group for s in inspect(root).splits["train"]}
    assert groups == {
        "aachen_000000_000019": "aachen_000000",
        "aachen_000000_000020": "aachen_000000",
        "bochum_000000_000313": "bochum_000000",
    }


def test_cityscapes_train_ids_are_read_where_label_ids_are_absent(root):
    train_ids = np.vectorize(LABELS.get)(all_ids()).astype(np.uint8)
    shutil.rmtree(root / "gtFine")
    for split, names in FRAMES.items():
        for name in names:
            add(root, split, name, train_ids, "labelTrainIds")
    dataset = open_folder(root)
    assert dataset.read(dataset.splits["test"][0])[1].tolist() == train_ids.tolist()


def test_cityscapes_archives_in_separate_folders_are_read(root, tmp_path):
    for name, archive in (("leftImg8bit", "leftImg8bit_trainvaltest"), ("gtFine", "gtFine_all")):
        (root / archive).mkdir()
        (root / name).rename(root / archive / name)
    assert inspect(root).pairs == {"train": 3, "val": 2, "test": 0}


def test_cityscapes_unknown_id_and_missing_mask_are_faults(root):
    add(root, "train", "aachen_000000_000019", np.full(HW, 40, np.uint8))
    (root / "gtFine/val/lindau/lindau_000000_000019_gtFine_labelIds.png").unlink()
    first, second = inspect(root).faults
    assert re.search(r"^val: .*mask.* lindau_000000_000019$", first)
    assert re.search(r"aachen_000000_000019_gtFine_labelIds\.png: .*\b40\b", second)


def test_cityscapes_requested_for_an_empty_folder_names_what_is_missing(tmp_path):
    seen = inspect(tmp_path, Reading(format="cityscapes"))
    (fault,) = seen.faults
    assert all(fact in fault for fact in ("leftImg8bit/", "gtFine/", "Cityscapes"))
