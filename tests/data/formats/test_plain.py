"""The plain layout with a table of colours beside it, and masks whose alpha is the label."""

import re
from pathlib import Path

import numpy as np
import pytest
from labelled import HEIGHT, WIDTH, mask_of, save_picture, understood
from PIL import Image

from autoseg.data.inspection import inspect

FLOOR, CRATE, FOIL = (0, 0, 0), (226, 169, 41), (60, 16, 152)


def dataset(root: Path, mask: np.ndarray, images: str = "images") -> Path:
    """Five pictures with one mask."""
    (root / "masks").mkdir()
    for letter in "abcde":
        save_picture(root / images / f"{letter}.png")
        Image.fromarray(mask).save(root / "masks" / f"{letter}.png")
    return root


def stripes(*values: object) -> np.ndarray:
    rows = np.array(values, np.uint8)[np.arange(HEIGHT) % len(values)]
    return np.repeat(rows[:, None], WIDTH, 1)


@pytest.mark.parametrize("images", ["images", "imgs"])
@pytest.mark.parametrize(
    ("table", "text"),
    [
        ("class_dict.csv", "name,r,g,b\nfloor,0,0,0\ncrate,226,169,41\nfoil,60,16,152\n"),
        ("labelmap.txt", "# label:color_rgb:parts:actions\nfloor:0,0,0::\ncrate:226,169,41::\n"
                         "foil:60,16,152::\n"),
        ("label_colors.txt", "0 0 0 floor\n226 169 41 crate\n60 16 152 foil\n"),
    ],
)  # fmt: skip
def test_plain_masks_of_colours_are_read_by_a_table(tmp_path, table, text, images):
    dataset(tmp_path, stripes(FLOOR, CRATE, FOIL), images)
    (tmp_path / table).write_text(text)
    seen = understood(tmp_path, "plain")
    assert seen.classes == ("floor", "crate", "foil")
    assert list(mask_of(seen)[:3, 0]) == [0, 1, 2]


def test_plain_table_is_used_in_split_folders_and_its_void_is_ignored(tmp_path):
    for split in ("train", "val"):
        (tmp_path / split).mkdir()
        dataset(tmp_path / split, stripes(FLOOR, CRATE, FOIL))
    (tmp_path / "class_dict.csv").write_text(
        "name,r,g,b\nVoid,0,0,0\ncrate,226,169,41\nfoil,60,16,152\n"
    )
    seen = understood(tmp_path, "plain")
    assert seen.classes == ("crate", "foil")
    assert list(mask_of(seen)[:3, 0]) == [255, 0, 1]
    assert any("class_dict.csv: pixels of Void are ignored" in w for w in seen.warnings)


def test_plain_masks_of_indices_are_named_by_the_table_or_by_classes_txt(tmp_path):
    dataset(tmp_path, stripes(0, 2, 1))
    (tmp_path / "class_dict.csv").write_text("name,r,g,b\na,0,0,0\nb,9,0,0\nc,0,9,0\n")
    seen = understood(tmp_path, "plain")
    assert (seen.classes, list(mask_of(seen)[:3, 0])) == (("a", "b", "c"), [0, 2, 1])
    (tmp_path / "classes.txt").write_text("x\ny\nz\n")
    assert understood(tmp_path, "plain").classes == ("x", "y", "z")


def test_plain_masks_of_colours_without_a_table_say_which_file_is_missing(tmp_path):
    faults = inspect(dataset(tmp_path, stripes(FLOOR, CRATE))).faults
    assert any(
        re.search(r"^masks/a\.png, .*: a colour picture .*class_dict\.csv", f) for f in faults
    )


def test_plain_transparent_pixels_have_the_colour_of_the_background(tmp_path):
    dataset(tmp_path, stripes((*CRATE, 255), (255, 255, 255, 0), (*FOIL, 255)))
    (tmp_path / "labelmap.txt").write_text("floor:0,0,0::\ncrate:226,169,41::\nfoil:60,16,152::\n")
    assert list(mask_of(understood(tmp_path, "plain"))[:3, 0]) == [1, 0, 2]


NOISE = np.random.default_rng(3).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
ALPHA = stripes(0, 255)[..., None]


@pytest.mark.parametrize(
    "mask",
    [
        stripes((0, 0, 0, 0), (0, 0, 0, 255)),
        stripes((255, 255, 255, 0), (255, 255, 255, 255)),
        stripes((255, 255, 255, 0), (0, 0, 0, 255)),
        stripes((0, 0), (255, 255)),
        stripes((9, 9, 9, 0), (255, 255, 255, 255)),
        np.concatenate([NOISE, ALPHA], 2),
    ],
    ids=["black", "white", "black on white", "grey and alpha", "white on grey", "cut out"],
)
def test_plain_alpha_is_the_label_where_the_colour_is_none(tmp_path, mask):
    seen = understood(dataset(tmp_path, mask), "plain")
    assert seen.classes == ("background", "object")
    assert list(mask_of(seen)[:2, 0]) == [0, 1]


