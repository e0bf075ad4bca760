"""Grey pictures of 16 bits of which few levels would be left: one range, here and shipped."""

import re
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from bundles import bright_pixels
from labelled import HEIGHT, WIDTH, understood
from PIL import Image

from autoseg import data
from autoseg.api.predict import evaluate_file, predict_files
from autoseg.bundle.card import _data, _deep_grey
from autoseg.bundle.manifest import DataFacts
from autoseg.core.errors import InputError
from autoseg.data.convert import convert
from autoseg.data.dataset import FULL_RANGE
from autoseg.data.inspection import inspect
from autoseg.data.pictures import stretched

BOX = (slice(10, 30), slice(15, 40))


def thermal(root: Path, low: int, high: int, count: int = 8, suffix: str = ".png") -> Path:
    """Pictures whose object has values near `high`, and everything else near `low`."""
    for number in range(count):
        rng = np.random.default_rng(number)
        values = rng.integers(low, low + (high - low) // 4 + 1, (HEIGHT, WIDTH))
        values[BOX] = high - rng.integers(0, (high - low) // 4 + 1, values[BOX].shape)
        mask = np.zeros((HEIGHT, WIDTH), np.uint8)
        mask[BOX] = 1
        for kind, array, end in (
            ("images", values.astype(np.uint16), suffix),
            ("masks", mask, ".png"),
        ):
            (root / kind).mkdir(parents=True, exist_ok=True)
            Image.fromarray(array).save(root / kind / f"{number}{end}")
    return root


def shown(seen) -> np.ndarray:
    return seen.read(seen.splits["train"][0])[0]


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize(("low", "high"), [(51300, 51800), (0, 4095), (300, 3200)])
def test_inspect_stretches_few_levels_of_16_bits_and_says_so(tmp_path, low, high, suffix):
    seen = understood(thermal(tmp_path, low, high, suffix=suffix), "plain")
    (warning,) = seen.warnings
    assert re.search(r"^8 pictures of 16 bits .* \d+ of the 256 levels", warning)
    picture = shown(seen)
    assert picture[BOX].min() > 150 and picture[0].max() < 100
    other = inspect(thermal(tmp_path / "other", low, high - 100, suffix=suffix))
    assert other.digest != seen.digest


def test_inspect_leaves_many_levels_as_they_are(tmp_path):
    seen = understood(thermal(tmp_path, 1000, 65000), "plain")
    assert (seen.warnings, seen.grey_range) == ((), FULL_RANGE)
    first = seen.splits["train"][0]
    assert np.array_equal(shown(seen)[..., 0], np.asarray(Image.open(first.image)) >> 8)


def test_inspect_warns_where_a_few_pictures_leave_the_others_few_levels(tmp_path):
    thermal(tmp_path, 51300, 51800)
    thermal(tmp_path, 1000, 65000, count=1)
    (warning,) = understood(tmp_path, "plain").warnings
    assert warning.startswith("7 of 8 pictures of 16 bits keep fewer than 32 of 256 levels")


def test_inspect_leaves_out_pixels_without_a_value(tmp_path):
    thermal(tmp_path, 51300, 51800)
    for path in (tmp_path / "images").iterdir():
        values = np.array(Image.open(path))
        values[:4], values[4, :3] = 0, 65535
        Image.fromarray(values).save(path)
    low, high = understood(tmp_path, "plain").grey_range
    assert 51300 <= low < high <= 51800


def test_inspect_warns_of_few_levels_of_colours_of_16_bits(tmp_path):
    thermal(tmp_path, 51300, 51800)
    rng = np.random.default_rng(0)
    for path in (tmp_path / "images").iterdir():
        # Pillow writes no colours of 16 bits.
        cv2.imwrite(str(path), rng.integers(300, 3200, (HEIGHT, WIDTH, 3)).astype(np.uint16))
    seen = understood(tmp_path, "plain")
    assert any(re.search("^8 colour pictures of 16 bits .* use 12 of", w) for w in seen.warnings)
    assert seen.grey_range == FULL_RANGE


def test_convert_writes_the_stretched_pictures(tmp_path):
    dataset = data.load(thermal(tmp_path / "set", 51300, 51800))
    convert(dataset, tmp_path / "out")
    other = data.load(tmp_path / "out")
    sample, same = dataset.splits["val"][0], other.splits["val"][0]
    assert np.array_equal(dataset.read(sample)[0], other.read(same)[0])


def model_of(path: Path, grey_range: str) -> Path:
    """A model that calls pixels over 127 an object, with the range that it was trained with."""
    model = onnx.load(bright_pixels(path, 1))
    onnx.helper.set_model_props(model, {"grey_range": grey_range} if grey_range else {})
    onnx.save(model, path)
    return path


def test_predict_and_evaluate_use_the_range_of_the_model(tmp_path):
    root = thermal(tmp_path / "set", 51300, 51800)
    model = model_of(tmp_path / "model.onnx", "51300 51800")
    (done,) = predict_files(model, [root / "images" / "0.png"], tmp_path / "mask.png")
    mask = np.asarray(Image.open(done.task.mask))
    assert mask[12:28, 18:37].all() and not mask[:8].any()
    assert evaluate_file(model, root, "val", cache_dir=tmp_path / "a/pictures").iou > 0.9
    # A model of other pictures sees the upper 8 bits, whatever the range of these data is.
    plain = model_of(tmp_path / "plain.onnx", "")
    assert evaluate_file(plain, root, "val", cache_dir=tmp_path / "b/pictures").iou < 0.5


@pytest.mark.parametrize("stated", ["1", "9 3", "0 70000", "a b", "1 2 3", "9" * 5000])
def test_predict_refuses_a_wrong_range(tmp_path, stated):
    root = thermal(tmp_path / "set", 51300, 51800, count=1)
    model = model_of(tmp_path / "model.onnx", stated)
    with pytest.raises(InputError, match="grey_range"):
        list(predict_files(model, [root / "images" / "0.png"], tmp_path / "mask.png"))


def test_stretched_by_the_full_range_is_the_upper_8_bits():
    values = np.arange(65536, dtype=np.uint16)
    assert np.array_equal(stretched(values, FULL_RANGE), values >> 8)
    assert stretched(np.array([0, 10, 20, 30]), (10, 20)).tolist() == [0, 0, 232, 232]


def test_card_says_how_pictures_of_16_bits_are_read():
    facts = DataFacts("set", "d", {}, grey_range=(51300, 51800))
    assert "51300 to 51800" in _data(facts)["grey pictures of 16 bits"]
    assert "grey_range_of(model)" in _deep_grey(facts)
    assert _deep_grey(DataFacts("set", "d", {})) == ""
