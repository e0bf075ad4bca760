"""Folders of pictures and masks: what is understood, and every fault by its file name."""

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from autoseg import data
from autoseg.core.errors import InputError
from autoseg.data.dataset import Dataset, Reading, Sample
from autoseg.data.inspection import Inspection, inspect, open_folder
from autoseg.report.console import inspection_lines

HW = (12, 16)


def save(path: Path, array: np.ndarray, **options: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path, **options)


def add(
    root: Path,
    name: str,
    values: tuple[int, ...] = (0, 1),
    hw: tuple[int, int] = HW,
    suffix: str = ".png",
) -> None:
    """A pair at images/<name> and masks/<name>: noise, and stripes of the values."""
    rng = np.random.default_rng(len(name))
    save(root / "images" / f"{name}{suffix}", rng.integers(0, 256, (*hw, 3), dtype=np.uint8))
    rows = np.arange(hw[0]) % len(values)
    mask = np.repeat(np.array(values, np.uint8)[rows][:, None], hw[1], 1)
    save(root / "masks" / f"{name}.png", mask)


def by_stem(dataset: Dataset, stem: str) -> Sample:
    return next(s for samples in dataset.splits.values() for s in samples if s.stem == stem)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "set"
    for split, count in (("train", 3), ("val", 2), ("test", 1)):
        for number in range(count):
            add(root, f"{split}/{split}{number}")
    return root


def only_fault(root: Path, **columns: str) -> str:
    faults = inspect(root, Reading(**columns)).faults
    assert len(faults) == 1, faults
    return faults[0]


def test_inspect_understands_split_folders(folder):
    seen = inspect(folder)
    assert (seen.faults, seen.warnings) == ((), ())
    assert (seen.format, seen.split_source) == ("plain", "given")
    assert seen.pairs == {"train": 3, "val": 2, "test": 1}
    assert seen.classes == ("background", "object")
    assert seen.class_share == (0.5, 0.5)
    assert seen.sizes == ((HW, 6),)
    dataset = open_folder(folder)
    image, mask = dataset.read(dataset.splits["val"][0])
    assert (image.shape, mask.shape) == ((*HW, 3), HW)
    assert dataset.outputs == 1


@pytest.mark.parametrize("suffix", [".jpg", ".JPEG", ".bmp", ".tif", ".tiff", ".webp"])
def test_inspect_reads_every_picture_format(folder, suffix):
    add(folder, "train/other", suffix=suffix)
    assert inspect(folder).pairs["train"] == 4


@pytest.mark.parametrize(
    ("values", "encoding", "classes", "last"),
    [
        ((0, 255), "0/255 binary", 2, {0, 1}),
        ((0, 1, 255), "class indices, 255 = ignore", 2, {0, 1, 255}),
        ((0, 1, 2), "class indices", 3, {0, 1, 2}),
    ],
)
def test_inspect_infers_mask_encoding_from_the_whole_set(
    tmp_path, values, encoding, classes, last
):
    for number in range(8):
        add(tmp_path, f"n{number}", values)
    # A picture without an object does not change what the others say.
    add(tmp_path, "nothing", (0,))
    seen = inspect(tmp_path)
    assert (seen.faults, seen.mask_encoding, len(seen.classes)) == ((), encoding, classes)
    dataset = open_folder(tmp_path)
    found = {int(v) for s in dataset.splits["train"] for v in np.unique(dataset.read(s)[1])}
    assert found == last


def test_inspect_reads_palette_masks_as_indices_and_accepts_grey_stored_as_rgb(folder):
    palette = Image.fromarray(np.repeat(np.arange(2, dtype=np.uint8), 96).reshape(HW), "P")
    palette.putpalette([255, 0, 0, 0, 255, 0])
    palette.save(folder / "masks/train/train0.png")
    grey = np.repeat(np.array([[[0], [1]]], np.uint8), 3, 2).repeat(12, 0).repeat(8, 1)
    save(folder / "masks/train/train1.png", grey)
    dataset = open_folder(folder)
    masks = [dataset.read(by_stem(dataset, f"train{number}"))[1] for number in range(2)]
    assert masks[0].tolist() == np.repeat([0, 1], 96).reshape(HW).tolist()
    assert masks[1].tolist() == grey[..., 0].tolist()


