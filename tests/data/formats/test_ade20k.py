"""ADE20K of the scene parsing challenge: its index masks, whose 0 is no class."""

import re
from pathlib import Path

import numpy as np
import pytest
from labelled import HW, mask_of, save_picture, understood
from PIL import Image

from autoseg.data.folder import inspect

INFO = """Idx\tRatio\tTrain\tVal\tStuff\tName
1\t0.1576\t11664\t1172\t1\twall
2\t0.1072\t6046\t612\t1\tbuilding, edifice
3\t0.0878\t8265\t796\t1\tscreen;CRT screen
4\t0.0480\t5060\t507\t0\tscreen, silver screen
"""


@pytest.fixture
def challenge(tmp_path: Path) -> Path:
    (tmp_path / "objectInfo150.txt").write_text(INFO)
    for folder, names in (("training", ("a", "b", "c")), ("validation", ("v", "w"))):
        for name in names:
            save_picture(tmp_path / "images" / folder / f"{name}.jpg")
            save_mask(tmp_path / "annotations" / folder / f"{name}.png", 4)
    return tmp_path


def save_mask(path: Path, highest: int) -> None:
    """Stripes of 0, 1 … `highest`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = np.arange(HW[0], dtype=np.uint8) % (highest + 1)
    Image.fromarray(np.repeat(rows[:, None], HW[1], 1)).save(path)


def test_ade20k_first_value_is_ignored_and_the_others_are_classes(challenge):
    seen = understood(challenge, "ade20k")
    assert "objectInfo150.txt" in seen.why and "annotations/training/" in seen.why
    assert seen.classes == ("wall", "building", "screen", "screen, silver screen")
    assert seen.pairs == {"train": 3, "val": 2, "test": 0}
    assert seen.ignore_share == pytest.approx(0.2)
    assert list(mask_of(seen)[:5, 0]) == [255, 0, 1, 2, 3]


def test_ade20k_value_beyond_the_names_is_a_fault(challenge):
    save_mask(challenge / "annotations/training/b.png", 5)
    (fault,) = inspect(challenge).faults
    assert fault.startswith("annotations/training/b.png: ")


def test_ade20k_missing_picture_or_class_names_are_faults(challenge):
    (challenge / "images/validation/v.jpg").unlink()
    (fault,) = inspect(challenge).faults
    assert re.search(r"validation: .*picture.* v$", fault)
    (challenge / "objectInfo150.txt").write_text("Idx\tName\n1\twall\n")
    (fault,) = inspect(challenge).faults
    assert re.search(r"objectInfo150\.txt .*2 to 254 classes.* 1$", fault)
