"""LabelMe: its shapes as pixels, where its pictures lie, and damaged files as faults."""

import base64
import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
from labelled import HEIGHT, HW, WIDTH, area, mask_of, save_picture, turn_by_exif, understood
from PIL import Image

from autoseg.data.inspection import inspect


def shape(label: str, points: list, kind: str = "polygon", **facts: object) -> dict:
    made = {"label": label, "points": points, "group_id": None, "description": ""}
    return made | {"shape_type": kind, "flags": {}, "mask": None} | facts


def write(path: Path, *shapes: object, image: str = "", **facts: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    sizes = {"imageHeight": HEIGHT, "imageWidth": WIDTH}
    head = {"version": "5.4.1", "flags": {}, "shapes": list(shapes)}
    picture = {"imagePath": image or f"{path.stem}.png", "imageData": None}
    path.write_text(json.dumps(head | picture | sizes | facts))


def dataset(root: Path, *shapes: object, **facts: object) -> Path:
    """A folder of pictures with their files; a.json holds the shapes, the others a box."""
    for letter in "abcde":
        save_picture(root / f"{letter}.png")
        write(root / f"{letter}.json", shape("box", [[0, 0], [30, 0], [30, 40], [0, 40]]))
    write(root / "a.json", *shapes, **facts)
    return root


SQUARE = [[10, 5], [20, 5], [20, 15], [10, 15]]


@pytest.mark.parametrize(
    ("points", "kind"),
    [
        (SQUARE, "polygon"),
        (SQUARE, "oriented_rectangle"),
        ([*SQUARE, SQUARE[0]], "polygon"),
        ([[20, 15], [10, 5]], "rectangle"),
        # X-AnyLabeling stores four corners, other tools in another order, or closed.
        (SQUARE, "rectangle"),
        ([SQUARE[0], SQUARE[2], SQUARE[1], SQUARE[3]], "rectangle"),
        ([*SQUARE, SQUARE[0]], "rectangle"),
        (SQUARE, "rotation"),
        (SQUARE, "quadrilateral"),
    ],
)
def test_labelme_shapes_cover_pixels_whose_centres_they_contain(tmp_path, points, kind):
    seen = understood(dataset(tmp_path, shape("tape", points, kind)), "labelme")
    assert re.search(r"a\.json .*LabelMe", seen.why)
    assert seen.classes == ("background", "box", "tape")
    np.testing.assert_array_equal(mask_of(seen), area(2, slice(5, 15), slice(10, 20)))


def test_labelme_circle_goes_through_its_second_point(tmp_path):
    circle = shape("box", [[30, 20], [33, 24]], "circle")  # radius 5
    rows, columns = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    inside = (columns - 30) ** 2 + (rows - 20) ** 2 <= 25
    np.testing.assert_array_equal(
        mask_of(understood(dataset(tmp_path, circle), "labelme")), inside
    )


def test_labelme_mask_lies_at_its_first_point(tmp_path):
    file = io.BytesIO()
    bits = np.eye(6, 8, dtype=np.uint8) * 255
    Image.fromarray(bits).save(file, "PNG")
    held = base64.b64encode(file.getvalue()).decode()
    root = dataset(tmp_path, shape("box", [[50, 30], [57, 35]], "mask", mask=held))
    expected = np.zeros(HW, np.uint8)
    expected[30:36, 50:58] = bits > 0
    np.testing.assert_array_equal(mask_of(understood(root, "labelme")), expected)
    write(root / "a.json", shape("box", [[55, 30], [62, 35]], "mask", mask=held))
    (fault,) = inspect(root).faults
    assert re.search(r"a\.json: shape 0 \(box\): .* x 55\.\.62, y 30\.\.35", fault)


def test_labelme_shapes_without_an_area_are_left_out_and_counted(tmp_path):
    stray = [
        shape("box", [[1, 2], [30, 20]][:count], kind)
        for kind, counts in {"polygon": (0, 1, 2), "rectangle": (1,), "circle": (1,)}.items()
        for count in counts
    ]
    stray += [shape("box", [[1, 2]] * 2, "circle"), shape("box", [[1, 2], [1, 9]], "rectangle")]
    seen = understood(dataset(tmp_path, shape("tape", SQUARE), *stray), "labelme")
    np.testing.assert_array_equal(mask_of(seen), area(2, slice(5, 15), slice(10, 20)))
    (warning,) = [w for w in seen.warnings if "without an area" in w]
    assert warning.endswith("left out (7): a.json")


def test_labelme_is_recognized_after_files_of_other_tools(tmp_path):
    for number in range(9):
        (tmp_path / f"{number}.json").write_text('{"name": "a package", "version": 1}')
    seen = inspect(dataset(tmp_path, shape("box", SQUARE)))
    assert (seen.format, seen.faults) == ("labelme", ())
    (warning,) = [w for w in seen.warnings if "without shapes" in w]
    assert warning.endswith("ignored (9): 0.json, 1.json, 2.json, 3.json, 4.json and 4 more")


def test_labelme_is_recognized_with_the_picture_before_the_shapes(tmp_path):
    root = dataset(tmp_path, shape("box", SQUARE))
    for file in root.glob("*.json"):
        told = json.loads(file.read_text()) | {"imageData": "A" * 200_000}
        file.write_text(json.dumps(dict(sorted(told.items()))))
    assert inspect(root).format == "labelme"


def test_labelme_size_of_an_unturned_picture_is_a_fault_that_names_exif(tmp_path):
    root = dataset(tmp_path, shape("box", SQUARE), imageHeight=WIDTH, imageWidth=HEIGHT)
    turn_by_exif(root / "a.png")
    (fault,) = inspect(root).faults
    assert re.search(r"a\.json: .* 40x60.* 60x40 .*EXIF", fault)
    write(root / "a.json", shape("box", SQUARE))
    np.testing.assert_array_equal(
        mask_of(understood(root, "labelme")), area(1, slice(5, 15), slice(10, 20))
    )


def test_labelme_later_shapes_cover_earlier_ones_and_reserved_names_are_no_classes(tmp_path):
    shapes = (
        shape("tape", [[0, 0], [40, 0], [40, 40], [0, 40]]),
        shape("__ignore__", [[10, 0], [20, 0], [20, 40], [10, 40]]),
        shape("_background_", [[20, 0], [30, 0], [30, 40], [20, 40]]),
        shape("box", [[30, 0], [60, 0], [60, 40], [30, 40]]),
        shape("nail", [[1, 1]], "point"),
    )
    seen = understood(dataset(tmp_path, *shapes), "labelme")
    assert seen.classes == ("background", "box", "tape")
    assert list(mask_of(seen)[0, ::10]) == [2, 255, 0, 1, 1, 1]
    assert any(re.search("type 'point' .*ignored", w) for w in seen.warnings)


def test_labelme_background_in_another_case_beside_background_is_a_class(tmp_path):
    shapes = (
        shape("background", [[0, 0], [20, 0], [20, 40], [0, 40]]),
        shape("Background", [[20, 0], [40, 0], [40, 40], [20, 40]]),
    )
    seen = understood(dataset(tmp_path, *shapes), "labelme")
    assert seen.classes == ("background", "Background", "box")
    assert list(mask_of(seen)[0, ::20]) == [0, 1, 0]


def test_labelme_files_name_their_pictures_and_folders_name_the_splits(tmp_path):
    for split, letters in (("train", "abc"), ("valid", "ab"), ("test", "d")):
        for letter in letters:
            save_picture(tmp_path / split / "images" / f"{letter}.png", (HEIGHT, WIDTH))
            write(
                tmp_path / split / "labels" / f"{letter}.json",
                shape("box", SQUARE),
                image=f"..\\images\\{letter}.png" if split == "train" else f"{letter}.png",
            )
        Image.new("RGB", (WIDTH, HEIGHT), (len(split), 0, 0)).save(
            tmp_path / split / "images" / f"{letters[0]}.png"
        )
    seen = inspect(tmp_path)
    assert (seen.format, seen.pairs) == ("labelme", {"train": 3, "val": 2, "test": 1})
    for split, samples in seen.splits.items():
        assert all(split in sample.image and split in sample.mask for sample in samples)


@pytest.mark.parametrize(
    ("damaged", "fault"),
    [
        (5, "shapes .*list"),
        ({"points": SQUARE}, "label .*text, got None"),
        (shape("box", [[1, 2], ["a", 3], [4, 5]]), r"shape 0 \(box\): .*points"),
        (shape("box", SQUARE[:3], "rectangle"), r"shape 0 \(box\): .*2 or 4 points, got 3"),
        (shape("box", SQUARE[:3], "rotation"), r"shape 0 \(box\): .*4 points, got 3"),
        (shape("box", SQUARE[:3], "circle"), r"shape 0 \(box\): .*2 points, got 3"),
        (shape("box", SQUARE, "mask", mask="AAAA"), r"shape 0 \(box\): .*2 points, got 4"),
        (shape("box", SQUARE[::2], "mask"), r"shape 0 \(box\): .*bitmap.*text, got None"),
        (shape("box", SQUARE[::2], "mask", mask="?"), r"shape 0 \(box\): .*bitmap.*base64"),
        (shape("box", SQUARE[::2], "mask", mask="AAAA"), r"shape 0 \(box\): .*bitmap.*PNG"),
    ],
)
def test_labelme_damaged_shape_is_a_fault_that_names_the_file(tmp_path, damaged, fault):
    faults = inspect(dataset(tmp_path, damaged)).faults
    assert any(re.search(f"^a.json: .*{fault}", line) for line in faults), faults


@pytest.mark.parametrize(
    ("facts", "fault"),
    [
        ({"imageWidth": 10**12}, r"a\.json: .* 1000000000000x40"),
        ({"imagePath": 7}, r"a\.json: .*imagePath"),
        ({"imagePath": "../../gone.png"}, r"pictures.* below.*a\.json"),
        ({"imagePath": "b.png"}, r"(a|b)\.json: .*(a|b)\.json"),
    ],
)
def test_labelme_damaged_file_is_a_fault(tmp_path, facts, fault):
    faults = inspect(dataset(tmp_path, **facts)).faults
    assert any(re.search(fault, line) for line in faults), faults
