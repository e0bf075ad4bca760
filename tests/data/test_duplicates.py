"""Near-duplicates between splits: copies and video frames are found, look-alikes are not."""

import io
import re
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageFilter

from autoseg.data.dataset import Sample
from autoseg.data.duplicates import near_duplicates, thumbnail, warning
from autoseg.data.folder import inspect, open_folder
from autoseg.data.synthetic.parcels import scene


@cache
def pictures(count: int = 16) -> list[Image.Image]:
    return [Image.fromarray(scene(0, number)[0]) for number in range(count)]


def small(picture: Image.Image) -> bytes:
    return thumbnail(np.asarray(picture))


def found(train: list[bytes], val: list[bytes]) -> dict[str, str]:
    """The pictures of val that look like one of train, each with that one."""
    splits = {
        split: [
            Sample(stem=f"{split}{n}", group=f"{split}{n}", image="", mask="")
            for n in range(count)
        ]
        for split, count in (("train", len(train)), ("val", len(val)), ("test", 0))
    }
    pairs = near_duplicates(splits, train + val).get(("val", "train"), [])
    return {pair.sample.stem: pair.other.stem for pair in pairs}


def jpeg(picture: Image.Image) -> Image.Image:
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=40)
    return Image.open(file)


def panned(picture: Image.Image, pixels: int) -> Image.Image:
    return picture.crop((pixels, 0, picture.width - 40 + pixels, picture.height))


CHANGES = {
    "as it is": lambda picture: picture,
    "JPEG": jpeg,
    "half the size": lambda picture: picture.resize((320, 180), Image.Resampling.BICUBIC),
    "brighter": lambda picture: ImageEnhance.Brightness(picture).enhance(1.15),
    "less contrast": lambda picture: ImageEnhance.Contrast(picture).enhance(0.8),
    "blurred": lambda picture: picture.filter(ImageFilter.GaussianBlur(2)),
}


@pytest.mark.parametrize("how", CHANGES)
def test_near_duplicates_finds_a_picture_saved_again(how):
    copies = [small(CHANGES[how](picture)) for picture in pictures()[3:6]]
    assert found([small(picture) for picture in pictures()], copies) == {
        "val0": "train3", "val1": "train4", "val2": "train5",
    }  # fmt: skip


def test_near_duplicates_finds_frames_of_a_slow_video():
    frames = [small(panned(picture, 3 * t)) for picture in pictures()[:4] for t in range(8)]
    assert len(found(frames[::2], frames[1::2])) == 16


def test_near_duplicates_keeps_different_scenes_apart():
    smalls = [small(picture) for picture in pictures()]
    assert found(smalls[:8], smalls[8:]) == {}


def test_near_duplicates_keeps_other_objects_before_one_background_apart():
    rng = np.random.default_rng(0)
    smalls = []
    for _ in range(40):
        picture = pictures()[0].copy()
        x, y = int(rng.integers(560)), int(rng.integers(280))
        picture.paste((230, 225, 210), (x, y, x + 60, y + 45))
        smalls.append(small(picture))
    assert found(smalls[:20], smalls[20:]) == {}


def test_near_duplicates_leaves_out_pictures_without_structure():
    flat = np.full((40, 40, 3), 77, np.uint8)
    tiny = np.random.default_rng(0).integers(0, 255, (12, 40, 3), dtype=np.uint8)
    assert thumbnail(flat) == thumbnail(tiny) == b""
    assert found([b"", small(pictures()[0])], [b"", b""]) == {}


def test_near_duplicates_search_misses_no_pair():
    rng = np.random.default_rng(0)
    base = rng.integers(0, 255, (600, 256)).astype(np.float64)
    noisy = base + rng.normal(size=base.shape) * rng.uniform(0, 16, (600, 1))
    train, val = (
        [row.tobytes() for row in values.clip(0, 255).astype(np.uint8)] for values in (base, noisy)
    )

    def units(rows: list[bytes]) -> np.ndarray:
        values = np.frombuffer(b"".join(rows), np.uint8).reshape(-1, 256).astype(float)
        values -= values.mean(1, keepdims=True)
        return values / np.linalg.norm(values, axis=1, keepdims=True)

    differences = units(train) - units(val)
    rms, peak = np.linalg.norm(differences, axis=1), np.abs(differences).max(1) * 16
    surely = np.flatnonzero((rms < 0.119) & (peak < 0.54))
    surely_not = np.flatnonzero((rms > 0.122) | (peak > 0.57))
    assert len(surely) > 50 and len(surely_not) > 50
    pairs = found(train, val)
    assert {f"val{n}" for n in surely} <= set(pairs)
    assert not {f"val{n}" for n in surely_not} & set(pairs)


def test_near_duplicates_handles_a_thousand_copies_of_one_picture():
    copies = [small(pictures()[0])] * 1000
    assert len(found(copies[:500], copies[500:])) == 500


@pytest.fixture
def leaking(tmp_path: Path) -> Path:
    for number in range(6):
        split = "train" if number < 4 else "val"
        image, mask = scene(0, number)
        for kind, array in (("images", image), ("masks", mask)):
            path = tmp_path / kind / split / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(array).resize((160, 90), Image.Resampling.NEAREST).save(path)
    copy = Image.open(tmp_path / "images" / "train" / "2.png")
    copy.save(tmp_path / "images" / "val" / "again.jpg")
    mask = (tmp_path / "masks" / "train" / "2.png").read_bytes()
    (tmp_path / "masks" / "val" / "again.png").write_bytes(mask)
    return tmp_path


def test_inspect_warns_of_duplicates_with_pictures_and_option(leaking):
    (told,) = (line for line in inspect(leaking).warnings if "near-duplicates" in line)
    assert re.search(r"1 of 3 .*val and train \(again and 2\)", told)
    assert "--group-pattern" in told


def test_open_folder_logs_the_duplicates_warning(leaking, caplog):
    open_folder(leaking)
    assert "(again and 2)" in caplog.text


def test_warning_of_duplicates_names_a_few_of_many():
    smalls = [small(picture) for picture in pictures()]
    splits = {
        split: [Sample(stem=f"{split}{n:02}", group="", image="", mask="") for n in range(16)]
        for split in ("train", "val", "test")
    }
    told = warning(splits, smalls * 3)
    assert re.search(r"16 of 16 .*val and train \(val00 and train00, ", told)
    assert re.search(r"16 of 16 .*test and val \(", told)
    assert told.count("train0") == 6


def test_warning_of_duplicates_is_empty_where_there_are_none():
    splits = {"train": [Sample(stem="a", group="", image="", mask="")], "val": [], "test": []}
    assert warning(splits, [small(pictures()[0])]) == ""
