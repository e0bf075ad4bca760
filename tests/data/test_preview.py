"""The contact sheet: right pictures, right colours, in their places, whatever the data."""

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from autoseg.core.errors import InputError
from autoseg.core.records import IGNORE_INDEX
from autoseg.data.dataset import SPLITS, Dataset, Sample
from autoseg.data.drawing.overlay import class_colours, overlay
from autoseg.data.drawing.preview import draw_preview, save_preview
from autoseg.data.synthetic.parcels import parcels


def made(
    hws: list[tuple[int, int]],
    classes: tuple[str, ...] = ("background", "part"),
    strata: tuple[str, ...] = ("",),
) -> Dataset:
    """Black pictures; the left third of a mask is class 0, the middle 1, the right ignored."""

    def read(sample: Sample) -> tuple[np.ndarray, np.ndarray]:
        hw = hws[int(sample.image)]
        mask = np.zeros(hw, np.uint8)
        mask[:, hw[1] // 3 :] = 1
        mask[:, hw[1] * 2 // 3 :] = IGNORE_INDEX
        return np.zeros((*hw, 3), np.uint8), mask

    train = tuple(
        Sample(
            stem=f"picture-{n:03}",
            group=f"{n}",
            image=f"{n}",
            mask="",
            stratum=strata[n % len(strata)],
        )
        for n in range(len(hws))
    )
    return Dataset(
        name="made",
        classes=classes,
        splits={"train": train, "val": (), "test": ()},
        digest="",
        read=read,
    )


def pixels(sheet: Image.Image, colour: tuple[int, ...]) -> np.ndarray:
    """Rows and columns of a colour, ``[n, 2]``."""
    return np.argwhere((np.asarray(sheet) == colour).all(axis=2))


def test_contact_sheet_tints_and_outlines_classes_and_hatches_ignored_pixels():
    picture, mask = made([(30, 90)]).read(Sample(stem="", group="", image="0", mask=""))
    drawn = overlay(picture + 100, mask, class_colours(("background", "part")))
    full = np.array(class_colours(("background", "part"))[1])
    assert (drawn[:, :30] == 100).all()  # the background stays
    assert (drawn[:, [30, 59]] == full).all()
    inside = drawn[:, 32:57].reshape(-1, 3)
    assert (inside == inside[0]).all() and not (inside[0] == full).all()
    assert np.abs(inside[0] - full).sum() < np.abs(100 - full).sum()
    assert len(np.unique(drawn[:, 62:].reshape(-1, 3), axis=0)) == 2


def test_contact_sheet_tints_a_first_class_that_is_no_background():
    assert class_colours(("sky", "road"))[0] is not None
    assert class_colours(("Background", "road"))[0] is None


def test_class_colours_give_every_class_its_own():
    assert len(set(class_colours([f"class {n}" for n in range(254)]))) == 254


def test_contact_sheet_lays_masks_on_their_pictures():
    sheet = draw_preview(made([(180, 300)] * 6), "train", 6, 0)
    full = class_colours(("background", "part"))[1]
    drawn = pixels(sheet, full)
    # Two outlines of one tile's height each, in six tiles, and a swatch in the legend.
    tile_h = 196  # of 320 x 200 pixels' area at 300:180
    assert len(drawn) == pytest.approx(6 * 2 * tile_h + 16 * 12, rel=0.02)
    columns = np.unique(drawn[drawn[:, 0] > 80][:, 1])
    assert np.diff(columns).max() < sheet.width / 2


@pytest.mark.parametrize(
    "hws",
    [[(1, 1)], [(3, 4000), (4000, 3)], [(500, 40), (64, 64), (30, 900)], [(8, 8)] * 30],
    ids=["one pixel", "strips", "mixed", "small"],
)
def test_contact_sheet_fits_any_picture_size(hws):
    sheet = draw_preview(made(hws), "train", 24, 0)
    assert 480 <= sheet.width < 1600 and sheet.height < 6000
    last = np.asarray(sheet)[:, -12:]
    assert (last == 255).all()  # the margin: nothing runs over it


def test_contact_sheet_samples_all_strata_evenly():
    seen: list[str] = []
    dataset = made([(20, 30)] * 100, strata=("car",) * 9 + ("dog",))

    def read(sample: Sample) -> tuple[np.ndarray, np.ndarray]:
        seen.append(sample.stratum)
        return dataset.read(sample)

    noted = Dataset(
        name="made", classes=dataset.classes, splits=dataset.splits, digest="", read=read
    )
    draw_preview(noted, "train", 20, 0)
    assert len(seen) == 20 and 1 <= seen.count("dog") <= 3


def test_contact_sheet_follows_its_seed():
    scenes = parcels(counts={"train": 12, "val": 1, "test": 1})
    sheets = [draw_preview(scenes, "train", 2, seed).tobytes() for seed in (0, 0, 1)]
    assert sheets[0] == sheets[1] != sheets[2]


def test_contact_sheet_augmented_shows_each_picture_and_its_variants():
    scenes = parcels(counts={"train": 2, "val": 1, "test": 1})
    sheet = np.asarray(draw_preview(scenes, "train", 2, 0, (96, 96)))
    tile, left, step = 253, 12, 261
    assert sheet.shape[1] == 2 * left + 6 * step - 8
    top = int(np.flatnonzero((sheet[:, left : left + tile] != 255).any(axis=(1, 2)) & (
        np.arange(len(sheet)) > 60))[0])  # fmt: skip
    row = [sheet[top : top + 250, left + n * step :][:, :tile].astype(int) for n in range(6)]
    changed = [np.abs(row[0] - other).mean() > 1 for other in row[1:]]
    assert sum(changed) >= 3


def test_contact_sheet_writes_any_class_name():
    classes = ("Straße", "a very long name " * 30, "two\nlines", "道路", *map(str, range(250)))
    sheet = draw_preview(made([(40, 40)], classes), "train", 1, 0)
    assert sheet.width < 600


@pytest.mark.parametrize(
    ("split", "count", "told"),
    [
        ("valid", 1, "--split .*train, val, test, got 'valid'"),
        ("val", 1, "'val'"),
        ("train", 0, "--count .*1 and 400.*, got 0"),
        ("train", 401, "--count .*1 and 400.*, got 401"),
    ],
)
def test_contact_sheet_refuses_wrong_split_and_count(split, count, told):
    assert split in (*SPLITS, "valid")
    with pytest.raises(InputError, match=told):
        draw_preview(made([(4, 4)]), split, count, 0)


@pytest.mark.parametrize(("count", "side", "told"), [(41, 8, "1 and 40"), (1, 1025, "most 1024")])
def test_contact_sheet_augmented_stays_within_bounds(count, side, told):
    with pytest.raises(InputError, match=told):
        draw_preview(made([(4, 4)]), "train", count, 0, (8, side))


def test_write_sheet_writes_the_file_or_raises(tmp_path: Path):
    sheet = draw_preview(made([(40, 40)]), "train", 1, 0)
    save_preview(sheet, tmp_path / "new" / "sheet.png")
    assert Image.open(tmp_path / "new" / "sheet.png").size == sheet.size
    for name in ("sheet.xyz", "sheet", "new/sheet.png/below.png"):
        with pytest.raises(InputError, match=re.escape(name)):
            save_preview(sheet, tmp_path / name)


def test_data_preview_writes_the_file_and_prints_its_path(tiny, tmp_path, autoseg_command):
    asked = ["data", "preview", str(tiny.data), "--split", "val"]
    plain, changed = tmp_path / "plain.png", tmp_path / "changed.png"
    assert autoseg_command(*asked, "-o", str(plain)).stdout == f"{plain}\n"
    called = autoseg_command(*asked, "--augmented", "--resolution", "48x64", "-o", str(changed))
    assert called.code == 0, called.stderr
    # Three pictures in a row, and each in a row of six.
    assert Image.open(changed).height > 2 * Image.open(plain).height
    asked = ["data", "preview", "--resolution", "64"]
    called = autoseg_command(*asked)
    assert called.code == 2 and re.search("--resolution .*--augmented", called.stderr)