def test_plain_indices_with_a_transparent_background_stay_indices(tmp_path):
    dataset(tmp_path, stripes((0, 0), (1, 255), (2, 255)))
    Image.fromarray(stripes((0, 0), (1, 255))).save(tmp_path / "masks" / "a.png")
    seen = understood(tmp_path, "plain")
    assert list(mask_of(seen, "a")[:3, 0]) == [0, 1, 0]
    assert list(mask_of(seen, "b")[:3, 0]) == [0, 1, 2]


def test_plain_mask_that_is_transparent_everywhere_is_background(tmp_path):
    dataset(tmp_path, stripes((255, 255, 255, 0), (255, 255, 255, 255)))
    Image.fromarray(stripes((255, 255, 255, 0))).save(tmp_path / "masks" / "a.png")
    assert not mask_of(understood(tmp_path, "plain"), "a").any()


def test_plain_one_colour_with_alpha_is_no_mask_as_other_files_may_have_another(tmp_path):
    dataset(tmp_path, stripes((0, 0, 0, 0), (*CRATE, 255)))
    assert any("a colour picture is no mask" in fault for fault in inspect(tmp_path).faults)


def test_plain_labelmap_of_names_alone_names_the_indices(tmp_path):
    dataset(tmp_path, stripes(0, 1))
    (tmp_path / "labelmap.txt").write_text("floor\nbig crate\n")
    assert understood(tmp_path, "plain").classes == ("floor", "big crate")


def test_plain_black_and_white_stored_as_grey_are_read_by_the_table(tmp_path):
    dataset(tmp_path, stripes(0, 255))
    (tmp_path / "labelmap.txt").write_text("floor:0,0,0::\ncrate:255,255,255::\n")
    assert list(mask_of(understood(tmp_path, "plain"))[:2, 0]) == [0, 1]


@pytest.mark.parametrize("table", ["CLASS_DICT.CSV", "Class_Dict.csv"])
def test_plain_finds_the_table_and_the_names_in_any_case(tmp_path, table):
    dataset(tmp_path, stripes(FLOOR, CRATE))
    (tmp_path / table).write_text("NAME,R,G,B\nFLOOR,0,0,0\nCRATE,226,169,41\n")
    assert understood(tmp_path, "plain").classes == ("FLOOR", "CRATE")
    (tmp_path / table).rename(tmp_path / "away")
    Image.fromarray(stripes(0, 1)).save(tmp_path / "masks" / "a.png")
    (tmp_path / "Classes.TXT").write_text("floor\ncrate\n")
    assert inspect(tmp_path).classes == ("floor", "crate")


def test_plain_reads_8_bits_that_were_written_as_16(tmp_path):
    dataset(tmp_path, stripes(0, 255).astype(np.uint16) * 257)  # as Kaggle's salt masks
    assert list(mask_of(understood(tmp_path, "plain"))[:2, 0]) == [0, 1]
    Image.fromarray(stripes(0, 1).astype(np.uint16) * 300).save(tmp_path / "masks" / "a.png")
    assert any("0..255, got up to 300" in fault for fault in inspect(tmp_path).faults)


def test_plain_reads_the_vessels_of_drive_and_not_its_field_of_view(tmp_path):
    vessels, field = stripes(0, 0, 255), stripes(255, 0)
    for split in ("training", "test"):
        for name in ("21", "22", "23", "24"):
            save_picture(tmp_path / split / "images" / f"{name}_{split}.tif")
            for folder, mask in (("1st_manual", vessels), ("mask", field)):
                ending = "manual1" if folder == "1st_manual" else f"{split}_mask"
                path = tmp_path / split / folder / f"{name}_{ending}.gif"
                path.parent.mkdir(exist_ok=True)
                Image.fromarray(mask).save(path)
    seen = understood(tmp_path, "plain")
    assert list(mask_of(seen, "21_training")[:3, 0]) == [0, 0, 1]
    assert any("not read: test/mask/, training/mask/" in warning for warning in seen.warnings)
    for path in (tmp_path / "test" / "1st_manual").iterdir():  # as its own site gives it
        path.unlink()
    (tmp_path / "test" / "1st_manual").rmdir()
    told = "test: none of the 4 pictures in test/images/ has a mask in test/1st_manual/: left out"
    assert told in understood(tmp_path, "plain").warnings


def test_plain_says_which_of_two_folders_of_masks_is_not_read(tmp_path):
    dataset(tmp_path, stripes(0, 1))
    (tmp_path / "masks").rename(tmp_path / "labels")
    dataset(tmp_path, stripes(1, 0))
    seen = understood(tmp_path, "plain")
    assert any(re.search("beside images/, not read: labels/", w) for w in seen.warnings)


def test_plain_reads_folders_that_are_no_splits_together(tmp_path):
    for camera in ("left", "right"):
        for letter in "abcd":
            save_picture(tmp_path / "images" / camera / f"{letter}.png")
            path = tmp_path / "masks" / camera / f"{letter}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(stripes(0, 1)).save(path)
    seen = understood(tmp_path, "plain")
    assert sum(seen.pairs.values()) == 8
    assert any("no splits and are read together: left/, right/" in w for w in seen.warnings)
    for kind in ("images", "masks"):
        (tmp_path / kind / "left").rename(tmp_path / kind / "train2017")
    assert any("folders that are no split" in fault for fault in inspect(tmp_path).faults)
