"""Supervisely: its objects as pixels, its data sets as splits, and damaged files as faults."""

import base64
import io
import json
import re
import zlib
from pathlib import Path

import numpy as np
import pytest
from labelled import HEIGHT, HW, WIDTH, area, mask_of, save_picture, turn_by_exif, understood
from PIL import Image

from autoseg.data.inspection import inspect


def polygon(label: str, exterior: list, *interior: list, kind: str = "polygon") -> dict:
    points = {"exterior": exterior, "interior": list(interior)}
    return {"id": 5, "classTitle": label, "geometryType": kind, "points": points}


def bitmap(label: str, bits: np.ndarray, origin: list, *, packed: bool = True) -> dict:
    """As the SDK writes it: a palette PNG whose first colour is transparent."""
    picture = Image.fromarray(bits.astype(np.uint8))
    picture.putpalette([0, 0, 0, 255, 255, 255])
    file = io.BytesIO()
    picture.save(file, "PNG", transparency=0)
    data = zlib.compress(file.getvalue()) if packed else file.getvalue()
    held = {"data": base64.b64encode(data).decode(), "origin": origin}
    return {"id": 6, "classTitle": label, "geometryType": "bitmap", "bitmap": held}


def write(folder: Path, name: str, *objects: object, **facts: object) -> None:
    save_picture(folder / "img" / name)
    (folder / "ann").mkdir(exist_ok=True)
    size = {"height": HEIGHT, "width": WIDTH}
    made = {"description": "", "tags": [], "size": size, "objects": list(objects)} | facts
    (folder / "ann" / f"{name}.json").write_text(json.dumps(made))


def square(left: int, top: int, right: int, bottom: int) -> list:
    return [[left, top], [right, top], [right, bottom], [left, bottom]]


def dataset(root: Path, *objects: object, **facts: object) -> Path:
    """A project with one data set; a.png holds the objects, the others a box."""
    root.mkdir(exist_ok=True)
    titles = [{"title": title, "shape": "any", "color": "#ff0000"} for title in ("tape", "box")]
    (root / "meta.json").write_text(json.dumps({"classes": titles, "tags": []}))
    for letter in "bcde":
        write(root / "ds0", f"{letter}.png", polygon("box", square(0, 0, 29, 39)))
    write(root / "ds0", "a.png", *objects, **facts)
    return root


def test_supervisely_polygons_include_their_border_and_exclude_their_holes(tmp_path):
    holed = polygon("tape", square(10, 5, 29, 24), square(15, 10, 19, 14))
    seen = understood(dataset(tmp_path, holed), "supervisely")
    assert all(fact in seen.why for fact in ("meta.json", "ds0/img/", "ds0/ann/"))
    assert seen.classes == ("background", "box", "tape")
    expected = area(2, slice(5, 25), slice(10, 30))
    expected[10:15, 15:20] = 0
    np.testing.assert_array_equal(mask_of(seen), expected)


@pytest.mark.parametrize("count", [2, 4])
def test_supervisely_rectangles_include_their_corners(tmp_path, count):
    corners = [[20, 14], [10, 5]] if count == 2 else square(10, 5, 20, 14)
    box = polygon("box", corners, kind="rectangle")
    seen = understood(dataset(tmp_path, box), "supervisely")
    np.testing.assert_array_equal(mask_of(seen), area(1, slice(5, 15), slice(10, 21)))


@pytest.mark.parametrize("packed", [True, False])
def test_supervisely_bitmaps_lie_at_their_origin_over_earlier_objects(tmp_path, packed):
    bits = np.triu(np.ones((6, 8)))
    objects = polygon("tape", square(50, 30, 59, 39)), bitmap("box", bits, [52, 34], packed=packed)
    expected = area(2, slice(30, 40), slice(50, 60))
    expected[34:40, 52:60][bits > 0] = 1
    np.testing.assert_array_equal(
        mask_of(understood(dataset(tmp_path, *objects), "supervisely")), expected
    )


