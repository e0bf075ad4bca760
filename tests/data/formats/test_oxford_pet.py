"""Oxford-IIIT Pet: trimaps with an ignored border, and its two lists."""

from pathlib import Path

import numpy as np
import pytest
from labelled import HW, mask_of, save_picture, understood
from PIL import Image

from autoseg.data.inspection import inspect


def save_trimap(path: Path, *values: int) -> None:
    """Stripes of the values."""
    path.parent.mkdir(parents=True, exist_ok=True)
    stripes = np.array(values, np.uint8)[np.arange(HW[0]) % len(values)]
    Image.fromarray(np.repeat(stripes[:, None], HW[1], 1)).save(path)


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    names = [f"beagle_{number}" for number in range(8)]
    for name in names:
        save_picture(tmp_path / "images" / f"{name}.jpg")
        save_trimap(tmp_path / "annotations/trimaps" / f"{name}.png", 1, 2, 3, 2)
    for file, part in (("trainval.txt", names[:6]), ("test.txt", names[6:])):
        lines = ["#Image CLASS-ID SPECIES BREED ID", *(f"{name} 5 2 4" for name in part)]
        (tmp_path / "annotations" / file).write_text("\n".join(lines))
    return tmp_path


def test_oxford_pet_trimap_is_pet_background_and_ignored_border(pets):
    seen = understood(pets, "oxford-pet")
    assert seen.classes == ("background", "pet")
    assert seen.pairs["test"] == 2 and seen.pairs["train"] + seen.pairs["val"] == 6
    assert any("there is no val" in warning for warning in seen.warnings)
    assert list(mask_of(seen, "beagle_7")[:4, 0]) == [1, 0, 255, 0]
    assert seen.ignore_share == pytest.approx(0.25)


def test_oxford_pet_without_lists_is_split_by_name(pets):
    for file in ("trainval.txt", "test.txt"):
        (pets / "annotations" / file).unlink()
    assert sum(understood(pets, "oxford-pet").pairs.values()) == 8


def test_oxford_pet_other_value_and_missing_trimap_are_faults(pets):
    save_trimap(pets / "annotations/trimaps/beagle_0.png", 0, 1)
    (pets / "annotations/trimaps/beagle_1.png").unlink()
    missing, value = inspect(pets).faults
    assert "train: listed names without a mask: beagle_1" in missing
    assert "beagle_0.png: mask values 0 " in value
