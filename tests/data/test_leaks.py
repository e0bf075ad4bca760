"""Groups in several splits, and the columns of index.csv that keep them whole."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from autoseg.data.dataset import Reading
from autoseg.data.inspection import inspect

HEAD = "stem,mine,whole,box,view,note"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two views of each of eight boxes, in one folder; the column `mine` divides three boxes."""
    rng, lines = np.random.default_rng(0), [HEAD]
    for box in range(8):
        for view in ("side", "top"):
            stem = f"{box}_{view}"
            for kind, shape in (("images", (12, 16, 3)), ("masks", (12, 16))):
                made = rng.integers(0, 256 if kind == "images" else 2, shape, np.uint8)
                (tmp_path / kind).mkdir(exist_ok=True)
                Image.fromarray(made).save(tmp_path / kind / f"{stem}.png")
            whole = "train" if box < 5 else "val" if box < 7 else "test"
            mine = "val" if view == "top" and box < 3 else whole
            lines.append(f"{stem},{mine},{whole},b{box},{view},")
    (tmp_path / "index.csv").write_text("\n".join(lines) + "\n")
    return tmp_path


def leaks(root: Path, **columns: str) -> list[str]:
    return [w for w in inspect(root, Reading(**columns)).warnings if "better than they are" in w]


def test_inspect_names_the_column_that_keeps_leaking_groups_whole(folder):
    (warning,) = leaks(folder, split_column="mine", group_column="box")
    assert "(3 of 8): b0, b1, b2" in warning and "--split-column whole" in warning
    assert leaks(folder, split_column="whole", group_column="box") == []


def test_inspect_finds_groups_that_another_column_keeps_whole(folder):
    (warning,) = leaks(folder, split_column="mine")
    assert "column box " in warning and "(3 of 8): b0, b1, b2" in warning
    assert "--split-column whole" in warning and "--group-column box" in warning
    assert leaks(folder, split_column="whole") == []


def test_inspect_names_no_column_where_none_keeps_groups_whole(folder):
    index = folder / "index.csv"
    rows = [line.split(",") for line in index.read_text().splitlines()]
    index.write_text("\n".join(f"{stem},{mine},{box}" for stem, mine, _, box, *_ in rows))
    (warning,) = leaks(folder, split_column="mine", group_column="box")
    assert warning.endswith(": b0, b1, b2")
    assert leaks(folder, split_column="mine") == []


def test_inspect_does_not_read_an_index_that_it_was_not_asked_for_as_a_fault(folder):
    (folder / "index.csv").write_bytes(b"\xff\xfe")
    assert inspect(folder).faults == ()


def test_inspect_finds_leaks_where_both_splits_use_the_same_names(tmp_path):
    rng = np.random.default_rng(0)
    for split, names in (("train", ("a_1", "a_2", "b_1")), ("val", ("a_1", "c_1"))):
        for stem in names:
            for kind, shape in (("images", (12, 16, 3)), ("masks", (12, 16))):
                made = rng.integers(0, 256 if kind == "images" else 2, shape, np.uint8)
                (tmp_path / kind / split).mkdir(parents=True, exist_ok=True)
                Image.fromarray(made).save(tmp_path / kind / split / f"{stem}.png")
    (warning,) = leaks(tmp_path, group_pattern="^[^_]+")
    assert warning.endswith(": a")
