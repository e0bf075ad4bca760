"""A remap file merges, renames and drops classes of any data set, and tells all its faults."""

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from autoseg import data
from autoseg.core.errors import InputError
from autoseg.data.dataset import Reading
from autoseg.data.folder import inspect

VALUES = (0, 1, 2, 3, 255)


def add(root: Path, name: str, values: tuple[int, ...]) -> None:
    rng = np.random.default_rng(list(name.encode()))
    noise = rng.integers(0, 256, (len(values), 20, 3), dtype=np.uint8)
    mask = np.repeat(np.array(values, np.uint8)[:, None], 20, 1)
    for kind, array in (("images", noise), ("masks", mask)):
        path = root / kind / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(array).save(path)


def pictures(root: Path, values: tuple[int, ...] = VALUES) -> Path:
    for number in range(6):
        add(root, f"n{number}", values)
    return root


@pytest.fixture
def named(tmp_path: Path) -> Path:
    root = pictures(tmp_path / "set")
    (root / "classes.txt").write_text("sky\nroad\ncar\ntruck\n")
    return root


def remapped(root: Path, text: str) -> tuple[tuple[str, ...], list[int]]:
    """The new names, and what the rows of a mask became."""
    path = root.parent / "remap.yaml"
    path.write_text(text)
    dataset = data.load(root, Reading(remap=str(path)))
    return dataset.classes, dataset.read(dataset.splits["train"][0])[1][:, 0].tolist()


@pytest.mark.parametrize(
    ("text", "classes", "rows"),
    [
        (
            "vehicle: [car, truck]\nground: [road]\nignore: [sky]\n",
            ("vehicle", "ground"),
            [255, 1, 0, 0, 255],
        ),
        ("background: rest\ncar: car\n", ("background", "car"), [0, 0, 1, 0, 255]),
        ("car: [2]\ntruck: 3\nignore: rest\n", ("car", "truck"), [255, 255, 0, 1, 255]),
        ("a: [truck, rest]\nb: [sky]\n", ("a", "b"), [1, 0, 0, 0, 255]),
    ],
)
def test_remap_order_gives_indices_and_rest_takes_the_other_classes(named, text, classes, rows):
    assert remapped(named, text) == (classes, rows)


def test_inspect_shows_shares_of_remapped_classes(named):
    (named.parent / "remap.yaml").write_text("vehicle: [car, truck]\nother: rest\n")
    seen = inspect(named, Reading(remap=str(named.parent / "remap.yaml")))
    assert seen.mask_encoding == "class indices, 255 = ignore, remapped"
    assert seen.class_share == pytest.approx((0.4, 0.4))
    assert seen.ignore_share == pytest.approx(0.2)


def test_remap_of_unnamed_classes_uses_indices_and_default_names(tmp_path):
    root = pictures(tmp_path / "set", (0, 1, 2))
    assert remapped(root, "thing: [1, class_2]\nfloor: background\n") == (
        ("thing", "floor"),
        [1, 0, 0],
    )
    binary = pictures(tmp_path / "binary", (0, 255))
    assert remapped(binary, "box: object\nfloor: background\n")[1] == [1, 0]


def test_remap_keeps_illegal_mask_values_a_fault(named):
    add(named, "n0", (0, 9))
    (named.parent / "remap.yaml").write_text("car: car\nother: rest\n")
    (fault,) = inspect(named, Reading(remap=str(named.parent / "remap.yaml"))).faults
    assert re.search(r"^masks/n0\.png: .*\b9\b.* 4 classes", fault)


FAULTS = {
    "unknown name": (
        "a: [sky, rod]\nb: rest\n",
        ":1: a: .*'rod'.*'road'.*0 sky, 1 road, 2 car",
    ),
    "unknown index": ("a: [4]\nb: rest\n", r":1: a: .*\b4\b.*0 sky"),
    "twice in one": ("a: [sky, 0]\nb: rest\n", ":1: a: 'sky' .*twice"),
    "twice in two": ("a: sky\nb: [sky, rest]\n", ":2: b: 'sky' .*'a'"),
    "key twice": ("a: sky\na: rest\nb: road\n", ":2: a: .*once"),
    "rest twice": ("a: rest\nb: [sky, rest]\n", ":2: b: rest .*'a'"),
    "named nowhere": ("a: sky\nb: road\n", ":1: .*: car, truck"),
    "one class": ("a: rest\nignore: sky\n", ":1: .*2 to 253 classes.* 1$"),
    "empty class": ("a: []\nb: rest\nc: sky\n", ":1: a: .*class"),
    "rest as a class": ("rest: [sky]\nb: rest\n", ":1: rest: "),
    "no text": ("1: [sky]\nb: rest\n", ":1: 1: .*quotes, '1'"),
    "a list": ("- sky\n", r"`class: \[names\]`"),
    "nothing": ("", r"`class: \[names\]`"),
    "no YAML": ("a: [sky\n", "valid YAML"),
}


@pytest.mark.parametrize("case", FAULTS)
def test_remap_fault_has_file_and_line(named, case):
    text, said = FAULTS[case]
    with pytest.raises(InputError) as caught:
        remapped(named, text)
    assert re.search(said, str(caught.value))


def test_remap_reports_all_faults_at_once(named):
    with pytest.raises(InputError) as caught:
        remapped(named, "a: [sky, tree]\nb: [sky, 9]\n")
    lines = str(caught.value).splitlines()
    assert len(lines) == 4
    assert all(line.startswith(f"{named.parent / 'remap.yaml'}:") for line in lines)


def test_remap_file_that_is_missing_is_named(named):
    with pytest.raises(InputError, match=r"nowhere\.yaml: .*UTF-8"):
        data.load(named, Reading(remap="nowhere.yaml"))


def test_remap_digest_follows_the_content_and_not_the_file_name(named, tmp_path):
    def digest(name: str, text: str) -> str:
        (tmp_path / name).write_text(text)
        return data.load(named, Reading(remap=str(tmp_path / name))).digest

    merged = digest("one.yaml", "a: [sky, road]\nb: rest\n")
    assert digest("two.yaml", "a: [road, sky]\nb: [truck, car]\n") == merged
    assert digest("one.yaml", "a: [sky, car]\nb: rest\n") != merged
    assert data.load(named).digest != merged
