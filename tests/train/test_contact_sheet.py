"""Contact sheets of candidates: the right pictures, and wrong regions in their colours."""

import numpy as np
import pytest
from factories import make_candidate, make_score
from PIL import Image

from autoseg.core.records import IGNORE_INDEX
from autoseg.data.dataset import Dataset, Sample
from autoseg.train.contact_sheet import EXTRA, MAX_SHEET_BYTES, MISSED, errors, write_sheet
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


def drawn(tmp_path, dataset, maps, **facts) -> Image.Image:
    truths = [dataset.read(sample)[1] for sample in dataset.splits["val"]][: len(maps)]
    counts = score_pictures(maps, truths, len(dataset.classes))
    path = tmp_path / "diagnostics" / "key.jpg"
    write_sheet(
        path, dataset, CANDIDATE, make_score(**{"iou": 0.5, **facts}), maps=maps, counts=counts
    )
    assert path.stat().st_size < MAX_SHEET_BYTES and not list(path.parent.glob("*.tmp"))
    return Image.open(path)


def near(sheet: Image.Image, colour, left: int = LEFT) -> np.ndarray:
    """Where a colour is below the heads and above the legend, as rows and columns."""
    pixels = np.asarray(sheet).astype(int)[:, left : left + 208]
    close = np.abs(pixels - colour).sum(axis=2) < 90
    close[-40:] = False
    return np.argwhere(close)


@pytest.mark.parametrize(
    ("classes", "foreground"), [(("background", "box"), 1), (("box", "Background"), 0)]
)
def test_write_sheet_distinguishes_false_from_missed_pixels(tmp_path, classes, foreground):
    truth, found = np.zeros((120, 208), np.uint8), np.zeros((60, 104), np.uint8)
    truth[20:100, 20:60] = 1
    found[10:50, 60:90] = 1
    truth, found = (each if foreground else 1 - each for each in (truth, found))
    sheet = drawn(tmp_path, made([truth], classes), [found])
    missed, extra = near(sheet, MISSED), near(sheet, EXTRA)
    assert len(missed) == pytest.approx(80 * 40, rel=0.1)
    assert len(extra) == pytest.approx(80 * 60, rel=0.1)
    assert missed[:, 1].min() == pytest.approx(20, abs=2) and missed[:, 1].max() < 64
    assert extra[:, 1].min() == pytest.approx(120, abs=2)


def test_write_sheet_of_many_classes_has_one_error_colour_and_hatches_ignored_pixels():
    truth, found = np.zeros((40, 60), np.uint8), np.zeros((40, 60), np.uint8)
    truth[:, 20:40], truth[:, 40:] = 2, IGNORE_INDEX
    found[:20] = 1
    shown = errors(np.full((40, 60, 3), 100, np.uint8), truth, found, "abc")
    assert (shown[:20, :20] == EXTRA).all() and (shown[:, 20:40] == EXTRA).all()
    assert len(np.unique(shown[20:, :20].reshape(-1, 3), axis=0)) == 1  # right: left as it is
    assert len(np.unique(shown[:, 40:].reshape(-1, 3), axis=0)) == 2


def test_write_sheet_of_a_perfect_map_shows_no_error(tmp_path):
    truth = np.zeros((90, 120), np.uint8)
    truth[30:60, 30:60] = 1
    sheet = drawn(tmp_path, made([truth]), [truth])
    assert not len(near(sheet, MISSED)) and not len(near(sheet, EXTRA))


def test_write_sheet_fits_pictures_of_any_size_and_names_of_any_kind(tmp_path):
    sizes = [(1, 1), (4, 900), (900, 4), (64, 64), (30, 50), (500, 400), (8, 8), (200, 300)]
    classes = ("</script><b>", "two\nlines " * 300, "道路", *map(str, range(200)))
    masks = [np.full(hw, 2 + n, np.uint8) for n, hw in enumerate(sizes)]
    sheet = drawn(tmp_path, made(masks, classes, name="a'\"<i>\n" * 90), masks)
    assert sheet.width == 878 and sheet.height < 2400


def test_write_sheet_keeps_noisy_pictures_small(tmp_path):
    masks = [np.zeros((500, 400), np.uint8) for _ in range(8)]
    assert drawn(tmp_path, made(masks, noise=True), masks).width > 400


def test_write_sheet_draws_a_picture_without_objects(tmp_path):
    empty = np.zeros((60, 80), np.uint8)
    drawn(tmp_path, made([empty]), [empty], source="onnx", decayed=True)


def test_write_sheet_logs_a_sheet_that_cannot_be_written(tmp_path, caplog):
    empty = np.zeros((60, 80), np.uint8)
    (tmp_path / "diagnostics").write_text("a file where the folder should be")
    counts = score_pictures([empty], [empty], 2)
    path = tmp_path / "diagnostics" / "key.jpg"
    write_sheet(path, made([empty]), CANDIDATE, make_score(0.5), maps=[empty], counts=counts)
    assert CANDIDATE.key in caplog.text and "contact sheet" in caplog.text
