"""MMSegmentation: img_dir/ and ann_dir/, the suffixes of masks, and what 0 means."""

import re
from pathlib import Path

import numpy as np
import pytest
from labelled import HEIGHT, WIDTH, mask_of, save_picture, understood
from PIL import Image

from autoseg.data.dataset import Reading
from autoseg.data.inspection import inspect

SPLITS = {"train": "abc", "val": "de", "test": "f"}


def save_mask(path: Path, *values: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = np.array(values, np.uint8)[np.arange(HEIGHT) % len(values)]
    Image.fromarray(np.repeat(rows[:, None], WIDTH, 1)).save(path)


def dataset(root: Path, picture: str = "", mask: str = "") -> Path:
    for split, letters in SPLITS.items():
        for letter in letters:
            save_picture(root / "img_dir" / split / f"{letter}{picture}.jpg")
            save_mask(root / "ann_dir" / split / f"{letter}{mask}.png", 0, 1, 2, 255)
    return root


@pytest.mark.parametrize(
    ("picture", "mask"),
    [
        ("", ""),
        ("", "_labelTrainIds"),
        ("_leftImg8bit", "_gtFine_labelTrainIds"),
        ("", "_instance_color_RGB"),
        ("", "_manual1"),
        ("", ".ah"),
    ],
)
def test_mmsegmentation_pairs_by_its_suffixes(tmp_path, picture, mask):
    seen = understood(dataset(tmp_path, picture, mask), "mmsegmentation")
    assert seen.pairs == {"train": 3, "val": 2, "test": 1}
    assert list(mask_of(seen)[:4, 0]) == [0, 1, 2, 255]
    assert any("reduce_zero_label" in warning for warning in seen.warnings)


def test_mmsegmentation_masks_of_another_convention_beside_are_not_used_with_a_warning(tmp_path):
    dataset(tmp_path, mask="_labelTrainIds")
    save_mask(tmp_path / "ann_dir" / "train" / "a.png", 7)
    seen = understood(tmp_path, "mmsegmentation")
    assert any(
        re.search(r"_labelTrainIds are not used: ann_dir/train/a", w) for w in seen.warnings
    )


def test_mmsegmentation_names_are_those_of_classes_txt_or_a_table_of_colours(tmp_path):
    dataset(tmp_path)
    (tmp_path / "classes.txt").write_text("floor\ncrate\ntape\n")
    assert understood(tmp_path, "mmsegmentation").classes == ("floor", "crate", "tape")


def test_mmsegmentation_test_without_masks_is_left_out(tmp_path):
    dataset(tmp_path)
    (tmp_path / "ann_dir" / "test" / "f.png").unlink()
    seen = understood(tmp_path, "mmsegmentation")
    assert seen.pairs["test"] == 0
    assert any("test: none of its 1 pictures has a mask" in warning for warning in seen.warnings)


def test_mmsegmentation_folders_that_are_no_split_are_a_fault(tmp_path):
    dataset(tmp_path)
    (tmp_path / "img_dir" / "extra").mkdir()
    assert any(re.search("beside those of splits: extra", f) for f in inspect(tmp_path).faults)


@pytest.mark.parametrize("listed", [True, False])
def test_mmsegmentation_without_split_folders_takes_the_lists_in_splits(tmp_path, listed):
    for kind in ("img_dir", "ann_dir"):
        for path in list((dataset(tmp_path / "away") / kind).rglob("*.*g")):
            (tmp_path / kind).mkdir(exist_ok=True)
            path.rename(tmp_path / kind / path.name)
    if listed:
        (tmp_path / "splits").mkdir()
        for split, letters in SPLITS.items():
            (tmp_path / "splits" / f"{split}.txt").write_text("\n".join(letters))
    seen = understood(tmp_path, "mmsegmentation")
    expected = {"train": 3, "val": 2, "test": 1} if listed else {"train": 4, "val": 1, "test": 1}
    assert seen.pairs == expected


def test_mmsegmentation_requested_for_another_folder_names_what_is_missing(tmp_path):
    (fault,) = inspect(tmp_path, Reading(format="mmsegmentation")).faults
    assert "img_dir/" in fault and "ann_dir/" in fault


def test_mmsegmentation_reads_what_its_tools_convert(tmp_path):
    for split, letters in (("training", "abc"), ("validation", "de")):
        for letter in letters:
            save_picture(tmp_path / "images" / split / f"{letter}.png")
            save_mask(tmp_path / "annotations" / split / f"{letter}_manual1.png", 0, 1)
    seen = understood(tmp_path, "mmsegmentation")
    assert seen.pairs == {"train": 3, "val": 2, "test": 0}
    assert list(mask_of(seen)[:2, 0]) == [0, 1]