def test_supervisely_datasets_named_after_splits_are_the_splits(tmp_path):
    (tmp_path / "meta.json").write_text("{}")
    for name, letters in (("train", "abc"), ("val", "de")):
        for letter in letters:
            write(tmp_path / name, f"{letter}.png", polygon("box", square(0, 0, 9, 9)))
    save_picture(tmp_path / "train/img/z.png")
    seen = understood(tmp_path, "supervisely")
    assert seen.pairs == {"train": 3, "val": 2, "test": 0}
    assert any(w.endswith("ignored: train/img/z.png") for w in seen.warnings)


def test_supervisely_outlines_without_an_area_are_left_out_and_counted(tmp_path):
    things = (
        polygon("tape", square(10, 5, 19, 14), [[12, 8]]),
        polygon("box", [[1, 2]], kind="rectangle"),
        polygon("box", [[1, 2], [30, 30]]),
        polygon("box", []),
    )
    seen = understood(dataset(tmp_path, *things), "supervisely")
    np.testing.assert_array_equal(mask_of(seen), area(2, slice(5, 15), slice(10, 20)))
    (warning,) = [w for w in seen.warnings if "without an area" in w]
    assert warning.endswith("left out (4): a.png")


def test_supervisely_size_of_an_unturned_picture_is_a_fault_that_names_exif(tmp_path):
    root = dataset(tmp_path, polygon("box", square(10, 5, 19, 14)))
    turn_by_exif(root / "ds0/img/a.png")
    file = root / "ds0/ann/a.png.json"
    told = json.loads(file.read_text())
    file.write_text(json.dumps(told | {"size": {"height": WIDTH, "width": HEIGHT}}))
    (fault,) = inspect(root).faults
    assert re.search(r"a\.png\.json: .* 40x60.* 60x40 .*EXIF", fault)


BITS = np.ones((6, 8))
DAMAGED = {
    "not an object": (5, "objects .*list"),
    "no class": ({"points": {}}, "classTitle .*text, got None"),
    "no points": ({"classTitle": "box"}, r"object 0 \(box\): .*points"),
    "three corners": (
        polygon("box", [[1, 2], [9, 2], [9, 9]], kind="rectangle"),
        r"object 5 \(box\): .*2 or 4 points, got 3$",
    ),
    "a hole of words": (polygon("box", square(0, 0, 9, 9), ["a"]), "points"),
    "past the edge": (bitmap("box", BITS, [55, 0]), r"bitmap.* x 55\.\.62, y 0\.\.5"),
    "before the edge": (bitmap("box", BITS, [-1, 0]), r"bitmap.* x -1\.\.6, y 0\.\.5"),
    "no origin": (bitmap("box", BITS, []), "points"),
    "no bitmap": (
        {"classTitle": "box", "geometryType": "bitmap", "bitmap": {"origin": [0, 0]}},
        "bitmap .*text, got None",
    ),
    "a bitmap larger than the picture": (
        bitmap("box", np.ones((400, 8)), [0, 0]),
        "bitmap.* 8x400.* 60x40",
    ),
    "a bomb": (
        bitmap("box", BITS, [0, 0])
        | {
            "bitmap": {
                "data": base64.b64encode(zlib.compress(bytes(10**7))).decode(),
                "origin": [0, 0],
            }
        },
        "bitmap.*PNG",
    ),
}


@pytest.mark.parametrize(("damaged", "fault"), DAMAGED.values(), ids=DAMAGED)
def test_supervisely_damaged_object_is_a_fault_that_names_the_file(tmp_path, damaged, fault):
    faults = inspect(dataset(tmp_path, damaged)).faults
    assert any(re.search(rf"^ds0/ann/a\.png\.json: .*{fault}", f) for f in faults), faults


def test_supervisely_points_far_outside_the_picture_are_clipped(tmp_path):
    far = polygon("box", [[0, 0], [10**12, 0], [10**12, 10**12], [0, 10**12]])
    assert mask_of(understood(dataset(tmp_path, far), "supervisely")).all()


def test_supervisely_annotation_of_another_size_is_a_fault(tmp_path):
    (fault,) = inspect(dataset(tmp_path, size={"height": HW[0], "width": 7})).faults
    assert re.search(r"ds0/ann/a\.png\.json: .* 7x40", fault)
