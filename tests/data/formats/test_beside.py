"""Masks beside their pictures: Roboflow's with _classes.csv, DeepGlobe's with class_dict.csv."""

import re
from pathlib import Path

import numpy as np
import pytest
from labelled import HEIGHT, WIDTH, mask_of, save_picture, understood
from PIL import Image

from autoseg.data.inspection import inspect

SPLITS = {"train": "abc", "valid": "de", "test": "f"}
TABLE = "Pixel Value, Class\n0, background\n1, crate\n7, tape, grey\n"


def save_mask(path: Path, *values: object) -> None:
    rows = np.array(values, np.uint8)[np.arange(HEIGHT) % len(values)]
    Image.fromarray(np.repeat(rows[:, None], WIDTH, 1)).save(path)


def roboflow(root: Path, table: str = TABLE, values: tuple[int, ...] = (0, 1, 7)) -> Path:
    for split, letters in SPLITS.items():
        for letter in letters:
            name = f"{letter}_jpg.rf.0{letter}"
            save_picture(root / split / f"{name}.jpg")
            save_mask(root / split / f"{name}_mask.png", *values)
        (root / split / "_classes.csv").write_text(table)
    return root


def test_beside_reads_the_masks_of_roboflow(tmp_path):
    seen = understood(roboflow(tmp_path), "beside")
    assert "_classes.csv of Roboflow" in seen.why
    assert seen.classes == ("background", "crate", "tape, grey")
    assert seen.pairs == {"train": 3, "val": 2, "test": 1}
    assert list(mask_of(seen, "a_jpg.rf.0a")[:3, 0]) == [0, 1, 2]
    assert not any("not pictures" in warning for warning in seen.warnings)


def test_beside_reads_pictures_of_no_split(tmp_path):
    for path in (roboflow(tmp_path / "away") / "train").iterdir():
        path.rename(tmp_path / path.name)
    for name in ("valid", "test"):
        for path in (tmp_path / "away" / name).iterdir():
            path.rename(tmp_path / path.name)
    seen = understood(tmp_path, "beside")
    assert (sum(seen.pairs.values()), seen.pairs["train"]) == (6, 4)


@pytest.mark.parametrize(
    ("table", "fault"),
    [
        ("Pixel Value, Class\n0, background\n", "must name 2 to 254 classes, .*names 1"),
        ("Pixel Value, Class\n0, background\n1, background\n", "each once"),
        ("Pixel Value, Class\n0, background\ncrate\n300, x\n", "'crate', '300, x'"),
        ("Pixel Value, Class\n0, background\n0, crate\n", "'0, crate'"),
    ],
)
def test_beside_damaged_classes_are_faults(tmp_path, table, fault):
    faults = inspect(roboflow(tmp_path, table, (0,))).faults
    assert any(re.search(rf"train/_classes\.csv.*{fault}", line) for line in faults)


def test_beside_tables_that_differ_are_a_fault(tmp_path):
    roboflow(tmp_path)
    (tmp_path / "valid" / "_classes.csv").write_text(TABLE.replace("1, crate", "1, box"))
    faults = inspect(tmp_path).faults
    assert any(re.search(r"not .*same classes: test/.*valid/_classes\.csv", f) for f in faults)


def test_beside_value_that_the_table_lacks_is_a_fault(tmp_path):
    roboflow(tmp_path)
    save_mask(tmp_path / "train" / "a_jpg.rf.0a_mask.png", 0, 2)
    (fault,) = inspect(tmp_path).faults
    assert re.search(r"train/a_jpg\.rf\.0a_mask\.png: mask values 2 ", fault)


def test_beside_picture_without_mask_and_mask_without_picture_are_faults(tmp_path):
    roboflow(tmp_path)
    (tmp_path / "train" / "a_jpg.rf.0a_mask.png").unlink()
    (tmp_path / "train" / "b_jpg.rf.0b.jpg").unlink()
    faults = inspect(tmp_path).faults
    assert "train: pictures without a mask: a_jpg.rf.0a" in faults
    assert "train: masks without a picture: b_jpg.rf.0b" in faults


def test_beside_does_not_take_classification_tables(tmp_path):
    roboflow(tmp_path, "filename, crate\na.jpg, 1\n")
    for mask in tmp_path.glob("*/*_mask.png"):
        mask.unlink()
    assert inspect(tmp_path).format != "beside"


def test_beside_reads_masks_without_a_table(tmp_path):
    for letter in "abcde":
        save_picture(tmp_path / f"scan ({letter}).png")
        save_mask(tmp_path / f"scan ({letter})_mask.png", 0, 255)
    seen = understood(tmp_path, "beside")
    assert seen.classes == ("background", "object")
    (tmp_path / "classes.txt").write_text("tissue\nlesion\n")
    assert understood(tmp_path, "beside").classes == ("tissue", "lesion")


def test_beside_reads_deepglobe_by_its_colours_and_leaves_out_what_has_no_masks(tmp_path):
    for split, letters in {**SPLITS, "train": "abcghi"}.items():
        for letter in letters:
            save_picture(tmp_path / split / f"{letter}_sat.jpg")
            if split == "train":
                save_mask(tmp_path / split / f"{letter}_mask.png", (0, 255, 255), (0, 0, 0))
    table = "name,r,g,b\nurban_land,0,255,255\nwater,0,0,255\nunknown,0,0,0\n"
    (tmp_path / "class_dict.csv").write_text(table)
    seen = understood(tmp_path, "beside")
    assert seen.classes == ("urban_land", "water", "unknown")
    assert sum(seen.pairs.values()) == 6
    assert list(mask_of(seen)[:2, 0]) == [0, 2]
    assert any(re.search(r"^valid: none of its 2 pictures has a mask", w) for w in seen.warnings)


def test_beside_reads_pictures_whose_own_names_end_with_mask(tmp_path):
    for name in ("anna_mask", "ben_mask", "carl_bare", "dora_bare", "emil_sat"):
        save_picture(tmp_path / f"{name}.jpg")
        save_mask(tmp_path / f"{name}_mask.png", 0, 1)
    seen = understood(tmp_path, "beside")
    assert sum(seen.pairs.values()) == 5
    for samples in seen.splits.values():
        assert all(Path(s.mask).stem == f"{Path(s.image).stem}_mask" for s in samples)