def test_inspect_takes_class_names_from_classes_txt_and_warns_of_unused_ones(folder):
    (folder / "classes.txt").write_text("floor\nbox\nbag\n")
    seen = inspect(folder)
    assert seen.classes == ("floor", "box", "bag")
    assert seen.faults == ()
    assert len(seen.warnings) == 1 and seen.warnings[0].endswith(": bag")
    assert open_folder(folder).outputs == 3


def test_inspect_follows_exif_orientation(folder):
    wide = np.zeros((HW[1], HW[0], 3), np.uint8)
    wide[:, -1] = 255
    exif = Image.Exif()
    exif[0x0112] = 6
    # Stored on its side: turned by EXIF it has its mask's size.
    save(folder / "images/train/train0.png", wide, exif=exif)
    dataset = open_folder(folder)
    image, _ = dataset.read(by_stem(dataset, "train0"))
    assert image.shape == (*HW, 3)
    assert (image[-1] == 255).all()


def test_inspect_splits_one_folder_by_the_seed(tmp_path):
    for number in range(20):
        add(tmp_path, f"n{number:02d}")
    first, again, other = (inspect(tmp_path, Reading(seed=seed)) for seed in (0, 0, 1))
    assert re.search(r"70/15/15 .*seed 0", first.split_source)
    assert first.pairs == {"train": 14, "val": 3, "test": 3}
    assert first.digest == again.digest != other.digest
    assert first.splits == again.splits != other.splits


def test_inspect_accepts_split_folders_as_the_outer_ones(folder):
    before = inspect(folder)
    for split in ("train", "val", "test"):
        for kind in ("images", "masks"):
            (folder / split).mkdir(exist_ok=True)
            (folder / kind / split).rename(folder / split / kind)
    for kind in ("images", "masks"):
        (folder / kind).rmdir()
    seen = inspect(folder)
    assert seen.faults == ()
    assert "train/images/" in seen.why and "train/masks/" in seen.why
    assert (seen.pairs, seen.digest) == (before.pairs, before.digest)
    (folder / "val/masks/val1.png").unlink()
    assert re.search(
        "^val/images and val/masks: pictures without a mask: val1$", only_fault(folder)
    )


def test_inspect_finds_the_only_data_set_one_folder_deeper(folder):
    nested = inspect(folder.parent)
    assert nested.faults == ()
    assert re.search(r"\bset: .*images/ .*masks/", nested.why)
    assert nested.digest == inspect(folder).digest
    add(folder.parent / "other", "a")
    assert "other, set" in only_fault(folder.parent)
    assert re.search(r"images/ .*masks/", inspect(folder, Reading(format="plain")).why)


def write_index(root: Path, lines: list[str]) -> None:
    (root / "index.csv").write_text("\n".join(lines) + "\n")


def test_inspect_keeps_groups_together(tmp_path):
    for number in range(48):
        add(tmp_path, f"n{number:02d}")
    write_index(tmp_path, ["stem,box", *(f"n{n:02d},b{n // 4}" for n in range(48))])
    dataset = data.load(tmp_path, Reading(group_column="box"))
    in_split = {s: {sample.group for sample in dataset.splits[s]} for s in dataset.splits}
    assert sum(len(groups) for groups in in_split.values()) == 12
    assert all(in_split.values())


def test_inspect_prefers_the_split_column_to_folders_and_names_groups_that_leak(folder):
    stems = ["train0", "train1", "train2", "val0", "val1", "test0"]
    places = ["val", "train", "train", "train", "test", "test"]
    lines = [f"{s},{p},{g}" for s, p, g in zip(stems, places, "ababcd", strict=True)]
    write_index(folder, ["stem,mine,thing", *lines])
    seen = inspect(folder, Reading(split_column="mine", group_column="thing"))
    assert seen.faults == ()
    assert [s.stem for s in seen.splits["val"]] == ["train0"]
    assert {s.stem for s in seen.splits["test"]} == {"test0", "val1"}
    assert len(seen.warnings) == 1
    assert "split" in seen.warnings[0]
    assert seen.warnings[0].endswith(": a")


