"""Names of files and folders as people have them: Unicode forms, affixes, suffixes, splits."""

import os
import re
from pathlib import Path
from unicodedata import normalize

import numpy as np
import pytest
from data_sets import SETS
from hostile import written
from labelled import HW, mask_of, save_picture, understood
from PIL import Image

from autoseg import data
from autoseg.core.errors import InputError
from autoseg.data.convert import convert
from autoseg.data.dataset import Reading
from autoseg.data.formats.common.pairing import split_of
from autoseg.data.inspection import inspect

BOX = np.zeros(HW, np.uint8)
BOX[10:30, 15:40] = 1


def save_mask(path: Path, mask: np.ndarray = BOX) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(mask).save(path)


def pairs(root: Path, names: list[str], *, images: str = "images", masks: str = "masks") -> Path:
    """Pictures and masks; in the names of the folders and files, {} is the name of the pair."""
    for name in names:
        picture = images if "{}" in images else images + "/{}.png"
        mask = masks if "{}" in masks else masks + "/{}.png"
        save_picture(root / picture.format(name))
        save_mask(root / mask.format(name))
    return root


NAMES = [f"car{number}" for number in range(12)]


@pytest.mark.parametrize(("images", "masks"), [("NFC", "NFD"), ("NFD", "NFC")])
def test_inspect_pairs_names_of_another_unicode_form(tmp_path, images, masks):
    names = ["Größe 1", "café", "Übersicht", "b1", "b2", "b3"]
    for name in names:
        save_picture(tmp_path / "images" / f"{normalize(images, name)}.png")
        save_mask(tmp_path / "masks" / f"{normalize(masks, name)}.png")
    lines = [f"{normalize(images, name)},{number % 3}" for number, name in enumerate(names)]
    (tmp_path / "index.csv").write_text("\n".join(["stem,box", *lines]))
    seen = inspect(tmp_path, Reading(group_column="box"))
    assert (seen.faults, sum(seen.pairs.values())) == ((), 6)
    assert not any("index.csv" in warning for warning in seen.warnings)


@pytest.mark.parametrize(
    ("images", "masks"),
    [
        ("images/{}.jpg", "masks/{}_mask.png"),
        ("imgs/{}.jpg", "masks/{}_seg_mask.png"),
        ("train/{}.jpg", "train_masks/{}_mask.gif"),
        ("train_images/{}.jpg", "train_labels/{}_L.png"),
        ("imgs_train/{}.jpg", "masks-train/{}_L.png"),
        ("image/{}.png", "mask/label_{}.png"),
        ("image/{}.png", "label/{}_gt.png"),
        ("images/{}_image.png", "masks/{}_mask.png"),
        ("images/rgb-{}.png", "labels/seg-{}.png"),
        ("train/images/{}.png", "train/masks/{}-gt.png"),
    ],
)
def test_inspect_pairs_masks_with_one_text_more_in_their_names(tmp_path, images, masks):
    seen = understood(pairs(tmp_path, NAMES, images=images, masks=masks), "plain")
    assert sum(seen.pairs.values()) == len(NAMES)
    assert any("paired" in warning for warning in seen.warnings)
    for samples in seen.splits.values():
        for sample in samples:
            assert re.search(r"car\d+", sample.image)[0] == re.search(r"car\d+", sample.mask)[0]


def test_inspect_pairs_pictures_whose_own_names_end_with_mask(tmp_path):
    names = [f"{name}{ending}" for name in NAMES for ending in ("", "_mask")]
    seen = understood(pairs(tmp_path, names, masks="masks/{}_mask.png"), "plain")
    for samples in seen.splits.values():
        assert all(Path(s.mask).stem == f"{Path(s.image).stem}_mask" for s in samples)


def test_voc_pairs_masks_with_one_text_more_in_their_names(tmp_path):
    pairs(tmp_path, NAMES, images="JPEGImages", masks="SegmentationClass/{}_mask.png")
    assert sum(understood(tmp_path, "voc").pairs.values()) == len(NAMES)


