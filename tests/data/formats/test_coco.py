"""COCO: polygons, runs, crowds, boxes and panoptic masks as pixels, damaged files as faults."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from labelled import HEIGHT, HW, WIDTH, area, mask_of, save_picture, turn_by_exif, understood
from PIL import Image

from autoseg.data.inspection import inspect

BOX, TAPE = 7, 3  # categories, whose ids give the order of the classes
CATEGORIES = [{"id": BOX, "name": "box", "supercategory": "x"}, {"id": TAPE, "name": "tape"}]
# pycocotools 2.0.11 for rows 5..14 of columns 10..19, rows 30..37 of columns 50..59, and (0, 0).
RUNS = "01d<9ZD00000000000000000YV1NiiN00000000000000000RO"


def thing(picture: int, segmentation: object, category: int = BOX, **facts: object) -> dict:
    made = {"id": 100 + picture, "image_id": picture, "category_id": category, "iscrowd": 0}
    return made | {"segmentation": segmentation, "bbox": [10, 5, 10, 10], "area": 100} | facts


def corners(left: int, top: int, right: int, bottom: int) -> list[int]:
    return [left, top, right, top, right, bottom, left, bottom]


def write(path: Path, names: list[str], *things: dict, **facts: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    images = [
        {"id": number, "file_name": name, "width": WIDTH, "height": HEIGHT, "license": 1}
        for number, name in enumerate(names)
    ]
    lists = {"images": images, "annotations": list(things), "categories": CATEGORIES}
    path.write_text(json.dumps({"info": {}, "licenses": []} | lists | facts))


def dataset(root: Path, *things: dict, **facts: object) -> Path:
    """Things on picture 0, and four pictures with a box each, as one file of no split."""
    names = [f"{letter}.png" for letter in "abcde"]
    for name in names:
        save_picture(root / "images" / name)
    others = [thing(number, [corners(0, 0, 30, 40)]) for number in (1, 2, 3, 4)]
    write(root / "result.json", names, *things, *others, **facts)
    return root


def test_coco_polygons_overlap_in_file_order(tmp_path):
    things = (
        thing(0, [corners(10, 5, 20, 15), corners(30, 5, 40, 15)], TAPE),
        thing(0, [corners(15, 5, 35, 15)]),
    )
    seen = understood(dataset(tmp_path, *things), "coco")
    assert "result.json" in seen.why and "COCO" in seen.why
    assert seen.classes == ("background", "tape", "box")
    expected = area(1, slice(5, 15), slice(10, 40))
    expected[5:15, 15:35] = 2
    np.testing.assert_array_equal(mask_of(seen), expected)


@pytest.mark.parametrize(
    "counts",
    [RUNS, [0, 1, 404, *[10, 30] * 9, 10, 1255, *[8, 32] * 9, 8, 2]],
    ids=["compressed", "numbers"],
)
def test_coco_runs_go_down_the_columns(tmp_path, counts):
    root = dataset(tmp_path, thing(0, {"size": [*HW], "counts": counts}))
    expected = area(1, slice(5, 15), slice(10, 20)) + area(1, slice(30, 38), slice(50, 60))
    expected[0, 0] = 1
    np.testing.assert_array_equal(mask_of(understood(root, "coco")), expected)


def test_coco_crowds_and_box_only_objects_are_ignored_pixels(tmp_path):
    crowd = thing(0, [corners(30, 5, 40, 15)], iscrowd=1)
    seen = understood(dataset(tmp_path, thing(0, []), crowd), "coco")
    expected = area(255, slice(5, 15), slice(10, 20)) + area(255, slice(5, 15), slice(30, 40))
    np.testing.assert_array_equal(mask_of(seen), expected)
    assert any(
        re.search(r"result\.json: .*\bbox\b.*ignored \(1\): object 100$", w) for w in seen.warnings
    )

    assert any(re.search(r"iscrowd.* ignored.*: 1 of 6 of box$", w) for w in seen.warnings)


@pytest.mark.parametrize("crowds", [2, 5])
def test_coco_crowds_are_objects_where_many_of_a_category_are_marked(tmp_path, crowds):
    runs = {"size": [*HW], "counts": RUNS}
    things = [
        thing(n, runs if n < crowds else [corners(0, 0, 30, 40)], TAPE, iscrowd=int(n < crowds))
        for n in range(5)
    ]
    seen = understood(dataset(tmp_path, annotations=things), "coco")
    assert (seen.classes, seen.ignore_share) == (("background", "tape"), 0)
    assert mask_of(seen)[5:15, 10:20].all()
    (warning,) = [w for w in seen.warnings if "iscrowd" in w]
    assert re.search(f"read as objects.*: {crowds} of 5 of tape$", warning)


def test_coco_categories_without_an_object_are_no_classes(tmp_path):
    project = {"id": 0, "name": "parcels-Ab12", "supercategory": "none"}
    crate = {"id": BOX, "name": "crate", "supercategory": "parcels-Ab12"}
    seen = understood(dataset(tmp_path, categories=[project, crate]), "coco")
    assert seen.classes == ("background", "crate")
    (warning,) = [w for w in seen.warnings if "categor" in w]
    assert warning.endswith("(1): parcels-Ab12")
    (tmp_path / "classes.txt").write_text("background\nparcels-Ab12\ncrate\n")
    assert inspect(tmp_path).classes == ("background", "parcels-Ab12", "crate")


def test_coco_pieces_without_an_area_are_left_out_and_counted(tmp_path):
    square = corners(10, 5, 20, 15)
    stray = [[32, 24], [10, 10, 12, 12], [], [1, 1, 2, 2, 3, 3], [4, 4] * 4]
    seen = understood(dataset(tmp_path, thing(0, [square, *stray]), thing(0, [[30, 2]])), "coco")
    np.testing.assert_array_equal(mask_of(seen), area(1, slice(5, 15), slice(10, 20)))
    (warning,) = [w for w in seen.warnings if "without an area" in w]
    assert warning.endswith("left out (6): object 100")


def test_coco_size_of_an_unturned_picture_is_a_fault_that_names_exif(tmp_path):
    images = [
        {"id": number, "file_name": f"{letter}.png", "width": WIDTH, "height": HEIGHT}
        for number, letter in enumerate("abcde")
    ]
    images[0] |= {"width": HEIGHT, "height": WIDTH}
    root = dataset(tmp_path, images=images)
    assert "EXIF" not in inspect(root).faults[0]
    turn_by_exif(root / "images/a.png")
    (fault,) = inspect(root).faults
    assert re.search(r"picture 0 .* 40x60.* 60x40 .*EXIF", fault)


def test_coco_picture_without_objects_is_background(tmp_path):
    assert not mask_of(understood(dataset(tmp_path), "coco")).any()


@pytest.mark.parametrize(
    ("files", "folders"),
    [
        (
            {
                "train": "annotations/instances_train2017.json",
                "val": "annotations/instances_val2017.json",
            },
            {"train": "train2017", "val": "val2017"},
        ),
        (
            {"train": "train/_annotations.coco.json", "val": "valid/_annotations.coco.json"},
            {"train": "train", "val": "valid"},
        ),
    ],
    ids=["as released", "a folder a split"],
)
def test_coco_splits_come_from_file_and_folder_names(tmp_path, files, folders):
    names = {"train": ["0.png", "1.png", "2.png"], "val": ["0.png", "4.png"]}
    for split, file in files.items():
        for name in names[split]:
            save_picture(tmp_path / folders[split] / name, (HEIGHT, WIDTH))
        things = [thing(n, [corners(0, 0, 30, 40)]) for n in range(len(names[split]))]
        write(tmp_path / file, names[split], *things)
    captions = tmp_path / files["train"].replace("instances", "captions")
    if captions.name.startswith("captions"):
        write(captions, names["train"])
    # One name in both folders, so that the wrong folder would be told by the pixels.
    Image.fromarray(np.zeros((*HW, 3), np.uint8)).save(tmp_path / folders["val"] / "0.png")
    seen = understood(tmp_path, "coco")
    assert seen.pairs == {"train": 3, "val": 2, "test": 0}
    for split, samples in seen.splits.items():
        assert all(folders[split] in sample.image for sample in samples)


def test_coco_panoptic_masks_map_segments_to_classes_and_ignore_void(tmp_path):
    names = [f"{letter}.png" for letter in "abcde"]
    for name in names:
        save_picture(tmp_path / "val2017" / name)
        pixels = np.zeros((*HW, 3), np.uint8)
        pixels[:20], pixels[20:30] = (1, 2, 0), (0, 0, 3)
        mask = tmp_path / "annotations/panoptic_val2017" / name
        mask.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(mask)
    segments = [
        {"id": 1 + 256 * 2, "category_id": BOX, "iscrowd": 0},
        {"id": 65536 * 3, "category_id": TAPE, "iscrowd": 0},
    ]
    annotations = [
        {"image_id": number, "file_name": name, "segments_info": segments}
        for number, name in enumerate(names)
    ]
    write(tmp_path / "annotations/panoptic_val2017.json", names, annotations=annotations)
    seen = understood(tmp_path, "coco")
    assert seen.classes == ("tape", "box")
    np.testing.assert_array_equal(mask_of(seen)[:, 7], np.repeat([1, 0, 255], [20, 10, 10]))


HUGE = 10**12
DAMAGED = {
    "words": ([["a", "b"]], "polygons or runs"),
    "half a point": ([[1, 2, 3, 4, 5, 6, 7]], "points"),
    "not a number": ([[1, 2, 3, 4, float("nan"), 6]], "points"),
    "runs of a huge picture": (
        {"size": [HUGE, HUGE], "counts": [HUGE**2]},
        r"runs.*\[1000000000000, 1000000000000\].*\[40, 60\]",
    ),
    "runs that pass the picture": ({"size": [*HW], "counts": [9, HUGE]}, "runs.*picture"),
    "runs below nothing": ({"size": [*HW], "counts": [2401, -1]}, "runs.*picture"),
    "runs that end early": ({"size": [*HW], "counts": RUNS[:30]}, "runs.*picture"),
    "a huge run": ({"size": [*HW], "counts": "o" * 40}, "counts"),
    "signs that are no runs": (
        {"size": [*HW], "counts": "\x00é"},
        "counts",
    ),
    "no runs": ({"size": [*HW]}, "list of whole numbers, got None"),
    "a number": (5, "polygons or runs: 5"),
}


@pytest.mark.parametrize(("segmentation", "fault"), DAMAGED.values(), ids=DAMAGED)
def test_coco_damaged_object_is_a_fault_that_names_file_picture_and_object(
    tmp_path, segmentation, fault
):
    (line,) = inspect(dataset(tmp_path, thing(0, segmentation))).faults
    assert line.startswith("result.json, picture 0 ('a.png'): object 100: ")
    assert re.search(fault, line)


def test_coco_polygons_far_outside_the_picture_are_clipped(tmp_path):
    far = thing(0, [[0, 0, HUGE, 0, HUGE, HUGE, -HUGE, 20]])
    assert mask_of(understood(dataset(tmp_path, far), "coco")).max() == 1


@pytest.mark.parametrize(
    ("facts", "fault"),
    [
        ({"images": {}}, r"images .*list, got \{\}"),
        ({"images": [{"id": 0}]}, r"file_name: \{'id': 0\}"),
        ({"images": [{"id": 0, "file_name": "a.png"}] * 2}, "two pictures.* id 0"),
        ({"annotations": [{"id": 3}]}, "annotation.*image_id.*category_id"),
        ({"annotations": [thing(9, [])]}, "pictures.*: 109"),
        ({"annotations": [thing(0, [], 9)]}, "categories.*: 100"),
        ({"categories": [{"id": 1}]}, r"category .*name: \{'id': 1\}"),
        (
            {"images": [{"id": 0, "file_name": "../../gone.png"}], "annotations": []},
            r"pictures.* below.*gone\.png",
        ),
        (
            {"images": [{"id": 0, "file_name": "a.png", "width": 40, "height": 60}]},
            "40x60.*60x40",
        ),
    ],
)
def test_coco_damaged_file_is_a_fault(tmp_path, facts, fault):
    faults = inspect(dataset(tmp_path, **facts)).faults
    assert any("result.json" in line and re.search(fault, line) for line in faults), faults


def test_coco_truncated_file_is_a_fault(tmp_path):
    root = dataset(tmp_path)
    whole = (root / "result.json").read_text()
    (root / "result.json").write_text(whole[:-30])
    (fault,) = inspect(root).faults
    assert re.search(r"result\.json .*JSON", fault)


def test_coco_takes_no_split_from_the_name_of_the_data_folder(tmp_path):
    root = tmp_path / "test"
    for number, name in enumerate(("train", "more")):
        letters = "abc" if number == 0 else "de"
        for letter in letters:
            save_picture(root / f"{letter}.png")
        write(
            root / f"{name}.json",
            [f"{letter}.png" for letter in letters],
            *(thing(n, [corners(10, 5, 20, 15)]) for n in range(len(letters))),
        )
    assert any("train alone is named as a split" in w for w in inspect(root).warnings)


def test_coco_takes_sizes_that_are_written_as_texts(tmp_path):
    path = next(dataset(tmp_path).glob("*.json"))
    sizes = f'"width": {WIDTH}', f'"height": {HEIGHT}'
    text = path.read_text()
    for size in sizes:
        assert size in text
        text = text.replace(size, size.replace(": ", ': "') + '"')
    path.write_text(text)
    understood(tmp_path, "coco")


def test_coco_takes_no_picture_of_another_date_for_an_upload(tmp_path):
    save_picture(tmp_path / "20240101-belt.png")
    write(tmp_path / "a.json", ["20240102-belt.png"], thing(0, [corners(10, 5, 20, 15)]))
    (fault,) = inspect(tmp_path).faults
    assert fault.startswith("a.json names pictures that are not below")