def test_inspect_digest_follows_bytes_and_not_the_path(folder, tmp_path):
    before = inspect(folder).digest
    moved = folder.rename(tmp_path / "elsewhere")
    assert inspect(moved).digest == before
    add(moved, "test/test0", (1, 0))
    assert inspect(moved).digest != before


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def cut_jpeg(root: Path) -> None:
    (root / "images/train/train0.png").unlink()
    noise = np.random.default_rng(0).integers(0, 256, (*HW, 3), dtype=np.uint8)
    save(root / "images/train/train0.jpg", noise)
    truncate(root / "images/train/train0.jpg")


BROKEN = {
    "unpaired picture": (
        lambda root: (root / "masks/val/val1.png").unlink(),
        "^images/val and masks/val: pictures without a mask: val1$",
    ),
    "unpaired mask": (
        lambda root: (root / "images/val/val1.png").unlink(),
        "^images/val and masks/val: masks without a picture: val1$",
    ),
    "truncated picture": (
        lambda root: truncate(root / "images/train/train0.png"),
        r"^images/train/train0\.png: ",
    ),
    "truncated jpeg": (cut_jpeg, r"^images/train/train0\.jpg: "),
    "text for a mask": (
        lambda root: (root / "masks/train/train0.png").write_text("no picture"),
        r"^masks/train/train0\.png: ",
    ),
    "sizes that differ": (
        lambda root: save(root / "masks/val/val0.png", np.eye(9, 8, dtype=np.uint8)),
        r"^images/val/val0\.png .*16x12 .*masks/val/val0\.png .*8x9",
    ),
    "illegal value": (
        lambda root: (add(root, "val/val0", (0, 1, 2, 9)), two_classes(root)),
        r"^masks/val/val0\.png: .*\b2, 9\b.* 2 classes",
    ),
    "colour mask": (
        lambda root: save(
            root / "masks/val/val0.png", np.arange(576, dtype=np.uint8).reshape(*HW, 3)
        ),
        r"^masks/val/val0\.png: .*colour",
    ),
    "grey levels": (
        lambda root: add(root, "val/val0", (0, 128)),
        r"128\b.*\b3\b",
    ),
    "jpeg mask": (
        lambda root: jpeg_mask(root / "masks/val"),
        r"^masks/val/val0\.jpg: .*JPEG",
    ),
    "two of one stem": (
        lambda root: save(root / "images/val/val0.bmp", np.zeros((*HW, 3), np.uint8)),
        r"^images/val: val0\.bmp .*val0\.png",
    ),
    "unknown folder": (
        lambda root: (root / "images/rest").mkdir(),
        "'rest'.* train .*, val .* and test",
    ),
    "two folders of one split": (
        lambda root: (root / "images/valid").mkdir(),
        "'val' and 'valid' are both val",
    ),
    "pictures beside the folders of splits": (
        lambda root: save(root / "images/stray.png", np.zeros((*HW, 3), np.uint8)),
        "^images/ holds pictures beside .*: stray:",
    ),
    "one class": (
        lambda root: [add(root, f"{s}/{s}{n}", (0,)) for s, n in PLACES],
        "two classes",
    ),
    "one class named": (
        lambda root: (root / "classes.txt").write_text("box\n"),
        r"classes\.txt .*2 to 255 classes",
    ),
}
PLACES = [("train", 0), ("train", 1), ("train", 2), ("val", 0), ("val", 1), ("test", 0)]


def two_classes(root: Path) -> None:
    (root / "classes.txt").write_text("floor\nbox\n")


def jpeg_mask(folder: Path) -> None:
    (folder / "val0.png").unlink()
    ramp = np.linspace(0, 3, HW[0] * HW[1]).astype(np.uint8).reshape(HW)
    save(folder / "val0.jpg", ramp)


@pytest.mark.parametrize("fault", BROKEN)
def test_inspect_finds_and_names_each_fault(folder, fault):
    damage, message = BROKEN[fault]
    damage(folder)
    assert re.search(message, only_fault(folder))


