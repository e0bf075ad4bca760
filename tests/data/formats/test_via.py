"""VGG Image Annotator: its shapes as pixels, the attribute that names the class, and its files."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from labelled import HEIGHT, HW, WIDTH, area, mask_of, save_picture, understood

from autoseg.data.inspection import inspect

RECT = {"name": "rect", "x": 10, "y": 5, "width": 10, "height": 10}
HALF = {"name": "rect", "x": 0, "y": 0, "width": 30, "height": HEIGHT}


def region(shape: dict, **attributes: object) -> dict:
    return {"shape_attributes": shape, "region_attributes": attributes}


def entries(*first: dict, names: str = "abcdef") -> dict:
    """The regions of a.png, and a box in each of the others."""
    held = {names[0]: list(first)} | {name: [region(HALF, kind="box")] for name in names[1:]}
    return {
        f"{name}.png17": {
            "filename": f"{name}.png",
            "size": 17,
            "regions": regions,
            "file_attributes": {},
        }
        for name, regions in held.items()
    }


def dataset(root: Path, made: dict, name: str = "via_region_data.json") -> Path:
    for entry in made.values():
        save_picture(root / entry["filename"])
    (root / name).write_text(json.dumps(made))
    return root


def inside(x: float, y: float) -> np.ndarray:
    """Squared distances of all pixels from a point, along both axes."""
    rows, columns = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    return np.stack([(columns - x), (rows - y)])


@pytest.mark.parametrize(
    "shape",
    [
        RECT,
        {
            "name": "polygon",
            "all_points_x": [10, 20, 20, 10],
            "all_points_y": [5, 5, 15, 15],
        },
    ],
)
def test_via_shapes_cover_pixels_whose_centres_they_contain(tmp_path, shape):
    seen = understood(dataset(tmp_path, entries(region(shape, kind="tape"))), "via")
    assert seen.why == "via_region_data.json is a file of VIA"
    assert seen.classes == ("background", "box", "tape")
    np.testing.assert_array_equal(mask_of(seen), area(2, slice(5, 15), slice(10, 20)))


def test_via_circles_and_turned_ellipses(tmp_path):
    circle = {"name": "circle", "cx": 10, "cy": 10, "r": 6}
    ellipse = {"name": "ellipse", "cx": 40, "cy": 20, "rx": 12, "ry": 5, "theta": np.pi / 2}
    root = dataset(tmp_path, entries(region(circle, kind="box"), region(ellipse, kind="box")))
    (x, y), (across, down) = inside(10, 10), inside(40, 20)
    expected = (x**2 + y**2 <= 36) | ((across / 5) ** 2 + (down / 12) ** 2 <= 1)
    np.testing.assert_array_equal(mask_of(understood(root, "via")), expected)


def test_via_project_csv_and_first_version_give_the_same_masks(tmp_path):
    made = entries(region(HALF, kind="box"), region(RECT, kind="tape"))
    project = {"_via_settings": {}, "_via_img_metadata": made, "_via_attributes": {"region": {}}}
    first = {
        key: entry | {"regions": {str(n): r for n, r in enumerate(entry["regions"])}}
        for key, entry in made.items()
    }
    plain = dataset(tmp_path / "export", made)
    masks = [mask_of(understood(plain, "via"))]
    for name, content in (("project", project), ("first", first)):
        root = dataset(tmp_path / name, made)
        (root / "via_region_data.json").write_text(json.dumps(content))
        masks.append(mask_of(understood(root, "via")))
    root = dataset(tmp_path / "csv", made)
    (root / "via_region_data.json").unlink()
    write_csv(root / "via_region_data.csv", made)
    masks.append(mask_of(understood(root, "via")))
    assert set(np.unique(masks[0])) == {0, 1, 2}
    for mask in masks[1:]:
        np.testing.assert_array_equal(mask, masks[0])


def write_csv(path: Path, made: dict) -> None:
    head = "filename,file_size,file_attributes,region_count,region_id"
    with path.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow([*head.split(","), "region_shape_attributes", "region_attributes"])
        for entry in made.values():
            regions = entry["regions"]
            for number, one in enumerate(regions or [region({})]):
                shape, attributes = map(json.dumps, one.values())
                start = (entry["filename"], 17, "{}", len(regions), number if regions else 0)
                table.writerow([*start, shape, attributes])


def test_via_folders_of_splits_with_a_file_each(tmp_path):
    for split in ("train", "val"):
        # The pictures of both folders have the same names.
        made = entries(region(RECT, kind=f"{split} box"), names="axyzw")
        dataset(tmp_path / split, made)
    seen = understood(tmp_path, "via")
    assert seen.classes == ("background", "box", "train box", "val box")
    assert seen.pairs == {"train": 5, "val": 5, "test": 0}
    assert seen.splits["val"][0].image.startswith(str(tmp_path / "val"))


@pytest.mark.parametrize(
    ("attributes", "classes"),
    [
        ({"kind": "tape", "class": "box"}, ("background", "box")),
        ({"kind": {"tape": True, "box": False}}, ("background", "box", "tape")),
        ({"kind": 3}, ("background", "box", "class_3")),
    ],
)
def test_via_class_is_the_usual_attribute_or_the_only_one(tmp_path, attributes, classes):
    made = entries(region(RECT, **attributes))
    if "class" in attributes:
        for entry in made.values():
            entry["regions"][0]["region_attributes"] |= {"class": "box"}
    assert understood(dataset(tmp_path, made), "via").classes == classes


def test_via_regions_without_attributes_are_objects(tmp_path):
    made = entries(region(RECT))
    for entry in made.values():
        entry["regions"][0]["region_attributes"] = {}
    seen = understood(dataset(tmp_path, made), "via")
    assert seen.classes == ("background", "object")
    np.testing.assert_array_equal(mask_of(seen), area(1, slice(5, 15), slice(10, 20)))


def test_via_polygons_without_an_area_are_left_out_and_counted(tmp_path):
    stray = [
        {"name": "polygon", "all_points_x": [1, 9][:count], "all_points_y": [1, 9][:count]}
        for count in range(3)
    ]
    made = entries(region(RECT, kind="box"), *(region(shape, kind="box") for shape in stray))
    seen = understood(dataset(tmp_path, made), "via")
    np.testing.assert_array_equal(mask_of(seen), area(1, slice(5, 15), slice(10, 20)))
    (warning,) = [w for w in seen.warnings if "without an area" in w]
    assert warning.endswith("left out (3): a.png")


def test_via_what_is_left_out_is_said_with_names(tmp_path):
    line = {"name": "polyline", "all_points_x": [1, 9], "all_points_y": [1, 9]}
    made = entries(region(RECT, kind=""), region(line, kind="box"))
    made["b.png17"]["regions"] = []
    seen = understood(dataset(tmp_path, made), "via")
    said = "\n".join(seen.warnings)
    assert "pictures without a region, left out: b.png" in said
    assert "regions without a kind, whose pixels are ignored, in: a.png" in said
    assert "shape 'polyline' have no area" in said
    np.testing.assert_array_equal(mask_of(seen), area(255, slice(5, 15), slice(10, 20)))


@pytest.mark.parametrize(
    ("made", "fault"),
    [
        (
            entries(region(RECT, colour="red", kind="box")),
            "the regions have several attributes, colour, kind: name the one",
        ),
        (entries(region(RECT, kind={"a": True, "b": True})), "several classes: kind: a, b"),
        (entries(region(RECT, kind=[1])), "a region's kind must be a text, got [1]"),
        (entries(region(RECT | {"x": "ten"}, kind="box")), "region 0 (rect): its x must be"),
        (
            entries(region({"name": "polygon", "all_points_x": [1]}, kind="box")),
            "region 0 (polygon): its all_points_x and all_points_y must be lists",
        ),
        (entries({"region_attributes": {}}), "a region without shape_attributes"),
        (entries() | {"x": {"regions": []}}, "x is no picture with a filename"),
        (entries() | {"x": {"filename": "b.png", "regions": []}}, "b.png is listed in"),
        (entries() | {"x": {"filename": "../z.png", "regions": []}}, "are not below"),
    ],
)
def test_via_file_that_cannot_be_used_is_a_fault(tmp_path, made, fault):
    for letter in "abcdef":
        save_picture(tmp_path / f"{letter}.png")
    (tmp_path / "via_region_data.json").write_text(json.dumps(made))
    seen = inspect(tmp_path)
    assert seen.format == "via"
    assert fault in "\n".join(seen.faults)


def test_via_third_version_is_refused_by_name(tmp_path):
    save_picture(tmp_path / "a.png")
    held = {"project": {"pid": "__VIA_PROJECT_ID__"}, "config": {}, "file": {}, "metadata": {}}
    (tmp_path / "project.json").write_text(json.dumps(held))
    (fault,) = inspect(tmp_path).faults
    assert fault.startswith("project.json is a project of VIA 3, which is not read")


def test_via_picture_of_its_own_size_is_what_counts(tmp_path):
    far = {"name": "rect", "x": -5, "y": -5, "width": 10_000, "height": 10_000}
    seen = understood(dataset(tmp_path, entries(region(far, kind="tape"))), "via")
    assert mask_of(seen).shape == HW and (mask_of(seen) == 2).all()
