"""Masks whose values are no class indices, or mean something else in each file."""

import re
from pathlib import Path

import numpy as np
import pytest
from labelled import HEIGHT, WIDTH, mask_of, save_picture, understood
from PIL import Image

from autoseg.data.inspection import inspect

BOX = np.zeros((HEIGHT, WIDTH), np.uint8)
BOX[10:30, 15:40] = 1


def dataset(root: Path, *masks: Image.Image) -> Path:
    (root / "masks").mkdir(parents=True)
    for letter, mask in zip("abcdefgh", masks, strict=False):
        save_picture(root / "images" / f"{letter}.png")
        mask.save(root / "masks" / f"{letter}.png")
    return root


def grey(values: np.ndarray) -> Image.Image:
    return Image.fromarray(values.astype(np.uint8))


def resized(resample: Image.Resampling) -> Image.Image:
    small = grey(BOX * 255).resize((WIDTH // 3, HEIGHT // 3), Image.Resampling.BOX)
    return small.resize((WIDTH, HEIGHT), resample)


def palette(colours: list[tuple[int, int, int]], values: np.ndarray) -> Image.Image:
    picture = Image.fromarray(values.astype(np.uint8), "P")
    picture.putpalette([part for colour in colours for part in colour])
    return picture


THIN = np.zeros((HEIGHT, WIDTH), np.uint8)
THIN[np.arange(HEIGHT), np.arange(HEIGHT)] = 255
SOFT = {
    "thin": grey(THIN).rotate(7, Image.Resampling.BICUBIC),
    "bicubic": resized(Image.Resampling.BICUBIC),
    "bilinear": resized(Image.Resampling.BILINEAR),
}  # fmt: skip


@pytest.mark.parametrize("kind", SOFT)
def test_inspect_says_that_masks_are_grey_levels(tmp_path, kind):
    dataset(tmp_path, *[SOFT[kind]] * 4, grey(BOX * 255))
    seen = inspect(tmp_path)
    (fault,) = seen.faults
    assert re.search(
        r"^4 of 5 masks are grey levels.* 0 or 255 .*Threshold .* 128.*masks/a\.png", fault
    )
    assert len(seen.classes) == 2


@pytest.mark.parametrize("kind", SOFT)
def test_inspect_reads_grey_levels_by_half_where_two_classes_are_named(tmp_path, kind):
    dataset(tmp_path, *[SOFT[kind]] * 4, grey(BOX * 255))
    (tmp_path / "classes.txt").write_text("floor\nbox\n")
    seen = understood(tmp_path, "plain")
    assert any("From 128 on they are read as box" in warning for warning in seen.warnings)
    assert np.array_equal(mask_of(seen), np.asarray(SOFT[kind]) >= 128)


@pytest.mark.parametrize(
    "values",
    [
        np.where(BOX, 255, np.arange(HEIGHT)[:, None] % 4),  # classes, and most is ignored
        np.where(BOX, 18, np.arange(HEIGHT)[:, None] % 18),
    ],
)
def test_inspect_takes_class_indices_for_no_grey_levels(tmp_path, values):
    seen = understood(dataset(tmp_path, *[grey(values)] * 5), "plain")
    assert np.array_equal(mask_of(seen), values)


RED, GREEN, BLACK = (200, 0, 0), (0, 200, 0), (0, 0, 0)
TWO = np.where(np.arange(WIDTH) < 20, 2, BOX)


def reindexed(values: np.ndarray) -> Image.Image:
    """The same colours in another order, as programs that make PNG smaller leave them."""
    return palette([RED, GREEN, BLACK], np.array([2, 0, 1])[values])


def test_inspect_refuses_palettes_in_different_orders_and_reads_them_by_a_table(tmp_path):
    ours = palette([BLACK, RED, GREEN], TWO)
    dataset(tmp_path, ours, ours, ours, reindexed(TWO), reindexed(TWO))
    (fault,) = inspect(tmp_path).faults
    assert re.search(
        r"#000000 is 0 in masks/a\.png.* and 2 in masks/d\.png.*class_dict\.csv", fault
    )
    (tmp_path / "class_dict.csv").write_text("name,r,g,b\nfloor,0,0,0\na,200,0,0\nb,0,200,0\n")
    seen = understood(tmp_path, "plain")
    assert all(np.array_equal(mask_of(seen, letter), TWO) for letter in "ad")


def test_inspect_warns_of_other_colours_for_an_index(tmp_path):
    seen = understood(
        dataset(tmp_path, *[palette([BLACK, RED], BOX)] * 4, palette([BLACK, GREEN], BOX)), "plain"
    )
    assert any(re.search("palettes .* index 1 is #c80000 in .* and #00c800 in", w)
               for w in seen.warnings)  # fmt: skip


def test_inspect_takes_a_palette_of_equal_colours_as_indices(tmp_path):
    masks = [palette([BLACK, BLACK], BOX), palette([RED, RED], BOX)] * 3
    assert np.array_equal(mask_of(understood(dataset(tmp_path, *masks), "plain")), BOX)


def test_voc_reads_palettes_in_another_order_by_colour(tmp_path):
    vocs = [BLACK, (128, 0, 0), (0, 128, 0)]
    other = palette([vocs[2], vocs[1], vocs[0]], np.array([2, 1, 0])[TWO])
    for letter, mask in zip("abcde", [palette(vocs, TWO)] * 3 + [other] * 2, strict=True):
        save_picture(tmp_path / "JPEGImages" / f"{letter}.png")
        (tmp_path / "SegmentationClass").mkdir(exist_ok=True)
        mask.save(tmp_path / "SegmentationClass" / f"{letter}.png")
    seen = understood(tmp_path, "voc")
    assert all(np.array_equal(mask_of(seen, letter), TWO) for letter in "ae")


def test_inspect_refuses_two_conventions_of_an_object(tmp_path):
    dataset(tmp_path, *[grey(BOX)] * 2, *[grey(BOX * 255)] * 3, grey(BOX * 0))
    (fault,) = inspect(tmp_path).faults
    assert re.search(
        r"^2 masks hold 0 and 1 \(masks/a\.png, masks/b\.png\), 3 hold 0 and 255", fault
    )
    (tmp_path / "classes.txt").write_text("floor\nbox\n")
    seen = understood(tmp_path, "plain")
    assert any("255 is read as ignore" in warning for warning in seen.warnings)


def test_inspect_names_the_colour_pictures_among_masks_of_indices(tmp_path):
    colours = Image.fromarray(np.array([BLACK, RED, GREEN], np.uint8)[TWO])
    (fault,) = inspect(dataset(tmp_path, *[grey(TWO)] * 3, colours, colours)).faults
    assert re.search(r"^masks/d\.png, masks/e\.png: a colour picture is no mask", fault)


def test_inspect_finds_a_jpeg_under_the_name_of_a_png(tmp_path):
    dataset(tmp_path, *[grey(BOX * 90)] * 5)
    grey(BOX * 90).save(tmp_path / "masks" / "a.png", "JPEG", quality=20)
    assert any(
        re.search(r"^masks/a\.png: JPEG blurs", fault) for fault in inspect(tmp_path).faults
    )


@pytest.mark.parametrize(
    ("names", "warned"), [("", 1), ("background\nbox\n", 1), ("box\nbackground\n", 0)]
)
def test_inspect_warns_of_black_that_is_not_the_background(tmp_path, names, warned):
    dataset(tmp_path, *[palette([RED, BLACK], BOX)] * 5)
    if names:
        (tmp_path / "classes.txt").write_text(names)
    told = "index 0, which is read as the background, is #c80000 .* black is the index 1"
    warnings = understood(tmp_path, "plain").warnings
    assert sum(bool(re.search(told, warning)) for warning in warnings) == warned
