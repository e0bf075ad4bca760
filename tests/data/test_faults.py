"""What happens to a run's data while it runs: nothing wrong is ever trained on."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from autoseg import data
from autoseg.core.errors import InputError
from autoseg.data import cache


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for split, count in (("train", 4), ("val", 2)):
        for number in range(count):
            for kind, high, more in (("images", 256, (3,)), ("masks", 2, ())):
                path = tmp_path / "set" / kind / split / f"{split}{number}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                made = rng.integers(0, high, (40, 48, *more), dtype=np.uint8)
                Image.fromarray(made).save(path)
    return tmp_path / "set"


def all_of(dataset, size: int, cache_dir: Path) -> np.ndarray:
    found = cache.arrays(dataset, "train", (size, size), 3, cache_dir)
    return found.batch(range(len(found)))[0]


def test_arrays_use_the_cache_for_a_deleted_picture_and_else_name_it(
    folder, tmp_path, monkeypatch
):
    monkeypatch.setattr(cache, "MAX_ORIGINALS_BYTES", 0)
    dataset = data.load(folder)
    before = all_of(dataset, 32, tmp_path / "cache")
    (folder / "images/train/train2.png").unlink()
    assert np.array_equal(all_of(dataset, 32, tmp_path / "cache"), before)
    with pytest.raises(InputError, match="train2.png: No such file"):
        all_of(dataset, 64, tmp_path / "cache")
    with pytest.raises(InputError, match="masks/train: masks without a picture: train2"):
        data.load(folder)


@pytest.mark.parametrize("kind", ["images", "masks"])
def test_arrays_refuse_a_replaced_file_and_a_new_load_uses_it(folder, tmp_path, monkeypatch, kind):
    monkeypatch.setattr(cache, "MAX_ORIGINALS_BYTES", 0)
    dataset = data.load(folder)
    all_of(dataset, 32, tmp_path / "cache")
    changed = folder / kind / "train" / "train1.png"
    other = changed.with_name("train3.png").read_bytes()
    changed.write_bytes(other)
    with pytest.raises(InputError, match=r"train1\.png .*changed"):
        all_of(dataset, 64, tmp_path / "cache")
    again = data.load(folder)
    assert again.digest != dataset.digest
    all_of(again, 32, tmp_path / "cache")
