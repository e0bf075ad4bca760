"""nnU-Net v2: flat pictures with the labels of dataset.json; volumes are refused by name."""

import json
from pathlib import Path

import numpy as np
import pytest
from labelled import HW, area, mask_of, save_picture, understood
from PIL import Image

from autoseg.data.inspection import inspect

LABELS = {"background": 0, "vessel": 2, "disc": 1, "ignore": 3}


def describe(root: Path, **changed: object) -> None:
    about = {
        "channel_names": {"0": "R"},
        "labels": LABELS,
        "numTraining": 5,
        "file_ending": ".png",
    }
    (root / "dataset.json").write_text(json.dumps(about | changed))


def save_case(root: Path, name: str, part: str = "Tr", ending: str = ".png") -> None:
    labels = area(1, slice(0, 10), slice(0, 20)) + area(2, slice(20, 30), slice(0, 20))
    labels[39] = 3
    (root / f"labels{part}").mkdir(parents=True, exist_ok=True)
    save_picture(root / f"images{part}" / f"{name}_0000{ending}")
    Image.fromarray(labels).save(root / f"labels{part}" / f"{name}{ending}")


@pytest.fixture
def fundus(tmp_path: Path) -> Path:
    describe(tmp_path)
    for letter in "abcde":
        save_case(tmp_path, letter)
    return tmp_path


def test_nnunet_labels_are_named_by_value_and_ignore_is_ignored(fundus):
    seen = understood(fundus, "nnunet")
    assert seen.classes == ("background", "disc", "vessel")
    assert sum(seen.pairs.values()) == 5
    mask = mask_of(seen)
    assert (mask[0, 0], mask[20, 0], mask[39, 0], mask[15, 0]) == (1, 2, 255, 0)


def test_nnunet_test_pictures_need_labels(fundus):
    save_picture(fundus / "imagesTs/t_0000.png")
    seen = understood(fundus, "nnunet")
    assert any("imagesTs/ has no labelsTs/" in warning for warning in seen.warnings)
    save_case(fundus, "t", "Ts")
    assert understood(fundus, "nnunet").pairs["test"] == 1


@pytest.mark.parametrize(
    ("changed", "fault"),
    [
        ({"file_ending": ".nii.gz"}, "NIfTI volumes (.nii.gz)"),
        ({"file_ending": ".nrrd"}, "files of the kind .nrrd"),
        ({"file_ending": 3}, "its file_ending must be a text"),
        (
            {"labels": {"background": 0, "all": [1, 2]}},
            "regions of several values are not read: a",
        ),
        ({"labels": {"background": 0, "a": 1, "b": 1}}, "two labels have one value: a, b"),
        ({"labels": {"background": 0, "a": "1"}}, "a label's value must be 0 to 254, got a: '1'"),
        ({"labels": []}, "its labels must be names with values"),
        ({"labels": {"background": 0, "disc": 1, "ignore": 3}}, "mask values 2 "),
    ],
)
def test_nnunet_dataset_json_that_cannot_be_used_is_a_fault(fundus, changed, fault):
    describe(fundus, **changed)
    assert fault in inspect(fundus).faults[0]


def test_nnunet_of_the_first_version_is_named_as_nifti(tmp_path):
    (tmp_path / "labelsTr").mkdir()
    (tmp_path / "imagesTr").mkdir()
    (tmp_path / "imagesTr/a_0000.nii.gz").write_bytes(b"volume")
    (tmp_path / "dataset.json").write_text('{"labels": {"0": "background", "1": "liver"}}')
    (fault,) = inspect(tmp_path).faults
    assert "NIfTI" in fault and "save each slice as PNG" in fault


def test_nnunet_channels_in_files_of_their_own_are_refused(fundus):
    save_picture(fundus / "imagesTr/a_0001.png")
    assert "do not end with _0000: a_0001" in inspect(fundus).faults[0]


def test_nnunet_tiff_of_several_layers_is_refused(fundus):
    describe(fundus, file_ending=".tif")
    for letter in "abcde":
        (fundus / f"imagesTr/{letter}_0000.png").unlink()
        (fundus / f"labelsTr/{letter}.png").unlink()
        save_case(fundus, letter, ending=".tif")
    assert understood(fundus, "nnunet").classes == ("background", "disc", "vessel")
    layers = [Image.fromarray(np.zeros(HW, np.uint8)) for _ in range(3)]
    layers[0].save(fundus / "imagesTr/b_0000.tif", save_all=True, append_images=layers[1:])
    (fault,) = inspect(fundus).faults
    assert fault.startswith("imagesTr/b_0000.tif holds 3 layers")
