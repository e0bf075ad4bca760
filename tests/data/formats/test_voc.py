"""PASCAL VOC as the development kit lays it out, and as CVAT and Datumaro export it."""

import pickle
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from autoseg.data.dataset import Reading
from autoseg.data.formats import voc
from autoseg.data.inspection import inspect, open_folder

HW = (12, 16)
# VOClabelcolormap of the development kit, as its documentation lists it.
PALETTE = {0: (0, 0, 0), 1: (128, 0, 0), 2: (0, 128, 0), 15: (192, 128, 128), 20: (0, 64, 128)}


def voc_palette() -> list[int]:
    from autoseg.data.formats.common.colour_masks import palette_colour

    return [channel for index in range(256) for channel in palette_colour(index)]


def stripes(*values: int) -> np.ndarray:
    rows = np.array(values, np.uint8)[np.arange(HW[0]) % len(values)]
    return np.repeat(rows[:, None], HW[1], 1)


def add(root: Path, name: str, mask: Image.Image | None) -> None:
    path = root / "JPEGImages" / f"{name}.jpg"
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(sum(name.encode())).integers(0, 256, (*HW, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    if mask is not None:
        (root / "SegmentationClass").mkdir(exist_ok=True)
        mask.save(root / "SegmentationClass" / f"{name}.png")


def indexed(*values: int) -> Image.Image:
    mask = Image.fromarray(stripes(*values)).convert("P")
    mask.putdata(stripes(*values).ravel().tolist())
    mask.putpalette(voc_palette())
    return mask


def write_list(root: Path, split: str, names: list[str]) -> None:
    folder = root / "ImageSets" / "Segmentation"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{split}.txt").write_text("".join(f"{name}\n" for name in names))


@pytest.fixture
def devkit(tmp_path: Path) -> Path:
    """VOCdevkit/VOC2012 with 3 pictures of train, 2 of val, and one without a mask."""
    root = tmp_path / "VOCdevkit" / "VOC2012"
    names = [f"2007_{number:06d}" for number in range(5)]
    for name in names:
        add(root, name, indexed(0, 15, 255, 20))
    add(root, "2008_000001", None)
    write_list(root, "train", names[:3])
    write_list(root, "val", names[3:])
    write_list(root, "trainval", names)
    return root


def test_voc_development_kit_is_read_in_place(devkit):
    seen = inspect(devkit)
    assert seen.faults == ()
    assert seen.format == "voc"
    assert "SegmentationClass/" in seen.why and "JPEGImages/" in seen.why
    assert seen.pairs == {"train": 3, "val": 2, "test": 0}
    assert (len(seen.classes), seen.classes[0], seen.classes[15]) == (21, "background", "person")
    assert any(re.search(r"\btest\b", warning) for warning in seen.warnings)
    dataset = open_folder(devkit)
    sample = dataset.splits["train"][0]
    assert dataset.read(sample)[1].tolist() == stripes(0, 15, 255, 20).tolist()


def test_voc_is_found_below_the_folder_of_the_archive(devkit):
    seen = inspect(devkit.parents[1])
    assert (seen.format, seen.faults) == ("voc", ())
    assert seen.why.startswith("in VOCdevkit/VOC2012: ")
    (devkit.parent / "VOC2007" / "SegmentationClass").mkdir(parents=True)
    (devkit.parent / "VOC2007" / "JPEGImages").mkdir()
    (fault,) = inspect(devkit.parent).faults
    assert f"{devkit.parent}: VOC2007, VOC2012" in fault


def test_voc_palette_is_that_of_the_development_kit():
    palette = voc_palette()
    for index, colour in PALETTE.items():
        assert tuple(palette[3 * index : 3 * index + 3]) == colour


def test_voc_masks_saved_as_colours_give_the_same_classes(devkit):
    path = devkit / "SegmentationClass" / "2007_000000.png"
    colours = np.array([PALETTE[0], PALETTE[15], voc.BORDER_COLOUR, PALETTE[20]], np.uint8)
    rows = colours[np.arange(HW[0]) % 4]
    Image.fromarray(np.repeat(rows[:, None], HW[1], 1)).save(path)
    dataset = open_folder(devkit)
    sample = next(s for s in dataset.splits["train"] if s.stem == "2007_000000")
    assert dataset.read(sample)[1].tolist() == stripes(0, 15, 255, 20).tolist()


def test_voc_test_list_without_masks_is_left_out(devkit):
    add(devkit, "2008_000002", None)
    write_list(devkit, "test", ["2008_000001", "2008_000002"])
    seen = inspect(devkit)
    assert seen.faults == ()
    assert any(re.search(r"^test: .* 2 pictures .*mask", w) for w in seen.warnings)


def test_voc_listed_name_without_files_is_a_fault(devkit):
    write_list(devkit, "val", ["2007_000003", "2007_000009", "../../../etc/passwd"])
    faults = inspect(devkit).faults
    for fault, missing in zip(faults, ("picture", "mask"), strict=True):
        assert fault.startswith("val: ")
        assert fault.endswith(f"{missing}: 2007_000009, ../../../etc/passwd")


def test_voc_without_lists_all_pairs_are_split_by_the_seed(devkit):
    for path in (devkit / "ImageSets" / "Segmentation").iterdir():
        path.unlink()
    seen = inspect(devkit)
    assert (seen.faults, sum(seen.pairs.values())) == ((), 5)
    assert re.search(r"70/15/15 .*seed 0", seen.split_source)


def test_voc_value_beyond_the_classes_is_a_fault(devkit):
    indexed(0, 21).save(devkit / "SegmentationClass" / "2007_000001.png")
    (fault,) = inspect(devkit).faults
    assert re.search(r"^SegmentationClass/2007_000001\.png: .*\b21\b", fault)


LABELMAP = """\
# label:color_rgb:parts:actions
background:0,0,0::
rail:64,64,64::
box:250,50,83:lid:open,closed
ignored:224,224,192::
"""


def exported(root: Path, colours: list[tuple[int, int, int]], *, palette: bool) -> None:
    """Ten pictures as CVAT's Segmentation mask 1.1 has them, with stripes of some colours."""
    names = [f"shelf/frame_{number:03d}" for number in range(10)]
    for name in names:
        rows = np.array(colours, np.uint8)[np.arange(HW[0]) % len(colours)]
        mask = Image.fromarray(np.repeat(rows[:, None], HW[1], 1))
        (root / "SegmentationClass" / "shelf").mkdir(parents=True, exist_ok=True)
        (root / "JPEGImages" / "shelf").mkdir(parents=True, exist_ok=True)
        add(root, name, mask.convert("P", palette=Image.Palette.ADAPTIVE) if palette else mask)
    write_list(root, "default", names)


@pytest.mark.parametrize("palette", [False, True])
def test_voc_export_with_labelmap_is_read_by_its_colours(tmp_path, palette):
    exported(tmp_path, [(0, 0, 0), (250, 50, 83), (224, 224, 192)], palette=palette)
    (tmp_path / "labelmap.txt").write_text(LABELMAP)
    seen = inspect(tmp_path)
    assert seen.faults == ()
    assert seen.classes == ("background", "rail", "box")
    assert seen.class_share == pytest.approx((1 / 3, 0, 1 / 3))
    dataset = open_folder(tmp_path)
    sample = dataset.splits["train"][0]
    assert sample.stem.startswith("shelf/frame_")
    in_a_worker = pickle.loads(pickle.dumps(dataset))
    assert in_a_worker.read(sample)[1].tolist() == stripes(0, 2, 255).tolist()


def test_voc_labelmap_without_background_and_colours_gets_the_values_of_datumaro(tmp_path):
    exported(tmp_path, [(0, 0, 0), (128, 0, 0)], palette=False)
    (tmp_path / "labelmap.txt").write_text("bg:::\nbox:::\n")
    assert inspect(tmp_path).class_share == (0.5, 0.5)
    (tmp_path / "labelmap.txt").write_text("box:128,0,0::\nlid:0,128,0::\n")
    seen = inspect(tmp_path)
    assert (seen.faults, seen.classes) == ((), ("background", "box", "lid"))


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("background:0,0,0::\nbox\n", "name.*colour: 'box'"),
        ("background:0,0,0::\nbox:0,0,0::\n", r"colour.* twice: \(0, 0, 0\)"),
        ("box:0,0,0::\nbox:1,0,0::\n", "name.* twice: box"),
        ("background:0,0,0::\n", "2 to 253 classes.* 1$"),
        ("background:0,0,0::\nbox:0,0,256::\n", "name.*colour: 'box:0,0,256::'"),
    ],
)
def test_voc_wrong_labelmap_is_a_fault(tmp_path, text, fault):
    exported(tmp_path, [(0, 0, 0), (1, 0, 0)], palette=False)
    (tmp_path / "labelmap.txt").write_text(text)
    assert any(re.search(fault, line) for line in inspect(tmp_path).faults)