def test_inspect_names_what_an_affix_does_not_pair_in_two_lines(tmp_path):
    pairs(tmp_path, NAMES, masks="masks/{}_mask.png")
    for name in NAMES[:3]:
        (tmp_path / "masks" / f"{name}_mask.png").unlink()
    save_mask(tmp_path / "masks" / "stray.png")
    first, second = inspect(tmp_path).faults
    assert first.endswith("pictures without a mask: car0, car1, car2")
    assert second.endswith("masks without a picture: stray")


@pytest.mark.parametrize("ending", ["", "_mask"])
def test_inspect_pairs_nothing_by_numbers_that_differ(tmp_path, ending):
    for number in range(10):
        save_picture(tmp_path / "images" / f"{number}.png")
        save_mask(tmp_path / "masks" / f"{number + 5}{ending}.png")
    faults = inspect(tmp_path).faults
    assert len(faults) == 2 and "without a mask: 0, 1, 2, 3, 4" in faults[0]


TRIPLES = [("train", "val", "test"), ("Training", "VALID", "Testing"), ("train", "dev", "test"),
           ("TRAIN", "validation", "test")]  # fmt: skip


@pytest.mark.parametrize("folders", ["{split}/{kind}", "{kind}/{split}", "{split}{behind}"])
@pytest.mark.parametrize("splits", TRIPLES)
def test_inspect_knows_the_usual_names_of_splits(tmp_path, splits, folders):
    for split in splits:
        images = folders.format(split=split, kind="images", behind="")
        masks = folders.format(split=split, kind="masks", behind="_masks")
        pairs(tmp_path, [f"{split}{n}" for n in range(3)], images=images, masks=masks)
    assert understood(tmp_path, "plain").pairs == {"train": 3, "val": 3, "test": 3}


@pytest.mark.parametrize("folders", ["{split}/{kind}", "{kind}/{split}"])
def test_inspect_refuses_a_folder_that_is_no_split(tmp_path, folders):
    for split in ("train", "val", "holdout"):
        images, masks = (folders.format(split=split, kind=kind) for kind in ("images", "masks"))
        pairs(tmp_path, [f"{split}{n}" for n in range(3)], images=images, masks=masks)
    (fault,) = inspect(tmp_path).faults
    assert re.search(r"no split: 'holdout': .* val \(valid, validation, dev\)", fault)


def test_inspect_leaves_out_a_test_without_masks_with_a_warning(tmp_path):
    pairs(tmp_path, NAMES, images="train", masks="train_masks/{}_mask.gif")
    save_picture(tmp_path / "test" / "secret.png")
    seen = understood(tmp_path, "plain")
    assert any(
        w.startswith("test: none of the 1 pictures in test/ has a mask") for w in seen.warnings
    )


def test_inspect_warns_of_a_split_beside_the_folders_that_it_reads(tmp_path):
    pairs(tmp_path, NAMES)
    pairs(tmp_path, NAMES[:2], images="valid/images", masks="valid/masks")
    seen = understood(tmp_path, "plain")
    assert "beside images/, not read: valid/" in seen.warnings


def test_inspect_takes_splits_of_index_csv_by_their_usual_names(tmp_path):
    pairs(tmp_path, NAMES)
    lines = [f"{n},{('training', 'valid', 'TEST')[i % 3]}" for i, n in enumerate(NAMES)]
    (tmp_path / "index.csv").write_text("\n".join(["stem,mine", *lines]))
    seen = inspect(tmp_path, Reading(split_column="mine"))
    assert (seen.faults, seen.pairs) == ((), {"train": 4, "val": 4, "test": 4})


def test_inspect_reads_every_suffix_of_a_picture_in_any_case(tmp_path):
    kinds = {".jfif": "JPEG", ".JPE": "JPEG", ".Gif": "GIF", ".TIFF": "TIFF", ".WebP": "WEBP"}
    for number, (suffix, kind) in enumerate(kinds.items()):
        save_picture(tmp_path / "made.png")
        (tmp_path / "images").mkdir(exist_ok=True)
        Image.open(tmp_path / "made.png").save(tmp_path / "images" / f"{number}{suffix}", kind)
        save_mask(tmp_path / "masks" / f"{number}.PNG")
    assert sum(understood(tmp_path, "plain").pairs.values()) == len(kinds)


OTHERS = {
    "AVIF": b"\0\0\0\x1cftypavif\0\0\0\0",
    "HEIC": b"\0\0\0\x18ftypheic\0\0\0\0",
    "JPEG XL": b"\xff\n\xfa\x7f",
    "PDF": b"%PDF-1.7",
    "HTML": b"<!DOCTYPE html>",
    "git lfs pull": b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n",
}


