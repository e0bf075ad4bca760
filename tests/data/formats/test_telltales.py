"""What is said of a folder that no format reads."""

import re

import pytest
from labelled import save_picture

from autoseg.data.formats import FORMATS
from autoseg.data.formats.telltales import TELLTALES
from autoseg.data.inspection import inspect

FOUND = {
    "train-00000-of-00001.parquet": "Hugging Face.* save its pictures and masks as PNG",
    "pictures.zip": "give it in the place of the folder, or unpack it",
    "scan.nii.gz": r"NIfTI\): save its slices",
    "data.yaml": "YOLO: the folders that it names must exist",
    "dataset.json": "nnU-Net: there must be imagesTr/ and labelsTr/",
    "annotations.xml": "CVAT: export Segmentation mask",
    "_annotations.csv": "boxes, not outlines.*Roboflow: Semantic Segmentation Masks",
    "labels.npz": "array of numpy",
    "project.ndjson": "Labelbox",
}


@pytest.mark.parametrize("name", FOUND)
def test_inspect_says_whose_a_file_is_and_the_way_out(tmp_path, name):
    for number in range(3):
        save_picture(tmp_path / "train" / f"{number}.jpg")
    (tmp_path / "train" / name).write_bytes(b"-")
    (fault,) = inspect(tmp_path).faults
    assert "Found in train/: 3 .jpg, 1 ." in fault
    assert re.search(rf"train/{re.escape(name)}: .*{FOUND[name]}", fault)
    assert "Read are pictures in images/" in fault


def test_inspect_names_masks_beside_pictures_under_another_name(tmp_path):
    for number in range(3):
        save_picture(tmp_path / f"{number}.jpg")
        save_picture(tmp_path / f"{number}_seg.png")
    (fault,) = inspect(tmp_path).faults
    assert re.search(r"NAME_seg\.png in \./: .* rename them NAME_mask\.png", fault)


def test_inspect_bounds_what_it_says_of_a_large_folder(tmp_path):
    for number in range(30):
        for name in range(30):
            (tmp_path / f"d{number:02d}").mkdir(exist_ok=True)
            (tmp_path / f"d{number:02d}" / f"{name}.npy").write_bytes(b"-")
    (fault,) = inspect(tmp_path).faults
    assert "and 24 more folders" in fault and "and 895 more: an array of numpy" in fault
    assert len(fault) < 1500


def test_telltales_are_lower_case_patterns_and_every_format_has_a_module():
    assert all(pattern == pattern.lower() for pattern in TELLTALES)
    assert len(set(FORMATS)) == len(FORMATS)
