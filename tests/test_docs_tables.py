"""The docs' tables of what is read and refused: every row is run."""

import io
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from data_sets import HW, NAMES, SETS, Files, as_json, coloured, each, mask, picture, png, text
from hostile import written
from PIL import Image

from autoseg.core.errors import InputError
from autoseg.data.formats import FORMATS
from autoseg.data.inspection import inspect

ROOT = Path(__file__).parents[1]


def table(heading: str, page: str = "data.md") -> list[list[str]]:
    """The rows of the tables in a section of a page, without their head lines."""
    below = (ROOT / "docs" / page).read_text(encoding="utf-8").split(f"\n{heading}\n")[1]
    section = re.split(r"^#", below, maxsplit=1, flags=re.M)[0]
    found = re.findall(r"^\|.*\n\|[-|]+\n((?:\|.*\n)+)", section, re.M)
    lines = "".join(found).splitlines()
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]


# The data set that stands for a row, by the beginning of the row's `written by`.
READ = {
    "anyone": "plain", "PASCAL VOC": "voc", "Cityscapes": "cityscapes",
    "CamVid, of Cambridge": "camvid, colours", "CamVid, of SegNet": "camvid",
    "CamVid, of Kaggle": "camvid, class_dict.csv", "RailSem19": "railsem19",
    "[Label Studio]": "label-studio", "Label Studio, brushes": "label-studio, brushes",
    "[COCO]": "coco", "COCO, panoptic": "coco, panoptic", "[ADE20K]": "ade20k",
    "[LabelMe]": "labelme", "[Supervisely]": "supervisely", "Oxford-IIIT Pet": "oxford-pet",
    "[nnU-Net]": "nnunet", "Data Science Bowl": "dsb2018", "Kaggle's competitions": "kaggle-rle",
    "[VIA]": "via", "VIA, CSV": "via, CSV", "[YOLO]": "yolo", "Ultralytics": "yolo, masks",
    "[MMSegmentation]": "mmsegmentation", "Roboflow": "beside", "comma10k": "comma10k",
}  # fmt: skip


def test_docs_table_of_formats_has_a_row_for_each_that_is_read(tmp_path):
    name, told = "", []
    rows = [row for row in table("## Formats") if len(row) == 6]  # below is one of colour tables
    for number, row in enumerate(rows):
        name = row[0].strip("`") or name
        (whole,) = [SETS[of]() for start, of in READ.items() if row[1].startswith(start)]
        seen = inspect(written(tmp_path / f"{number}", whole.files))
        assert (seen.format, seen.faults) == (name, ()), row
        told.append(name)
    assert set(told) == set(FORMATS) and len(told) == len(READ)


def _jpeg() -> bytes:
    """Two classes that JPEG blurs into many."""
    rows = np.where(np.arange(HW[0]) < 5, 0, 120).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(np.repeat(rows[:, None], HW[1], 1)).save(file, "JPEG")
    return file.getvalue()


def _indexed(black: int) -> bytes:
    """Black above and red below, with the index of black."""
    red = 1 - black
    rows = np.array([black] * 6 + [red] * 6, np.uint8)
    image = Image.fromarray(np.repeat(rows[:, None], HW[1], 1))
    image.putpalette([0, 0, 0, 200, 30, 30] if black == 0 else [200, 30, 30, 0, 0, 0])
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def _plain(mask_of: Callable[[str], bytes] | bytes) -> Files:
    return each("images/{}.png", "masks/{}.png", mask_of)


def _in_splits(other: str, mask_of: Callable[[str], bytes] | bytes) -> Files:
    """The first four in train, the others in a folder of that name."""
    place = {name: "train" if name < "e" else other for name in NAMES}
    return {
        re.sub(r"/(\w)\.png", lambda at: f"/{place[at[1]]}/{at[1]}.png", path): content
        for path, content in _plain(mask_of).items()
    }


def _volumes() -> Files:
    about = {"channel_names": {"0": "CT"}, "labels": {"background": 0, "box": 1}}
    names = [f"imagesTr/{n}_0000.nii.gz" for n in NAMES] + [f"labelsTr/{n}.nii.gz" for n in NAMES]
    about |= {"numTraining": 6, "file_ending": ".nii.gz"}
    return {**dict.fromkeys(names, b"volume"), "dataset.json": as_json(about)}


def _boxes() -> Files:
    labels = {f"labels/{name}.txt": text("0 .5 .5 .2 .2") for name in NAMES}
    return {**_pictures(), **labels, "data.yaml": text("names: [box]", "train: images")}


def _pictures(pattern: str = "images/{}.png", content: bytes | None = None) -> Files:
    return {pattern.format(name): content or picture(name) for name in NAMES}


def _instead(content: bytes) -> Files:
    """That under the name of each picture."""
    masks = {path: data for path, data in _plain(mask(0, 1)).items() if path.startswith("masks")}
    return {**_pictures("images/{}.jpg", content), **masks}


