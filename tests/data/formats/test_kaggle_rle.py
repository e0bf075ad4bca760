"""Tables of runs in the columns of several competitions; the order of the pixels is found out."""

import csv
from pathlib import Path

import numpy as np
import pytest
from labelled import HEIGHT, HW, WIDTH, area, mask_of, save_picture, understood

from autoseg.data.inspection import inspect

BOX = area(1, slice(5, 25), slice(10, 22))
LETTERS = "abcdefgh"


def encode(mask: np.ndarray, *, by_rows: bool = False) -> str:
    """Kaggle's runs: pairs of start and length, the first pixel being 1."""
    flat = np.concatenate([[0], (mask if by_rows else mask.T).ravel(), [0]])
    bounds = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    bounds[1::2] -= bounds[::2]
    return " ".join(map(str, bounds))


def write(path: Path, head: str, *rows: tuple[str, ...]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([head.split(","), *rows])


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    for letter in LETTERS:
        save_picture(tmp_path / f"train_images/{letter}.png")
    return tmp_path


def whole(head: str, name: str, root: Path, by_rows: bool = False) -> Path:
    """A table with one object a picture; `name` makes an entry of a letter."""
    runs = encode(BOX, by_rows=by_rows)
    write(root / "train.csv", head, *((name.format(letter), runs) for letter in LETTERS))
    return root


@pytest.mark.parametrize(
    ("head", "name"),
    [
        ("ImageId,EncodedPixels", "{}.png"),
        ("ImageId, EncodedPixels", "{}"),
        ("img,rle_mask", "{}.png"),
        ("id,rle_mask", "{}"),
        ("id,rle", "{}"),
        ("id,annotation", "{}"),
    ],
)
def test_kaggle_rle_columns_of_competitions_are_known(pictures, head, name):
    seen = understood(whole(head, name, pictures), "kaggle-rle")
    assert seen.why.startswith("train.csv is a table")
    assert seen.classes == ("background", "object")
    assert sum(seen.pairs.values()) == len(LETTERS)
    assert seen.warnings == ()
    np.testing.assert_array_equal(mask_of(seen), BOX)


def test_kaggle_rle_runs_along_the_rows_are_found_out(pictures):
    seen = understood(whole("id,annotation", "{}", pictures, by_rows=True), "kaggle-rle")
    np.testing.assert_array_equal(mask_of(seen), BOX)


@pytest.mark.parametrize("by_rows", [False, True])
def test_kaggle_rle_runs_that_are_longer_than_a_column_show_their_order(pictures, by_rows):
    scratch = area(1, slice(10, 12), slice(2, 58))
    rows = [(f"{letter}.png", encode(scratch, by_rows=by_rows)) for letter in LETTERS]
    write(pictures / "train.csv", "ImageId,EncodedPixels", *rows)
    assert np.array_equal(mask_of(understood(pictures, "kaggle-rle")), scratch)


def test_kaggle_rle_order_that_square_pictures_do_not_show_is_a_warning(tmp_path):
    for letter in LETTERS:
        save_picture(tmp_path / f"{letter}.png", (WIDTH, WIDTH))
    square = np.zeros((WIDTH, WIDTH), np.uint8)
    square[3:9, 20:50] = 1
    rows = [(f"{letter}.png", encode(square)) for letter in LETTERS]
    write(tmp_path / "train.csv", "ImageId,EncodedPixels", *rows)
    seen = understood(tmp_path, "kaggle-rle")
    assert any("read down the columns" in warning for warning in seen.warnings)
    np.testing.assert_array_equal(mask_of(seen), square)


@pytest.mark.parametrize(
    ("head", "row", "classes"),
    [
        ("ImageId,ClassId,EncodedPixels", ("{}.png", "4"), ("class_2", "class_4", "class_11")),
        ("ImageId_ClassId,EncodedPixels", ("{}.png_4",), ("class_2", "class_4", "class_11")),
        ("Image_Label,EncodedPixels", ("{}.png_Fish",), ("Fish", "class_2", "class_11")),
    ],
)
def test_kaggle_rle_class_stands_in_a_column_or_behind_the_name(pictures, head, row, classes):
    other = area(1, slice(30, 40), slice(0, 8))
    rows = []
    for letter in LETTERS:
        rows.append((*(cell.format(letter) for cell in row), encode(BOX)))
        for label in ("2", "11"):
            cells = [cell.replace("Fish", label).replace("4", label) for cell in row]
            runs = encode(other) if label == "11" or letter == "a" else ""
            rows.append((*(cell.format(letter) for cell in cells), runs))
    write(pictures / "train.csv", head, *rows)
    seen = understood(pictures, "kaggle-rle")
    assert seen.classes == ("background", *classes)
    expected = BOX * seen.classes.index(classes[0] if "Fish" in classes else "class_4")
    expected[other > 0] = seen.classes.index("class_11")
    np.testing.assert_array_equal(mask_of(seen), expected)


def test_kaggle_rle_of_jpeg_pictures_with_several_classes(tmp_path):
    rows = []
    for letter in LETTERS:
        save_picture(tmp_path / f"train/{letter}.jpg")
        rows += [(f"{letter}.jpg", "1", encode(BOX)), (f"{letter}.jpg", "2", "1 9")]
    write(tmp_path / "train.csv", "ImageId,ClassId,EncodedPixels", *rows)
    assert understood(tmp_path, "kaggle-rle").classes == ("background", "class_1", "class_2")


def test_kaggle_rle_picture_in_two_tables_is_a_fault(pictures):
    for name in ("train.csv", "train_v2.csv"):
        rows = [(f"{letter}.png", encode(BOX)) for letter in LETTERS]
        write(pictures / name, "ImageId,EncodedPixels", *rows)
    (fault,) = inspect(pictures).faults
    assert fault.startswith("train_v2.csv: a.png is listed in train.csv too; keep one, b.png")


def test_kaggle_rle_empty_cell_is_a_picture_of_background(pictures):
    write(
        pictures / "train.csv",
        "ImageId,EncodedPixels",
        ("a.png", ""),
        *((f"{letter}.png", encode(BOX)) for letter in LETTERS[1:]),
    )
    assert not mask_of(understood(pictures, "kaggle-rle")).any()


def test_kaggle_rle_pictures_without_a_line_are_left_out_with_a_warning(pictures):
    rows = [(f"{letter}.png", encode(BOX)) for letter in LETTERS[2:]]
    write(pictures / "train.csv", "ImageId,EncodedPixels", *rows)
    write(pictures / "sample_submission.csv", "ImageId,EncodedPixels", ("a.png", "1 1"))
    (warning,) = understood(pictures, "kaggle-rle").warnings
    assert "without a line" in warning and "a.png, b.png;" in warning


@pytest.mark.parametrize(
    ("head", "row", "fault"),
    [
        ("ImageId,EncodedPixels", ("a.png", f"1 {HEIGHT * WIDTH + 1}"), "end at pixel 2401"),
        ("ImageId,EncodedPixels", ("a.png", "9 2 1 2"), "not in ascending order"),
        ("ImageId,EncodedPixels", ("a.png", "9 2 1"), "pairs of start and length, got 3"),
        ("ImageId,EncodedPixels", ("a.png", "0 2"), "must begin at pixel 1"),
        ("ImageId,EncodedPixels", ("a.png", "9 two"), "must be whole numbers"),
        ("ImageId,EncodedPixels", ("a.png", "9 " + "9" * 40), "must be whole numbers"),
        ("ImageId,EncodedPixels", ("a.png", "-1"), "as SIIM-ACR does"),
        ("ImageId,EncodedPixels", ("a.png",), "lines with too few columns: 2"),
        ("ImageId,EncodedPixels", ("z.png", "1 1"), "not below {root}: z.png"),
        ("ImageId,EncodedPixels,Height,Width", ("a.png", "1 1", "40", "61"), "a picture of 61x40"),
    ],
)
def test_kaggle_rle_line_that_cannot_be_used_is_one_fault(pictures, head, row, fault):
    rest = [(f"{letter}.png", encode(BOX), *map(str, HW)) for letter in LETTERS[1:]]
    write(pictures / "train.csv", head, row, *rest)
    seen = inspect(pictures)
    assert seen.format == "kaggle-rle"
    (only,) = seen.faults
    assert only.startswith("train.csv") and fault.format(root=pictures) in only


def test_kaggle_rle_table_of_relative_runs_is_one_fault(pictures):
    rows = [(f"{letter}.png", "900 9 3 9 3 9") for letter in LETTERS]
    write(pictures / "train.csv", "ImageId,EncodedPixels", *rows)
    (fault,) = inspect(pictures).faults
    assert "relative" in fault and fault.startswith("train.csv, picture a.png: ")


def test_kaggle_rle_other_table_with_such_a_column_is_not_taken_for_one(pictures):
    write(pictures / "list.csv", "id,annotation", ("a", "a cat on a mat"))
    assert inspect(pictures).format != "kaggle-rle"