@pytest.mark.parametrize("kind", OTHERS)
def test_inspect_says_what_a_picture_really_is(tmp_path, kind):
    pairs(tmp_path, NAMES[:5])
    (tmp_path / "images" / "car0.png").write_bytes(OTHERS[kind])
    (fault,) = inspect(tmp_path).faults
    assert fault.startswith("images/car0.png: not a readable picture (") and kind in fault


@pytest.fixture
def latin_1(tmp_path: Path) -> Path:
    """A data set whose names are no UTF-8, as from an old Windows archive; its folder, too."""
    root = tmp_path / os.fsdecode(b"K\xf6ln")
    return pairs(root, [os.fsdecode(b"M\xfcnchen %d" % number) for number in range(8)])


def test_inspect_convert_and_cache_take_names_that_are_no_utf_8(latin_1, tmp_path):
    seen = understood(latin_1, "plain")
    assert mask_of(seen, os.fsdecode(b"M\xfcnchen 0")).any()
    for _ in range(2):
        dataset = data.load(
            latin_1, Reading(group_pattern="M.nchen [0-3]?"), cache_dir=tmp_path / "cache"
        )
    convert(dataset, tmp_path / "out")
    assert sum(understood(tmp_path / "out", "plain").pairs.values()) == 8
    assert r"M\udcfc" in (tmp_path / "out" / "index.csv").read_text()
    (latin_1 / "masks" / os.fsdecode(b"M\xfcnchen 0.png")).unlink()
    (fault,) = inspect(latin_1).faults
    assert fault.endswith(r"pictures without a mask: M\udcfcnchen 0")


@pytest.mark.parametrize("kind", ["images", "masks"])
def test_inspect_bounds_its_faults(tmp_path, kind):
    pairs(tmp_path, [f"n{number:03d}" for number in range(200)])
    for path in (tmp_path / kind).iterdir():
        path.write_bytes(b"")
    (fault,) = [f for f in inspect(tmp_path).faults if "readable" in f]
    assert "and 195 more: not a readable picture (the file is empty)" in fault
    for number, path in enumerate(sorted((tmp_path / "images").iterdir())):
        save_picture(path, (9, 9 + number))
        save_mask(tmp_path / "masks" / path.name, np.eye(9, 8, dtype=np.uint8))
    (fault,) = [f for f in inspect(tmp_path).faults if "one size" in f]
    assert "and 195 more: a picture and its mask must have one size" in fault


def test_load_bounds_the_faults_that_it_raises(tmp_path, capsys):
    pairs(tmp_path, NAMES[:5])
    rules = "".join(f"class{number}: [{number}]\n" for number in range(9, 99))
    (tmp_path / "remap.yaml").write_text(rules)
    with pytest.raises(InputError) as caught:
        data.load(tmp_path, Reading(remap=str(tmp_path / "remap.yaml")))
    assert re.search("and [0-9]+ more faults$", str(caught.value))
    assert len(str(caught.value).splitlines()) <= 31


# Names by which a tool itself finds its file.
FIXED = ("meta.json", "dataset.json", "objectInfo150.txt")


@pytest.mark.parametrize("name", SETS)
def test_inspect_finds_files_whose_suffix_is_in_upper_case(name, tmp_path):
    def upper(file: str) -> str:
        path = Path(file)
        return file if path.name in FIXED else str(path.with_suffix(path.suffix.upper()))

    whole = SETS[name]()
    root = written(tmp_path / "set", {upper(f): held for f, held in whole.files.items()})
    seen = inspect(root / upper(whole.zip) if whole.zip else root)
    assert (seen.format, seen.faults) == (name.partition(",")[0], ())


@pytest.mark.parametrize(
    ("place", "split"),
    [
        ("train/test-belt", "train"), ("Valid", "val"), ("a/test_images", "test"),
        ("annotations/instances_train2017", "train"), ("b/dev/train_1", "val"), ("belt", ""),
    ],
)  # fmt: skip
def test_split_of_a_folder_with_just_the_name_of_a_split_counts_most(place, split):
    assert split_of(place) == split
