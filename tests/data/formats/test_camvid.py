"""CamVid in its three layouts: Cambridge's colours, SegNet's indices, Kaggle's class_dict.csv."""

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from autoseg.data.dataset import Reading
from autoseg.data.folder import inspect, open_folder
from autoseg.data.formats.camvid import COLOURS

HW = (12, 16)
VIDEOS = ["0001TP_006690", "0006R0_f00930", "0016E5_00390", "Seq05VD_f00000"]


def save(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)


def noise(name: str) -> np.ndarray:
    rng = np.random.default_rng(sum(name.encode()))
    return rng.integers(0, 256, (*HW, 3), dtype=np.uint8)


def stripes(*values: object) -> np.ndarray:
    rows = np.array(values, np.uint8)[np.arange(HW[0]) % len(values)]
    return np.repeat(rows[:, None], HW[1], 1)


COLOUR_MASK = stripes((128, 128, 128), (0, 0, 0), (128, 64, 128), (64, 0, 128))
COLOUR_NAMES = ["Sky", None, "Road", "Car"]


def names_of(mask: np.ndarray, classes: tuple[str, ...]) -> list[str | None]:
    return [None if value == 255 else classes[value] for value in mask[:4, 0]]


@pytest.fixture
def cambridge(tmp_path: Path) -> Path:
    for video in VIDEOS:
        stem, number = video[:-4], int(video[-4:])
        for frame in range(number, number + 3):
            name = f"{stem}{frame:04d}"
            save(tmp_path / "701_StillsRaw_full" / f"{name}.png", noise(name))
            save(tmp_path / "LabeledApproved_full" / f"{name}_L.png", COLOUR_MASK)
    table = "".join(f"{r} {g} {b}\t{name}\n" for name, (r, g, b) in COLOURS.items())
    (tmp_path / "label_colors.txt").write_text(table)
    return tmp_path


@pytest.mark.parametrize("with_table", [True, False])
def test_camvid_cambridge_colours_are_31_classes_and_void(cambridge, with_table):
    if not with_table:
        (cambridge / "label_colors.txt").unlink()
    seen = inspect(cambridge)
    assert (seen.format, seen.faults, len(seen.classes)) == ("camvid", (), 31)
    assert "Void" not in seen.classes
    assert seen.ignore_share == 0.25
    dataset = open_folder(cambridge)
    assert names_of(dataset.read(dataset.splits["train"][0])[1], seen.classes) == COLOUR_NAMES


def test_camvid_frames_of_a_video_stay_in_one_split(cambridge):
    splits = inspect(cambridge).splits
    videos = {split: {s.stem.split("_")[0] for s in samples} for split, samples in splits.items()}
    assert sum(len(names) for names in videos.values()) == 4
    assert all(videos.values())


INDEX_MASK = stripes(0, 3, 11, 10)


@pytest.fixture
def segnet(tmp_path: Path) -> Path:
    """The lists name the files as the repository's do: below another machine's folder."""
    for split, names in {
        "train": ["0001TP_006690", "0006R0_f00930", "0016E5_00390"],
        "val": ["0016E5_07959", "0016E5_07961"],
        "test": ["0001TP_008550", "Seq05VD_f00000"],
    }.items():
        for name in [*names, f"{split}_unlisted"]:
            save(tmp_path / split / f"{name}.png", noise(name))
            save(tmp_path / f"{split}annot" / f"{name}.png", INDEX_MASK)
        lines = [
            f"/SegNet/CamVid/{split}/{name}.png /SegNet/CamVid/{split}annot/{name}.png"
            for name in names
        ]
        (tmp_path / f"{split}.txt").write_text("\n".join(lines) + "\n")
    return tmp_path


def test_camvid_segnet_indices_are_11_classes_and_void(segnet):
    seen = inspect(segnet)
    assert (seen.format, seen.faults) == ("camvid", ())
    assert "train/" in seen.why and "trainannot/" in seen.why
    assert seen.pairs == {"train": 3, "val": 2, "test": 2}
    assert len(seen.classes) == 11
    dataset = open_folder(segnet)
    classes = names_of(dataset.read(dataset.splits["test"][0])[1], seen.classes)
    assert classes == ["sky", "road", None, "bicyclist"]
    assert any(w.endswith(": 0001TP, 0016E5") for w in seen.warnings)
    assert any(re.search(r"\bval\b.* group.* 0016E5", w) for w in seen.warnings)


def test_camvid_older_lists_pair_other_names_and_lack_val(segnet):
    for path in [*segnet.glob("val*"), *segnet.glob("valannot/*")]:
        path.unlink() if path.is_file() else None
    (segnet / "val.txt").unlink(missing_ok=True)
    for folder in ("val", "valannot"):
        for path in (segnet / folder).glob("*"):
            path.unlink()
        (segnet / folder).rmdir()
    (segnet / "testannot" / "0001TP_008550.png").rename(segnet / "testannot" / "annot_1.png")
    (segnet / "test.txt").write_text("/x/test/0001TP_008550.png /x/testannot/annot_1.png")
    seen = inspect(segnet)
    assert seen.faults == ()
    assert seen.pairs == {"train": 2, "val": 1, "test": 1}
    assert re.search(r"val .*15 % of train .*seed 0", seen.split_source)
    assert any(re.search(r"no val\b", w) for w in seen.warnings)


def test_camvid_without_lists_files_pair_by_name(segnet):
    for path in segnet.glob("*.txt"):
        path.unlink()
    assert inspect(segnet).pairs == {"train": 4, "val": 3, "test": 3}


def test_camvid_lists_cannot_lead_outside_the_folder(segnet):
    (segnet / "test.txt").write_text("../../etc/passwd.png ../../etc/shadow.png")
    assert any(re.search(r"^test: .* 1 picture.* mask", w) for w in inspect(segnet).warnings)


def test_camvid_colours_in_segnet_layout_are_read_by_label_colors(segnet):
    (segnet / "label_colors.txt").write_text("0 0 0 Void\n1 1 1 floor\n9 9 9 box\n")
    assert inspect(segnet).classes[0] == "sky"  # one channel: indices all the same
    for path in segnet.glob("*annot/*.png"):
        save(path, stripes((1, 1, 1), (9, 9, 9), (0, 0, 0)))
    seen = inspect(segnet)
    assert (seen.faults, seen.classes) == ((), ("floor", "box"))


def test_camvid_kaggle_layout_is_read(tmp_path):
    for split, names in {"train": VIDEOS[:2], "val": VIDEOS[2:3], "test": VIDEOS[3:]}.items():
        for name in names:
            save(tmp_path / split / f"{name}.png", noise(name))
            save(tmp_path / f"{split}_labels" / f"{name}_L.png", COLOUR_MASK)
    rows = "".join(f"{name},{r},{g},{b}\n" for name, (r, g, b) in COLOURS.items())
    (tmp_path / "class_dict.csv").write_text("name,r,g,b\n" + rows)
    seen = inspect(tmp_path)
    assert (seen.format, seen.faults, len(seen.classes)) == ("camvid", (), 31)
    assert seen.pairs == {"train": 2, "val": 1, "test": 1}
    dataset = open_folder(tmp_path)
    assert names_of(dataset.read(dataset.splits["val"][0])[1], seen.classes) == COLOUR_NAMES


def test_camvid_requested_for_an_empty_folder_names_what_is_missing(tmp_path):
    (fault,) = inspect(tmp_path, Reading(format="camvid")).faults
    assert "701_StillsRaw_full/" in fault and "LabeledApproved_full/" in fault
