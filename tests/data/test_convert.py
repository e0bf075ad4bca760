"""Conversion to the plain layout: it reads back as what it was, whole or not at all."""

import csv
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from autoseg import data
from autoseg.core.errors import InputError
from autoseg.data.convert import convert, new_stems
from autoseg.data.dataset import Dataset, Reading, Sample
from autoseg.data.synthetic.parcels import parcels

HW = (20, 24)


def noise(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (*HW, 3), dtype=np.uint8)


def save(path: Path, picture: Image.Image | np.ndarray, **options: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    image.save(path, **options)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three splits of PNG pictures, groups of two, three classes and a border."""
    root = tmp_path / "set"
    lines = ["stem,group"]
    for split, count in (("train", 6), ("val", 2), ("test", 2)):
        for number in range(count):
            name = f"{split}/{split}{number}"
            mask = np.random.default_rng(number).choice([0, 1, 2, 255], HW).astype(np.uint8)
            save(root / "images" / f"{name}.png", noise(len(lines)))
            save(root / "masks" / f"{name}.png", mask)
            lines.append(f"{split}{number},{split}-{number // 2}")
    (root / "classes.txt").write_text("Straße\nclass two\nsign\n", encoding="utf-8")
    (root / "index.csv").write_text("\n".join(lines))
    return root


def contents(dataset: Dataset) -> dict[str, set[tuple[str, str, bytes, bytes]]]:
    """Splits, stems, groups and pixels, in no order."""
    return {
        split: {
            (s.stem, s.group, *(array.tobytes() for array in dataset.read(s))) for s in samples
        }
        for split, samples in dataset.splits.items()
    }


def files(root: Path) -> list[str]:
    return sorted(p.relative_to(root).as_posix() for p in root.rglob("*") if p.is_file())


def test_convert_output_reads_back_to_the_same_data(folder, tmp_path):
    before = data.load(folder, Reading(group_column="group"))
    done = convert(before, tmp_path / "out")
    after = data.load(tmp_path / "out", Reading(group_column="group"))
    assert contents(after) == contents(before)
    assert after.classes == before.classes == ("Straße", "class two", "sign")
    assert done.pairs == {"train": 6, "val": 2, "test": 2}
    assert (done.copied, done.encoded, done.renamed) == (10, 0, 0)


def test_convert_writes_the_computed_split_as_the_given_one(folder, tmp_path):
    before = data.load(folder, Reading(group_column="group", seed=3))
    flat = tmp_path / "flat"
    for kind in ("images", "masks"):
        for path in (folder / kind).rglob("*.png"):
            (flat / kind).mkdir(parents=True, exist_ok=True)
            path.rename(flat / kind / path.name)
    before = data.load(flat, Reading(seed=3))
    convert(before, tmp_path / "out")
    assert contents(data.load(tmp_path / "out")) == contents(before)
    assert contents(data.load(tmp_path / "out", Reading(split_column="split"))) == contents(before)


def test_convert_copies_bytes_where_every_program_reads_the_same(folder, tmp_path):
    train = folder / "images" / "train"
    train.joinpath("train0.png").unlink()
    jpeg = save(train / "train0.JPG", noise(90), quality=80)
    cmyk = save(train / "train1.jpg", Image.fromarray(noise(91)).convert("CMYK"))
    train.joinpath("train1.png").unlink()
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = Image.fromarray(noise(92)).transpose(Image.Transpose.ROTATE_90)
    save(train / "train2.png", turned, exif=exif)
    deep = np.random.default_rng(0).integers(0, 2**16, HW).astype(np.uint16)
    save(train / "train3.png", deep)
    before = data.load(folder)
    done = convert(before, tmp_path / "out")
    out = tmp_path / "out" / "images" / "train"
    assert (out / "train0.JPG").read_bytes() == jpeg.read_bytes()
    assert (done.copied, done.encoded) == (7, 3)
    assert cmyk.stem + ".png" in files(out)
    for name in ("train1", "train2", "train3"):
        with Image.open(out / f"{name}.png") as written:
            assert (written.mode, written.size) == ("RGB", (24, 20))
    assert contents(data.load(tmp_path / "out")) == contents(before)


def test_convert_writes_binary_masks_as_indices(tmp_path):
    for split in ("train", "val"):
        for number in range(2):
            save(tmp_path / "set" / "images" / split / f"{split}{number}.png", noise(number))
            mask = (noise(number + 5)[..., 0] > 127).astype(np.uint8) * 255
            save(tmp_path / "set" / "masks" / split / f"{split}{number}.png", mask)
    before = data.load(tmp_path / "set")
    convert(before, tmp_path / "out")
    after = data.load(tmp_path / "out")
    assert contents(after) == contents(before) and after.classes == before.classes
    assert not (tmp_path / "out" / "images" / "test").exists()


def test_convert_writes_generated_data(tmp_path):
    scenes = parcels(counts={"train": 2, "val": 1, "test": 1})
    done = convert(scenes, tmp_path / "out")
    assert done.encoded == 4
    assert contents(data.load(tmp_path / "out", Reading(group_column="group"))) == contents(scenes)


def stems(*images: str, split: str = "train") -> list[str]:
    samples = tuple(
        Sample(stem=Path(image).stem, group=Path(image).stem, image=image, mask="")
        for image in images
    )
    return new_stems({split: samples})[split]


def test_convert_puts_the_folder_name_before_stems_that_clash():
    assert stems("ulm/1.png", "bonn/1.png", "bonn/2.png") == ["ulm-1", "bonn-1", "2"]
    assert stems("a/ulm/1.png", "b/ulm/1.png") == ["1-1", "2-1"]
    assert stems("ulm/A.png", "bonn/a.png") == ["ulm-A", "bonn-a"]


def test_convert_never_gives_a_stem_that_another_file_has():
    got = stems("ulm/1.png", "bonn/1.png", "x/ulm-1.png", "y/ULM-1.png", "a/b/1.png", "c/b/1.png")
    got += stems("a/b/1.png", "c/b/1.png", "x/1-1.png", "y/train-1.png")
    assert len({stem.casefold() for stem in got[:6]}) == 6
    assert got[6:] == ["2-1", "3-1", "1-1", "train-1"]


def test_convert_makes_stems_unique_across_splits():
    one, other = (
        Sample(stem="1", group="1", image="train/1.png", mask=""),
        Sample(stem="1", group="1", image="val/1.png", mask=""),
    )
    assert new_stems({"train": (one,), "val": (other,), "test": ()}) == {
        "train": ["train-1"], "val": ["val-1"],
    }  # fmt: skip


@pytest.mark.parametrize("stem", ["city/0001", ".hidden", "a b ", "../../up", "new\nline", ""])
def test_convert_replaces_a_stem_that_is_no_file_name(stem, tmp_path):
    def read(sample):
        return noise(len(sample.image)), np.eye(*HW, dtype=np.uint8)

    splits = {
        split: tuple(Sample(stem=s, group=s, image=f"{split}{s}", mask="") for s in names)
        for split, names in (("train", (stem, "other")), ("val", ("third",)), ("test", ()))
    }
    done = convert(
        Dataset(name="made", classes=("a", "b"), splits=splits, digest="", read=read),
        tmp_path / "out",
    )
    assert done.renamed == 1
    assert data.load(tmp_path / "out", Reading(group_column="group")).classes == ("a", "b")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("there", ["a file in it", "a file"])
def test_convert_overwrites_nothing(folder, tmp_path, there):
    out = tmp_path / "out"
    kept = out if there == "a file" else out / "mine.txt"
    kept.parent.mkdir(exist_ok=True)
    kept.write_text("mine")
    with pytest.raises(InputError, match=re.escape(str(out))):
        convert(data.load(folder), out)
    assert kept.read_text() == "mine"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "set"]


def test_convert_accepts_an_empty_folder(folder, tmp_path):
    (tmp_path / "out").mkdir()
    convert(data.load(folder), tmp_path / "out")
    assert "classes.txt" in files(tmp_path / "out")


def test_convert_leaves_nothing_half_written(folder, tmp_path):
    dataset = data.load(folder)
    (folder / "images" / "test" / "test1.png").write_bytes(b"changed meanwhile")
    with pytest.raises(InputError, match="test1"):
        convert(dataset, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


def test_convert_writes_stem_split_and_group_to_the_index(folder, tmp_path):
    convert(data.load(folder, Reading(group_column="group")), tmp_path / "out")
    with (tmp_path / "out" / "index.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == 10
    assert {"stem": "train3", "split": "train", "group": "train-1"} in lines


def test_data_convert_prints_what_it_wrote(folder, tmp_path, monkeypatch, autoseg_command):
    monkeypatch.chdir(tmp_path)
    called = autoseg_command("data", "convert", str(folder), "out", "--group-column", "group")
    assert called.code == 0
    assert called.stdout.startswith("out: train 6, val 2, test 2\n")
    assert re.search(r"10 copied, 0 .*PNG, 0 renamed\n$", called.stdout)
    assert [path.name for path in tmp_path.iterdir() if path.name != "set"] == ["out"]
    again = autoseg_command("data", "convert", str(folder), "out")
    assert again.code == 2 and "out" in again.stderr


def test_data_convert_refuses_a_folder_inside_the_data(folder, autoseg_command):
    called = autoseg_command("data", "convert", str(folder), str(folder / "out"))
    assert called.code == 2 and str(folder / "out") in called.stderr
    assert not (folder / "out").exists()
