"""Classes that a split lacks: a fault where no IoU could be promised, else a warning."""

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from autoseg.core.errors import InputError
from autoseg.data.dataset import Reading, iou_of, scored_classes
from autoseg.data.inspection import inspect, open_folder


def add(root: Path, name: str, *values: int) -> None:
    """A pair of images/<name>.png and masks/<name>.png, whose mask is in stripes of the values."""
    rng = np.random.default_rng(list(name.encode()))
    rows = np.array(values, np.uint8)[np.arange(12) % len(values)]
    picture = rng.integers(0, 256, (12, 16, 3), np.uint8)
    for kind, made in (("images", picture), ("masks", np.repeat(rows[:, None], 16, 1))):
        path = root / kind / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(made).save(path)


def folder(root: Path, **values: list[tuple[int, ...]]) -> Path:
    """Split folders with a picture for each tuple of mask values."""
    for split, each in values.items():
        for number, of_mask in enumerate(each):
            add(root, f"{split}/{split}{number}", *of_mask)
    return root


BOTH, NONE = (0, 1), (0,)


@pytest.mark.parametrize(
    ("splits", "fault"),
    [
        (
            {"train": [BOTH] * 3, "val": [NONE, NONE], "test": [BOTH]},
            r"val hold only background: no IoU .*object \(in 4 pictures\)$",
        ),
        (
            {"train": [BOTH] * 3, "val": [(255,)], "test": [BOTH]},
            r"val hold no class at all: .* background \(in 4 pictures\), object",
        ),
        (
            {"train": [NONE] * 3, "val": [BOTH]},
            r"train hold only background: .*nothing to learn; .*object \(in 1 picture\)$",
        ),
        (
            {"train": [(0, 1, 2)] * 3, "val": [(2,)]},
            r"val hold only spare: .*background .*, object",
        ),
    ],
)
def test_inspect_refuses_a_split_of_one_class(tmp_path, splits, fault):
    (tmp_path / "classes.txt").write_text("background\nobject\nspare\n")
    (line,) = inspect(folder(tmp_path, **splits)).faults
    assert re.search(fault, line)
    with pytest.raises(InputError, match="hold"):
        open_folder(tmp_path)


def test_inspect_warns_of_each_class_that_a_split_lacks(tmp_path):
    root = folder(tmp_path, train=[(0, 1, 2)] * 2, val=[(0, 1, 3)], test=[(0,)])
    seen = inspect(root)
    assert seen.faults == ()
    assert [w.split(": ")[0] for w in seen.warnings] == [
        "train has no pixel of class_3 (in 1 picture)",
        "val has no pixel of class_2 (in 2 pictures)",
        "test has no pixel of class_1 (in 3 pictures), class_2 (in 2 pictures),"
        " class_3 (in 1 picture)",
    ]
    dataset = open_folder(root)
    assert (dataset.val_classes, dataset.scored) == ((0, 1, 3), (0, 1, 3))


def test_inspect_lists_missing_classes_with_an_end(tmp_path):
    root = folder(tmp_path, train=[tuple(range(12))] * 2, val=[(0, 1)])
    (warning,) = [w for w in inspect(root).warnings if w.startswith("val")]
    assert re.search(r"class_2 .* and 5 more: ", warning)


@pytest.mark.parametrize("seed", range(4))
def test_inspect_makes_splits_that_all_hold_the_object(tmp_path, seed):
    for number in range(30):
        add(tmp_path, f"n{number:02d}", *(BOTH if number < 3 else NONE))
    seen = inspect(tmp_path, Reading(seed=seed))
    assert (seen.faults, seen.warnings) == ((), ())
    assert all("object" in {s.stratum for s in samples} for samples in seen.splits.values())


def test_inspect_says_in_how_few_groups_a_class_is(tmp_path):
    for number in range(30):
        add(tmp_path, f"g{number // 3:02d}_{number}", *((0, 1, 2) if number < 3 else BOTH))
    warnings = inspect(tmp_path, Reading(group_pattern="^[^_]+")).warnings
    assert any(re.search(r"^val .*class_2 \(in 3 pictures of 1 group\)", w) for w in warnings)


@pytest.mark.parametrize(
    ("classes", "in_val", "scored", "told"),
    [
        (("background", "crate"), (0, 1), (1,), "crate, the foreground"),
        (("belt", "crate"), (), (1,), "crate, the foreground"),
        (("crate", "Background"), (0, 1), (0,), "crate, the foreground"),
        (("background", "unused", "crate"), (0, 2), (2,), "crate, the foreground"),
        (("background", "a", "b"), (1, 2), (1, 2), "2 of 3 classes, their mean"),
        (("background", "a", "b"), (0, 1, 2), (0, 1, 2), "3 classes, their mean"),
    ],
)
def test_scored_classes_are_those_of_val_and_of_two_the_foreground(classes, in_val, scored, told):
    assert scored_classes(classes, in_val) == scored
    assert iou_of(classes, in_val).startswith(told)


def test_inspect_iou_does_not_depend_on_names_that_a_file_lists(tmp_path):
    root = folder(tmp_path, train=[BOTH] * 2, val=[BOTH])
    before = inspect(root)
    (root / "classes.txt").write_text("background\nobject\nunused\n")
    after = inspect(root)
    assert before.iou_of == after.iou_of == "object, the foreground"
    assert len(after.classes) == 3
