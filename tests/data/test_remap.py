"""A remap file merges, renames and drops classes of any data set, and tells all its faults."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from autoseg import data
from autoseg.core.errors import InputError
from autoseg.data.dataset import Reading
from autoseg.data.inspection import inspect

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
def test_the_order_gives_the_indices_and_rest_takes_what_is_left(named, text, classes, rows):
    assert remapped(named, text) == (classes, rows)


def test_the_check_shows_the_shares_of_the_new_classes(named):
    (named.parent / "remap.yaml").write_text("vehicle: [car, truck]\nother: rest\n")
    seen = inspect(named, Reading(remap=str(named.parent / "remap.yaml")))
    assert seen.mask_encoding == "class indices, 255 = ignore, remapped"
    assert seen.class_share == pytest.approx((0.4, 0.4))
    assert seen.ignore_share == pytest.approx(0.2)


def test_sets_without_names_go_by_indices_and_default_names(tmp_path):
    root = pictures(tmp_path / "set", (0, 1, 2))
    assert remapped(root, "thing: [1, class_2]\nfloor: background\n") == (
        ("thing", "floor"),
        [1, 0, 0],
    )
    binary = pictures(tmp_path / "binary", (0, 255))
    assert remapped(binary, "box: object\nfloor: background\n")[1] == [1, 0]


def test_what_was_no_class_is_no_class_after_it(named):
    add(named, "n0", (0, 9))
    (named.parent / "remap.yaml").write_text("car: car\nother: rest\n")
    (fault,) = inspect(named, Reading(remap=str(named.parent / "remap.yaml"))).faults
    assert fault.startswith("masks/n0.png: mask values 9 are not among the 4 classes")


FAULTS = {
    "unknown name": (
        "a: [sky, rod]\nb: rest\n",
        ":1: a: the data has no class 'rod', did you mean 'road'?; it has 0 sky, 1 road, 2 car",
    ),
    "unknown index": ("a: [4]\nb: rest\n", ":1: a: the data has no class 4; it has 0 sky"),
    "twice in one": ("a: [sky, 0]\nb: rest\n", ":1: a: 'sky' may stand once, it is here twice"),
    "twice in two": ("a: sky\nb: [sky, rest]\n", ":2: b: 'sky' may stand once, it is already in"),
    "key twice": ("a: sky\na: rest\nb: road\n", ":2: a: a key may stand once"),
    "rest twice": ("a: rest\nb: [sky, rest]\n", ":2: b: rest stands twice, it is already in 'a'"),
    "named nowhere": ("a: sky\nb: road\n", ":1: named nowhere: car, truck; add them"),
    "one class": ("a: rest\nignore: sky\n", ":1: must make 2 to 253 classes, it makes 1"),
    "empty class": ("a: []\nb: rest\nc: sky\n", ":1: a: names no class of the data"),
    "rest as a class": ("rest: [sky]\nb: rest\n", ":1: rest: is what a class may hold"),
    "no text": ("1: [sky]\nb: rest\n", ":1: 1: a class's name is text: write it in quotes, '1'"),
    "a list": ("- sky\n", "must be lines of `class: [names]`"),
    "nothing": ("", "must be lines of `class: [names]`"),
    "no YAML": ("a: [sky\n", "must be valid YAML"),
}


@pytest.mark.parametrize("case", FAULTS)
def test_a_fault_is_told_with_its_line(named, case):
    text, said = FAULTS[case]
    with pytest.raises(InputError) as caught:
        remapped(named, text)
    assert said in str(caught.value)


def test_all_faults_are_told_at_once(named):
    with pytest.raises(InputError) as caught:
        remapped(named, "a: [sky, tree]\nb: [sky, 9]\n")
    lines = str(caught.value).splitlines()
    assert len(lines) == 4
    assert all(line.startswith(f"{named.parent / 'remap.yaml'}:") for line in lines)


def test_a_file_that_is_not_there_is_told(named):
    with pytest.raises(InputError, match=r"nowhere\.yaml: must be a readable UTF-8 text file"):
        data.load(named, Reading(remap="nowhere.yaml"))


def test_the_digest_follows_what_the_file_says_and_not_its_name(named, tmp_path):
    def digest(name: str, text: str) -> str:
        (tmp_path / name).write_text(text)
        return data.load(named, Reading(remap=str(tmp_path / name))).digest

    merged = digest("one.yaml", "a: [sky, road]\nb: rest\n")
    assert digest("two.yaml", "a: [road, sky]\nb: [truck, car]\n") == merged
    assert digest("one.yaml", "a: [sky, car]\nb: rest\n") != merged
    assert data.load(named).digest != merged
