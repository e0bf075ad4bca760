"""YOLO: outlines as text, masks of Ultralytics' semantic task, and what data.yaml may say."""

import re
from pathlib import Path

import numpy as np
import pytest
from labelled import HEIGHT, HW, WIDTH, area, mask_of, save_picture, understood
from PIL import Image

from autoseg.data.dataset import Reading
from autoseg.data.inspection import inspect

YAML = "path: .\ntrain: images/train\nval: images/val\nnames:\n  0: crate\n  1: tape\n"


def line(class_id: int, rows: tuple[int, int], columns: tuple[int, int]) -> str:
    """The outline of a rectangle of pixels."""
    (top, bottom), (left, right) = rows, columns
    corners = [(left, top), (right, top), (right, bottom), (left, bottom)]
    return " ".join([str(class_id), *(f"{x / WIDTH:.6f} {y / HEIGHT:.6f}" for x, y in corners)])


# A few lines that would be 10**12 texts if they were written out.
ALIASES = (
    "&a0 [x, x], "
    + ", ".join(f"&a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12))
    + "]"
)
CRATE = line(0, (5, 15), (10, 20))
TAPE = line(1, (8, 10), (12, 40))


def write(path: Path, *lines: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n" if lines else "")


def dataset(root: Path, *lines: str, yaml: str | None = YAML) -> Path:
    """Pictures a, b, c of train and d, e of val; labels/train/a.txt holds the lines."""
    for split, letters in (("train", "abc"), ("val", "de")):
        for letter in letters:
            save_picture(root / "images" / split / f"{letter}.png")
            write(root / "labels" / split / f"{letter}.txt", CRATE, TAPE)
    if lines:
        write(root / "labels" / "train" / "a.txt", *lines)
    if yaml is not None:
        (root / "data.yaml").write_text(yaml)
    return root


def warned(root: Path, pattern: str) -> bool:
    return any(re.search(pattern, warning) for warning in inspect(root).warnings)


def test_yolo_outlines_are_drawn_and_smaller_ones_cover_larger_ones(tmp_path):
    seen = understood(dataset(tmp_path, TAPE, CRATE), "yolo")
    assert "data.yaml" in seen.why
    assert seen.classes == ("background", "crate", "tape")
    assert seen.pairs == {"train": 3, "val": 2, "test": 0}
    expected = area(1, slice(5, 15), slice(10, 20))
    expected[8:10, 12:40] = 2  # the tape is smaller, though it comes first
    np.testing.assert_array_equal(mask_of(seen), expected)


def test_yolo_class_named_background_is_the_background(tmp_path):
    yaml = YAML.replace("0: crate", "0: Background")
    seen = understood(dataset(tmp_path, TAPE, CRATE, yaml=yaml), "yolo")
    assert seen.classes == ("Background", "tape")
    assert set(np.unique(mask_of(seen))) == {0, 1}


def test_yolo_background_in_another_case_beside_background_is_a_class(tmp_path):
    names = "names: [Background, tape, background]"
    seen = understood(dataset(tmp_path, yaml=YAML[: YAML.index("names")] + names), "yolo")
    assert seen.classes == ("background", "Background", "tape")


@pytest.mark.parametrize(
    ("yaml", "classes"),
    [
        ("names: [crate, 7]", ("background", "crate", "7")),
        ("nc: 2", ("background", "class_0", "class_1")),
        ("names: {1: tape, '0': crate}", ("background", "crate", "tape")),
    ],
)
def test_yolo_names_are_a_list_or_by_id_or_a_number(tmp_path, yaml, classes):
    given = f"train: images/train\nval: images/val\n{yaml}\n"
    assert understood(dataset(tmp_path, yaml=given), "yolo").classes == classes


@pytest.mark.parametrize(
    "entries",
    [
        "train: ../images/train\nval: ../images/val\n",
        "path: /content/sets/crates\ntrain: images/train/\nvalidation: images/val\n",
        "path: ../datasets\ntrain: C:\\sets\\images\\train\nval: [images/val]\n",
        "train: train.txt\nval: val.txt\n",
    ],
)
def test_yolo_splits_are_folders_or_lists_wherever_they_were_written(tmp_path, entries):
    dataset(tmp_path, yaml=f"{entries}names: [crate, tape]\n")
    write(tmp_path / "train.txt", *(f"./images/train/{letter}.png" for letter in "abc"))
    write(tmp_path / "val.txt", "/home/x/sets/images/val/d.png", "images\\val\\e.png")
    seen = understood(tmp_path, "yolo")
    assert seen.pairs == {"train": 3, "val": 2, "test": 0}


def test_yolo_of_roboflow_has_images_and_labels_in_each_split(tmp_path):
    for split, letters in (("train", "abc"), ("valid", "de"), ("test", "f")):
        for letter in letters:
            save_picture(tmp_path / split / "images" / f"{letter}.jpg")
            write(tmp_path / split / "labels" / f"{letter}.txt", CRATE)
    yaml = "".join(f"{key}: ../{key}/images\n" for key in ("train", "valid", "test"))
    (tmp_path / "data.yaml").write_text(
        f"{yaml}nc: 1\nnames: ['crate']\n".replace("valid:", "val:")
    )
    seen = understood(tmp_path, "yolo")
    assert seen.pairs == {"train": 3, "val": 2, "test": 1}
    assert seen.classes == ("background", "crate")


def test_yolo_without_data_yaml_is_recognized_and_split_by_folders(tmp_path):
    save_picture(dataset(tmp_path, yaml=None) / "results.png")
    seen = understood(tmp_path, "yolo")
    assert any(re.search(r"1 pictures outside .*results\.png", w) for w in seen.warnings)
    assert seen.pairs == {"train": 3, "val": 2, "test": 0}
    assert seen.classes == ("background", "class_0", "class_1")
    assert any("nothing names the classes" in warning for warning in seen.warnings)
    (tmp_path / "classes.txt").write_text("crate\ntape\n")
    assert understood(tmp_path, "yolo").classes == ("background", "crate", "tape")


def test_yolo_boxes_among_outlines_are_ignored_pixels(tmp_path):
    seen = understood(dataset(tmp_path, CRATE, f"1 {15 / WIDTH} {10 / HEIGHT} 0.5 0.5"), "yolo")
    mask = mask_of(seen)
    assert mask[5:15, 10:20].max() == 1  # an outline says more than a box
    assert (mask[0, 0], mask[0, 15]) == (255, 255)
    assert any(re.match(r"1 of 10 labels are boxes .*a\.txt", w) for w in seen.warnings)


def test_yolo_boxes_alone_are_one_fault(tmp_path):
    dataset(tmp_path)
    for path in tmp_path.glob("labels/*/*.txt"):
        write(path, "0 0.5 0.5 0.2 0.2")
    (fault,) = inspect(tmp_path).faults
    assert re.search(r"all 5 labels are boxes .* outlines .*labels/train/a\.txt", fault)


def test_yolo_pictures_without_labels_are_background_and_counted(tmp_path):
    dataset(tmp_path)
    write(tmp_path / "labels" / "train" / "a.txt")
    (tmp_path / "labels" / "train" / "b.txt").unlink()
    write(tmp_path / "labels" / "train" / "z.txt", CRATE)
    seen = understood(tmp_path, "yolo")
    assert not mask_of(seen, "a").any() and not mask_of(seen, "b").any()
    for text in (
        r"1 label files are empty: .*a\.txt",
        r"train: 1 pictures have no label file .*b\.png",
        r"1 labels have no picture: labels/train/z\.txt",
    ):
        assert any(re.search(text, warning) for warning in seen.warnings)


def test_yolo_split_without_any_label_file_is_a_fault_and_a_test_left_out(tmp_path):
    dataset(tmp_path, yaml=f"{YAML}test: images/test\n")
    save_picture(tmp_path / "images" / "test" / "f.png")
    assert warned(tmp_path, "test: none of its 1 pictures has labels: left out")
    for path in (tmp_path / "labels" / "val").iterdir():
        path.unlink()
    assert any(re.search(r"^val: 2 pictures have no label", f) for f in inspect(tmp_path).faults)


def test_yolo_pieces_without_area_cost_themselves(tmp_path):
    seen = understood(dataset(tmp_path, CRATE, "1 0.1 0.1", "1", "1 0 0 0.5 0.5 0.7 0.7"), "yolo")
    np.testing.assert_array_equal(mask_of(seen), area(1, slice(5, 15), slice(10, 20)))
    assert any(w.startswith("3 of 12 labels have no area") for w in seen.warnings)


def test_yolo_outline_that_passes_the_edge_is_cut_there(tmp_path):
    seen = understood(dataset(tmp_path, line(0, (-4, 8), (50, 66))), "yolo")
    np.testing.assert_array_equal(mask_of(seen), area(1, slice(0, 8), slice(50, 60)))
    assert any("1 of 9 labels pass the edge" in warning for warning in seen.warnings)


@pytest.mark.parametrize(
    ("damaged", "fault"),
    [
        ("crate 0 0 1 0 1 1", "a.txt: line 2: .*not all numbers"),
        ("0.5 0 0 1 0 1 1", "a.txt: line 2: a class id .*0.5"),
        ("-1 0 0 1 0 1 1", "a.txt: line 2: a class id .*-1"),
        ("0 0 0 1 0 1 1 0.9", "a.txt: line 2: 8 numbers.*confidence"),
        ("0 0 0 1 0 1 nan", "a.txt: line 2: .*nan"),
        ("0 5 5 15 5 15 12", "a.txt: line 2: .*shares .*0 to 1, got 5"),
        ("7 0 0 1 0 1 1", r"class ids that data.yaml does not name \(.*0 to 1\): 7 in .*a\.txt"),
        ("9" * 400 + " 0 0 1 0 1 1", "a.txt: line 2: a class id"),
    ],
)
def test_yolo_damaged_line_is_one_fault(tmp_path, damaged, fault):
    (found,) = inspect(dataset(tmp_path, CRATE, damaged)).faults
    assert re.search(fault, found)


def test_yolo_file_of_too_many_lines_is_a_fault(tmp_path):
    (fault,) = inspect(dataset(tmp_path, *["0"] * 20_002)).faults
    assert re.search(r"a\.txt: .*20000 lines", fault)


@pytest.mark.parametrize(
    ("yaml", "fault"),
    [
        ("names: [crate, crate]", "names holds a name twice: crate"),
        ("names: {0: [a, b]}", "a name must be a text"),
        ("names: {1000000000: a}", "an id of names must be a number up to 254"),
        ("names: 3", "names must be a list"),
        ("names: [crate, tape]\nkpt_shape: [17, 3]", "key points"),
        ("names: [crate, tape]\nmasks_dir: ../masks", "masks_dir must be a folder in"),
        ("names: [crate, tape]\ntest: 5", "test must be a folder"),
        ("names: [crate, tape]\nlabel_mapping: {a: 1}", "label_mapping: .*no numbers"),
        ("names: [crate]\nlabel_mapping: {1: -7}", "a class is 0 to 255, got -7"),
        ("names: [crate]\nlabel_mapping: {1: .inf}", "label_mapping: .*no numbers"),
        ("names: [" + ALIASES, "must have up to 100,000 values"),
        ("names: !!python/object/apply:os.getcwd []", "valid YAML"),
        ("names: [crate\n", "valid YAML"),
    ],
)
def test_yolo_damaged_data_yaml_is_one_fault(tmp_path, yaml, fault):
    given = f"train: images/train\nval: images/val\n{yaml}\n"
    (found,) = inspect(dataset(tmp_path, yaml=given)).faults
    assert re.search(f"^data.yaml.*{fault}", found)


def test_yolo_missing_places_of_data_yaml_are_named(tmp_path):
    yaml = "train: images/train\nval: images/gone\ntest: images/away\nnames: [crate, tape]\n"
    seen = inspect(dataset(tmp_path, yaml=yaml))
    assert any(re.match("val: data.yaml names images/gone", fault) for fault in seen.faults)
    assert any(re.match("test: data.yaml names images/away", w) for w in seen.warnings)
    assert any(re.match(r"2 pictures .* not used: images/val/d\.png", w) for w in seen.warnings)
    (tmp_path / "images" / "gone").mkdir()
    assert "val: data.yaml names images/gone, which holds no pictures" in inspect(tmp_path).faults


def with_masks(root: Path, yaml: str, *values: int, folder: str = "masks") -> Path:
    """The data set with masks of vertical stripes of values, and without label files."""
    dataset(root, yaml=yaml)
    stripes = np.array(values, np.uint8)[np.arange(WIDTH) * len(values) // WIDTH]
    for picture in root.glob("images/*/*.png"):
        mask = root / folder / picture.relative_to(root / "images")
        mask.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.tile(stripes, (HEIGHT, 1))).save(mask)
    return root


def test_yolo_semantic_masks_hold_class_ids(tmp_path):
    seen = understood(with_masks(tmp_path, f"{YAML}masks_dir: masks\n", 0, 1, 255), "yolo")
    assert seen.classes == ("crate", "tape")
    assert list(mask_of(seen)[0, ::20]) == [0, 1, 255]


def test_yolo_semantic_mapping_gives_classes_of_values(tmp_path):
    mapping = "label_mapping: {-1: ignore_label, 0: ignore_label, 7: 0, 8: 1}\n"
    yaml = f"{YAML}masks_dir: annotations\n{mapping}"
    seen = understood(with_masks(tmp_path, yaml, 0, 7, 8, folder="annotations"), "yolo")
    assert list(mask_of(seen)[0, ::20]) == [255, 0, 1]


def test_yolo_semantic_masks_of_one_class_are_background_and_class(tmp_path):
    yaml = YAML.replace("  1: tape\n", "masks_dir: masks\n")
    seen = understood(with_masks(tmp_path, yaml, 0, 1), "yolo")
    assert seen.classes == ("background", "crate")


def test_yolo_masks_without_masks_dir_are_read_before_labels_with_a_warning(tmp_path):
    seen = understood(with_masks(tmp_path, YAML, 0, 1), "yolo")
    assert seen.classes == ("crate", "tape")
    assert any("masks/ is read and labels/ is not" in warning for warning in seen.warnings)


def test_yolo_picture_without_mask_is_a_fault(tmp_path):
    with_masks(tmp_path, f"{YAML}masks_dir: masks\n", 0, 1)
    (tmp_path / "masks" / "val" / "d.png").unlink()
    (fault,) = inspect(tmp_path).faults
    assert re.search(r"^val: 1 pictures have no mask in masks/: images/val/d\.png", fault)


def test_yolo_requested_for_an_empty_folder_is_one_fault(tmp_path):
    (fault,) = inspect(tmp_path, Reading(format="yolo")).faults
    assert "no picture with labels of YOLO" in fault


def test_yolo_labels_of_a_turned_picture_are_those_of_the_picture_as_shown(tmp_path):
    dataset(tmp_path)
    path = tmp_path / "images" / "train" / "a.png"
    turned = Image.fromarray(np.zeros((WIDTH, HEIGHT, 3), np.uint8))
    exif = turned.getexif()
    exif[0x0112] = 6
    turned.save(path, exif=exif)
    assert mask_of(understood(tmp_path, "yolo")).shape == HW
