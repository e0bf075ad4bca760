"""A folder for each picture and a mask for each object, as in the Data Science Bowl 2018."""

from pathlib import Path

import numpy as np
import pytest
from labelled import HW, area, mask_of, save_picture, understood
from PIL import Image

from autoseg.data.inspection import inspect

NAMES = ("aa01", "ab02", "ac03", "ad04", "ae05", "af06")


def save_mask(path: Path, rows: slice, columns: slice, value: int = 255) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(area(value, rows, columns)).save(path)


@pytest.fixture
def bowl(tmp_path: Path) -> Path:
    for name in NAMES:
        folder = tmp_path / "stage1_train" / name
        save_picture(folder / f"images/{name}.png")
        save_mask(folder / "masks/1.png", slice(0, 10), slice(0, 20))
        save_mask(folder / "masks/2.png", slice(30, 40), slice(40, 60))
    return tmp_path


def test_dsb2018_mask_is_all_objects_of_its_picture(bowl):
    seen = understood(bowl, "dsb2018")
    assert "stage1_train/aa01/images/aa01.png" in seen.why
    assert seen.classes == ("background", "object")
    assert sum(seen.pairs.values()) == len(NAMES)
    both = area(1, slice(0, 10), slice(0, 20)) | area(1, slice(30, 40), slice(40, 60))
    np.testing.assert_array_equal(mask_of(seen, "ab02"), both)


def test_dsb2018_is_recognized_inside_its_stage(bowl):
    assert understood(bowl / "stage1_train", "dsb2018").pairs["train"] == 4


def test_dsb2018_pictures_without_masks_are_left_out_with_a_warning(bowl):
    save_picture(bowl / "stage1_test/ba01/images/ba01.png")
    save_picture(bowl / "stage1_train/ag07/images/ag07.png")
    seen = understood(bowl, "dsb2018")
    assert sum(seen.pairs.values()) == len(NAMES)
    (warning,) = (text for text in seen.warnings if "without masks" in text)
    assert "stage1_test/ba01/images/ba01.png, stage1_train/ag07/images/ag07.png" in warning


def test_dsb2018_test_stage_with_masks_is_the_test_split(bowl):
    save_picture(bowl / "stage1_test/ba01/images/ba01.png")
    save_mask(bowl / "stage1_test/ba01/masks/1.png", slice(0, 5), slice(0, 5))
    assert understood(bowl, "dsb2018").pairs["test"] == 1


def test_dsb2018_mask_of_another_size_is_a_fault(bowl):
    Image.fromarray(np.full((HW[0], 20), 255, np.uint8)).save(
        bowl / "stage1_train/ad04/masks/3.png"
    )
    (fault,) = inspect(bowl).faults
    assert fault.startswith("stage1_train/ad04/masks/3.png is 20x40, its picture 60x40")


def test_dsb2018_is_not_taken_for_split_folders_of_the_plain_layout(tmp_path):
    for split in ("train", "val"):
        for letter in "abc":
            save_picture(tmp_path / split / f"images/{split}{letter}.png")
            save_mask(tmp_path / split / f"masks/{split}{letter}.png", slice(9), slice(9), 1)
    assert understood(tmp_path, "plain").pairs == {"train": 3, "val": 3, "test": 0}