def test_inspect_lists_all_faults_at_once_and_open_folder_raises_them(folder):
    truncate(folder / "images/train/train0.png")
    (folder / "masks/val/val1.png").unlink()
    save(folder / "masks/test/test0.png", np.eye(9, 8, dtype=np.uint8))
    with pytest.raises(InputError) as caught:
        data.load(folder)
    text = str(caught.value)
    assert "has 3 faults" in text
    assert all(name in text for name in ("train0.png", "without a mask: val1", "test0.png"))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda root: None, "/set"),
        (lambda root: root.mkdir(), "images/"),
        (lambda root: (root / "images").mkdir(parents=True), "masks/"),
        (
            lambda root: [(root / kind).mkdir(parents=True) for kind in ("images", "masks")],
            "empty",
        ),
    ],
)
def test_inspect_refuses_a_folder_without_data(tmp_path, make, message):
    make(tmp_path / "set")
    assert message in inspect(tmp_path / "set").faults[0]


def test_inspect_refuses_a_path_that_is_too_long(tmp_path):
    with pytest.raises(InputError, match="File name too long"):
        inspect(tmp_path / ("long" * 100))


def test_inspect_reports_missing_splits_and_too_few_pictures(tmp_path):
    add(tmp_path, "train/a")
    faults = inspect(tmp_path).faults
    assert any(re.search(r"split.*\bval\b", fault) for fault in faults)
    assert any(re.search(r"train .*\b2\b", fault) for fault in faults)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (None, "mine|index.csv"),
        (["stem,other", "train0,train"], "'mine'.*'stem', 'other'"),
        (["name,mine", "train0,train"], "'stem'"),
        (["stem,mine", *["train0,train"] * 2], "stem: train0"),
    ],
)
def test_inspect_reports_a_wrong_index(folder, lines, message):
    if lines:
        write_index(folder, lines)
    assert re.search(message, inspect(folder, Reading(split_column="mine")).faults[0])


def test_inspect_reports_pictures_missing_in_the_index_and_unknown_splits(folder):
    lines = [f"{s}{n},{s}" for s, n in PLACES if (s, n) != ("val", 1)]
    lines[0] = "train0,rest"
    write_index(folder, ["stem,mine", *lines, "ghost,train"])
    seen: Inspection = inspect(folder, Reading(split_column="mine"))
    assert any(re.search(r"index\.csv has no line .*: val1$", fault) for fault in seen.faults)
    assert any(
        re.search(r"mine .*train, val and test, got 'rest' .*train0", f) for f in seen.faults
    )
    assert len(seen.warnings) == 1 and re.search(r"index\.csv .*: ghost$", seen.warnings[0])


def test_inspect_ignores_other_files_with_a_warning(folder):
    (folder / "images/train/notes.txt").write_text("x")
    (folder / "images/train/.DS_Store").write_text("x")
    seen = inspect(folder)
    assert seen.faults == ()
    assert len(seen.warnings) == 1
    assert re.search(r"^images/train: .*ignored: notes\.txt$", seen.warnings[0])


def test_inspect_gives_each_sample_its_rarest_class(tmp_path):
    (tmp_path / "classes.txt").write_text("road\ncar\nsign\n")
    for name, values in {"a": (0,), "b": (0, 1), "c": (0, 1, 2), "d": (0, 1)}.items():
        add(tmp_path, f"train/{name}", values)
    add(tmp_path, "val/e", (0, 2, 255))
    splits = inspect(tmp_path).splits
    assert [s.stratum for s in splits["train"]] == ["road", "car", "sign", "car"]
    assert [s.stratum for s in splits["val"]] == ["sign"]


BOXES = ("box1_a", "box1_b", "box2_a", "box2_b", "box3_a", "box3_b")


@pytest.mark.parametrize(
    ("pattern", "groups"),
    [
        (r"box(\d+)_", "112233"),
        (r"^[^_]+", ("box1", "box1", "box2", "box2", "box3", "box3")),
        (r"box2|(ox3)_", ("box1_a", "box1_b", "box2", "box2", "ox3", "ox3")),
    ],
)
def test_inspect_takes_groups_from_group_pattern(tmp_path, pattern, groups):
    for name in BOXES:
        add(tmp_path, f"train/{name}")
    for name in ("box7_a", "box8_a"):
        add(tmp_path, f"val/{name}")
    seen = inspect(tmp_path, Reading(group_pattern=pattern))
    assert [s.group for s in seen.splits["train"]] == list(groups)
    unmatched = [w for w in seen.warnings if "box1_a" in w]
    assert bool(unmatched) == ("|" in pattern)