VIA_3 = {
    "project": {"pid": "x"},
    "config": {},
    "attribute": {},
    "file": {},
    "metadata": {},
    "view": {},
}
SMOOTH = png(np.random.default_rng(0).choice([0] * 40 + [255] * 40 + [*range(40, 220, 20)], HW)
             .astype(np.uint8))  # fmt: skip
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 3\n"
# The files of each row; an only file is given itself.
REFUSED: dict[str, Files] = {
    "a tar, 7z or rar": {"set.tar": b"x"},
    "a file of parquet, HDF5 or TFRecord": {"set.parquet": b"x"},
    "a folder of parquet files": {"a.parquet": b"x", "b.parquet": b"x"},
    "volumes (NIfTI) of nnU-Net": _volumes(),
    "YOLO's boxes": _boxes(),
    "Roboflow's boxes": {**_pictures("train/{}.jpg"), "train/_annotations.csv": text("filename")},
    "CVAT's own XML": {**_pictures(), "annotations.xml": b"<annotations/>"},
    "a project of VIA 3": {**_pictures("{}.png"), "via.json": as_json(VIA_3)},
    "masks that were smoothed or resized": _plain(SMOOTH),
    "palettes in different orders": _plain(lambda name: _indexed(int(name > "c"))),
    "masks as JPEG": {**_pictures(), **_pictures("masks/{}.jpg", _jpeg())},
    "masks in colours, without a table": _plain(coloured((0, 0, 0), (200, 30, 30))),
    "0 and 1 in some masks, 0 and 255 in others": _plain(
        lambda name: mask(0, 1 if name < "d" else 255)
    ),
    "AVIF or HEIC named .jpg": _instead(b"\0\0\0\x1cftypavif" + bytes(64)),
    "pointers of Git LFS": _instead(POINTER),
    "a mask of another size than its picture": _plain(png(np.eye(5, dtype=np.uint8))),
    "a folder beside the splits": _in_splits("fold2", mask(0, 1)),
    "an object that val lacks": _in_splits("val", lambda name: mask(0, int(name < "e"))),
}


@pytest.mark.parametrize(("found", "words"), table("### What is refused"))
def test_docs_table_of_what_is_refused_says_what_the_message_says(found, words, tmp_path):
    files = REFUSED[found]
    root = written(tmp_path / "set", files)
    given = root / next(iter(files)) if len(files) == 1 else root
    try:
        faults = inspect(given).faults
    except InputError as error:
        faults = (str(error),)
    assert any(words in fault for fault in faults), faults


def test_docs_table_of_what_is_refused_has_a_row_for_each():
    assert [row[0] for row in table("### What is refused")] == list(REFUSED)


SSH = "tests/device/ssh/test_"
# The test that runs a row of docs/devices.md, by the beginning of the row.
ROWS = {
    "## Models": {
        "an ONNX file": "tests/device/test_local.py::test_measure_records_what_was_fed",
        "weights in other files": "tests/device/test_model_files.py::test_measure_reads",
        "one of these files": "tests/device/test_model_files.py::test_files_of_names_weights",
        "weights at an absolute": "tests/device/test_model_files.py::test_files_of_refuses",
        "a pointer of Git LFS": "tests/device/test_model_files.py::test_commands_name_a_missing",
        "over 512 MiB": f"{SSH}faults.py::test_measure_refuses_a_model_beyond_the_cache",
    },
    "## Connection": {
        "`HostName`": f"{SSH}config.py::test_hops_of_an_alias_have_its_host_port_user",
        "`IdentityFile`": f"{SSH}keys.py::test_identities_begin_with_the_file",
        "`ProxyJump`": f"{SSH}config.py::test_hops_of_jumps_come_in_order",
        "`UserKnownHostsFile`": f"{SSH}config.py::test_hops_of_take_host_key_alias",
        "`ssh` refuses": f"{SSH}effective_config.py::test_effective_config_of_a_config_that_ssh",
        "no `ssh` here": f"{SSH}config_reader.py::test_read_config_agrees_with_ssh",
        "then, a `Match` with": f"{SSH}config_reader.py::test_read_config_leaves_a_block_out",
        "then, a `Match exec`": f"{SSH}config_reader.py::test_read_config_refuses_a_command",
        "a fault in a config": f"{SSH}config_reader.py::test_read_config_names_the_file_and_line",
        "`HOME` is not": f"{SSH}config.py::test_hops_of_use_the_home_of_the_environment",
    },
}


@pytest.mark.parametrize("heading", ROWS)
def test_docs_tables_of_devices_have_a_test_for_each_row(heading):
    rows = [row[0] for row in table(heading, "devices.md")]
    for row in rows:
        (test,) = [test for start, test in ROWS[heading].items() if row.startswith(start)]
        file, _, name = test.partition("::")
        assert f"def {name}" in (ROOT / file).read_text(encoding="utf-8"), test
    assert len(rows) == len(ROWS[heading])