def test_voc_few_colours_not_in_labelmap_are_ignored_and_many_are_a_fault(tmp_path):
    exported(tmp_path, [(0, 0, 0), (250, 50, 83)], palette=False)
    (tmp_path / "labelmap.txt").write_text(LABELMAP)
    path = tmp_path / "SegmentationClass" / "shelf" / "frame_003.png"
    mask = np.array(Image.open(path))
    mask[0, 0] = (9, 9, 9)
    Image.fromarray(mask).save(path)
    seen = inspect(tmp_path)
    assert seen.faults == ()
    assert any(re.search(r"labelmap\.txt .*ignored: 0\.052 %$", w) for w in seen.warnings)
    mask[:6] = (9, 9, 9)
    Image.fromarray(mask).save(path)
    (fault,) = inspect(tmp_path).faults
    pattern = r"^SegmentationClass/shelf/frame_003\.png: 50 % .*labelmap\.txt: \(9, 9, 9\)$"
    assert re.search(pattern, fault)


def test_voc_requested_for_an_empty_folder_names_what_is_missing(tmp_path):
    (tmp_path / "images").mkdir()
    seen = inspect(tmp_path, Reading(format="voc"))
    (fault,) = seen.faults
    assert all(fact in fault for fact in ("JPEGImages/", "SegmentationClass/", "PASCAL VOC"))


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("Background:0,0,0::\nBone:250,50,83::\nbackground:1,2,3::\n", ("Background", "Bone")),
        ("background:0,0,0::\nbox:open:250,50,83::\n", ("background", "box:open")),
        ("# label:color_rgb:parts:actions\n#1:0,0,0::\n#2:250,50,83::\n", ("#1", "#2")),
        ("a:1,2,3:0,0,0:lid:open\n# a note\nb::250,50,83::\n", ("a:1,2,3", "b:")),
    ],
)
def test_voc_labelmap_names_may_hold_any_sign(tmp_path, text, names):
    exported(tmp_path, [(0, 0, 0), (250, 50, 83)], palette=False)
    (tmp_path / "labelmap.txt").write_text(text)
    seen = inspect(tmp_path)
    assert seen.faults == ()
    assert seen.classes[:2] == names
    assert seen.class_share[:2] == (0.5, 0.5)


def test_voc_class_names_of_labelme_name_the_classes(tmp_path):
    for number in range(5):
        add(tmp_path, f"frame_{number}", indexed(0, 1, 255, 2))
    assert any("21 of PASCAL VOC" in warning for warning in inspect(tmp_path).warnings)
    (tmp_path / "class_names.txt").write_text("_background_\ncrate\n#2\n")
    seen = inspect(tmp_path)
    assert (seen.faults, seen.classes) == ((), ("background", "crate", "#2"))
    assert not any("PASCAL VOC" in warning for warning in seen.warnings)


def test_voc_of_older_labelme_has_its_masks_in_a_folder_of_its_own(tmp_path):
    for number in range(5):
        add(tmp_path, f"frame_{number}", indexed(0, 1))
    (tmp_path / "SegmentationClass").rename(tmp_path / "SegmentationClassPNG")
    (tmp_path / "SegmentationClass").mkdir()
    (tmp_path / "SegmentationClass" / "frame_0.npy").write_bytes(b"")
    (tmp_path / "class_names.txt").write_text("_background_\ncrate\n")
    assert inspect(tmp_path).faults == ()