def test_inspect_keeps_a_group_of_the_pattern_in_one_split(tmp_path):
    for number in range(30):
        add(tmp_path, f"box{number // 3:02d}_{number}")
    seen = inspect(tmp_path, Reading(group_pattern=r"^[^_]+"))
    splits = [{s.stem[:5] for s in samples} for samples in seen.splits.values()]
    assert sum(len(boxes) for boxes in splits) == 10


def test_inspect_warns_of_groups_that_cross_given_splits(folder):
    seen = inspect(folder, Reading(group_pattern=r"\d"))
    assert seen.pairs == {"train": 3, "val": 2, "test": 1}
    assert any(w.endswith(": 0, 1") for w in seen.warnings)


def test_inspect_reports_a_group_pattern_without_match_with_an_example(folder):
    fault = only_fault(folder, group_pattern="zz")
    assert re.search(r"'zz'.*train0, train1", fault)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"group_pattern": "("}, r"--group-pattern .*regular expression, got '\('"),
        ({"group_pattern": "x", "group_column": "y"}, "group"),
        ({"format": "coc"}, "--format"),
    ],
)
def test_inspect_refuses_contradictory_options(folder, given, message):
    with pytest.raises(InputError, match=message):
        inspect(folder, Reading(**given))


def test_load_refuses_reading_options_without_data():
    with pytest.raises(InputError, match="--data"):
        data.load(None, Reading(group_pattern="x"))


def test_inspect_reports_that_one_group_cannot_be_split(tmp_path):
    for number in range(5):
        add(tmp_path, f"n{number}")
    fault = inspect(tmp_path, Reading(group_pattern="n")).faults[0]
    assert re.search(r"one group, 'n'", fault)
    assert inspect(tmp_path, Reading(group_pattern=".+")).faults == ()


def test_inspect_leaves_train_the_largest_where_groups_differ_in_size(tmp_path):
    sizes = {"a": 30, "b": 8, "c": 5, "d": 4, "e": 3}
    for group, size in sizes.items():
        for number in range(size):
            add(tmp_path, f"{group}{number}")
    for seed in range(4):
        seen = inspect(tmp_path, Reading(group_pattern="^.", seed=seed))
        assert "a" in {s.group for s in seen.splits["train"]}
        assert seen.pairs["val"] and seen.pairs["test"]


def test_inspect_takes_val_from_train_where_val_is_missing(tmp_path):
    for number in range(20):
        add(tmp_path, f"train/n{number:02d}")
    add(tmp_path, "test/t0")
    seen = inspect(tmp_path)
    assert (seen.pairs, seen.faults) == ({"train": 17, "val": 3, "test": 1}, ())
    assert re.search(r"val .*15 % of train .*seed 0", seen.split_source)
    assert any(re.search(r"no val\b", w) for w in seen.warnings)


def test_inspect_splits_train_alone_in_three(tmp_path):
    for number in range(20):
        add(tmp_path, f"train/n{number:02d}")
    seen = inspect(tmp_path)
    assert (seen.pairs, seen.faults) == ({"train": 14, "val": 3, "test": 3}, ())
    assert re.search(r"train .*70/15/15 .*seed 0", seen.split_source)


def test_inspect_says_nothing_of_masks_that_cannot_be_read(tmp_path):
    for letter in "abcde":
        add(tmp_path, letter)
        (tmp_path / "masks" / f"{letter}.png").write_bytes(b"no picture")
    (tmp_path / "classes.txt").write_text("floor\ncrate\n")
    seen = inspect(tmp_path)
    (fault,) = seen.faults
    assert fault.startswith("masks/a.png, masks/b.png") and seen.iou_of == ""
    assert not any(line.startswith(("IoU", "classes")) for line in inspection_lines(seen))


def test_inspect_says_that_255_is_ignored_where_one_class_is_left(tmp_path):
    for letter in "abcde":
        add(tmp_path, letter, values=(0, 255))
    (tmp_path / "classes.txt").write_text("floor\ncrate\ntape\n")
    told = "nothing to learn; 50 % of the pixels are ignored (255 means ignore"
    assert any(told in fault for fault in inspect(tmp_path).faults)
