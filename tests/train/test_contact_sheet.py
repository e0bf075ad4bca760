"""Contact sheets of candidates: the right pictures, and wrong regions in their colours."""

import dataclasses
import io

import numpy as np
import pytest
from factories import make_candidate, make_score
from PIL import Image

from autoseg.core.records import IGNORE_INDEX
from autoseg.data.dataset import Dataset, Sample
from autoseg.train.contact_sheet import (
    EXTRA,
    MAX_SHEET_BYTES,
    MISSED,
    drawn,
    errors,
    examples_of,
)
from autoseg.train.metrics import score_pictures

CANDIDATE = make_candidate(a=0.25)
LEFT = 14 + 3 * (208 + 6)  # of the errors


def made(masks, classes=("background", "part"), noise: bool = False, name: str = "") -> Dataset:
    """Grey pictures with these masks as val."""
    rng = np.random.default_rng(0)

    def read(sample):
        mask = masks[int(sample.image)]
        shape = (*mask.shape, 3)
        picture = rng.integers(0, 256, shape) if noise else np.full(shape, 100)
        return picture.astype(np.uint8), mask

    stems = [
        Sample(stem=f"{name}{n}", group=f"{n}", image=f"{n}", mask="") for n in range(len(masks))
    ]
    digest = str(hash((classes, noise, name, *(mask.tobytes() for mask in masks))))
    return Dataset(
        name="made",
        classes=classes,
        splits={"train": (), "val": tuple(stems), "test": ()},
        digest=digest,
        read=read,
    )


def sheet_of(dataset, maps, **facts) -> Image.Image:
    truths = [dataset.read(sample)[1] for sample in dataset.splits["val"]][: len(maps)]
    counts = score_pictures(maps, truths, len(dataset.classes))
    score, examples = make_score(**{"iou": 0.5, **facts}), examples_of(dataset, len(maps))
    jpeg = drawn(examples, dataset, CANDIDATE, score, maps=maps, counts=counts)
    assert len(jpeg) < MAX_SHEET_BYTES
    return Image.open(io.BytesIO(jpeg))


def near(sheet: Image.Image, colour, left: int = LEFT) -> np.ndarray:
    """Where a colour is below the heads and above the legend, as rows and columns."""
    pixels = np.asarray(sheet).astype(int)[:, left : left + 208]
    close = np.abs(pixels - colour).sum(axis=2) < 90
    close[-40:] = False
    return np.argwhere(close)


@pytest.mark.parametrize(
    ("classes", "foreground"), [(("background", "box"), 1), (("box", "Background"), 0)]
)
def test_drawn_distinguishes_false_from_missed_pixels(classes, foreground):
    truth, found = np.zeros((120, 208), np.uint8), np.zeros((60, 104), np.uint8)
    truth[20:100, 20:60] = 1
    found[10:50, 60:90] = 1
    truth, found = (each if foreground else 1 - each for each in (truth, found))
    sheet = sheet_of(made([truth], classes), [found])
    missed, extra = near(sheet, MISSED), near(sheet, EXTRA)
    assert len(missed) == pytest.approx(80 * 40, rel=0.1)
    assert len(extra) == pytest.approx(80 * 60, rel=0.1)
    assert missed[:, 1].min() == pytest.approx(20, abs=2) and missed[:, 1].max() < 64
    assert extra[:, 1].min() == pytest.approx(120, abs=2)


def test_drawn_of_many_classes_has_one_error_colour_and_hatches_ignored_pixels():
    truth, found = np.zeros((40, 60), np.uint8), np.zeros((40, 60), np.uint8)
    truth[:, 20:40], truth[:, 40:] = 2, IGNORE_INDEX
    found[:20] = 1
    shown = errors(np.full((40, 60, 3), 100, np.uint8), truth, found, "abc")
    assert (shown[:20, :20] == EXTRA).all() and (shown[:, 20:40] == EXTRA).all()
    assert len(np.unique(shown[20:, :20].reshape(-1, 3), axis=0)) == 1  # right: left as it is
    assert len(np.unique(shown[:, 40:].reshape(-1, 3), axis=0)) == 2


def test_drawn_of_a_perfect_map_shows_no_error():
    truth = np.zeros((90, 120), np.uint8)
    truth[30:60, 30:60] = 1
    sheet = sheet_of(made([truth]), [truth])
    assert not len(near(sheet, MISSED)) and not len(near(sheet, EXTRA))


def test_drawn_fits_pictures_of_any_size_and_names_of_any_kind():
    sizes = [(1, 1), (4, 900), (900, 4), (64, 64), (30, 50), (500, 400), (8, 8), (200, 300)]
    classes = ("</script><b>", "two\nlines " * 300, "道路", *map(str, range(200)))
    masks = [np.full(hw, 2 + n, np.uint8) for n, hw in enumerate(sizes)]
    sheet = sheet_of(made(masks, classes, name="a'\"<i>\n" * 90), masks)
    assert sheet.width == 878 and sheet.height < 2400


def test_drawn_keeps_noisy_pictures_small():
    masks = [np.zeros((500, 400), np.uint8) for _ in range(8)]
    assert sheet_of(made(masks, noise=True), masks).width > 400


def test_drawn_draws_a_picture_without_objects():
    empty = np.zeros((60, 80), np.uint8)
    assert sheet_of(made([empty]), [empty], source="onnx", decayed=True).width == 878


def test_drawn_without_examples_is_no_sheet_and_no_fault_in_it_is_raised(caplog):
    empty = np.zeros((60, 80), np.uint8)
    counts, dataset = score_pictures([empty], [empty], 2), made([empty])
    given = {"dataset": dataset, "candidate": CANDIDATE, "score": make_score(0.5)}
    assert drawn((), **given, maps=[empty], counts=counts) is None and not caplog.text
    flat = np.zeros(60, np.uint8)
    assert drawn(examples_of(dataset, 4), **given, maps=[flat], counts=counts) is None
    assert CANDIDATE.key in caplog.text and "contact sheet" in caplog.text


def test_examples_of_pictures_that_cannot_be_read_are_none(caplog):
    gone = dataclasses.replace(made([np.zeros((60, 80), np.uint8)], name="gone"), read=None)
    assert examples_of(gone, 4) == ()
    assert "no contact sheets" in caplog.text
