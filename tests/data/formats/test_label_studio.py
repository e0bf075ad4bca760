"""Label Studio's exports: regions as pixels, pictures found by name, brush masks paired."""

import base64
import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
from labelled import HEIGHT, HW, WIDTH, area, mask_of, save_picture, turn_by_exif, understood
from PIL import Image

from autoseg.data.dataset import Reading
from autoseg.data.inspection import inspect


def region(kind: str, label: str, **value: object) -> dict:
    """A result as the editor writes it; sizes and places are percentages."""
    return {
        "id": "x1",
        "type": kind,
        "from_name": "tag",
        "to_name": "image",
        "original_width": WIDTH,
        "original_height": HEIGHT,
        "image_rotation": 0,
        "value": {**value, kind: [label]},
    }


def polygon(label: str, left: int, top: int, right: int, bottom: int) -> dict:
    """A polygon around whole pixels of a picture of `HW`."""
    corners = [[left, top], [right, top], [right, bottom], [left, bottom]]
    points = [[x / WIDTH * 100, y / HEIGHT * 100] for x, y in corners]
    return region("polygonlabels", label, points=points, closed=True)


def annotation(*results: dict, **facts: object) -> dict:
    dates = {"created_at": "2024-05-01T10:00:00Z", "updated_at": "2024-05-01T10:00:00Z"}
    return (
        {"id": 1, "completed_by": 1, "was_cancelled": False}
        | dates
        | facts
        | {"result": list(results)}
    )


def task(number: int, image: str, *annotations: dict) -> dict:
    return {
        "id": number,
        "annotations": list(annotations),
        "predictions": [{"result": [polygon("guess", 0, 0, 60, 40)]}],
        "data": {"image": image},
    }


def export(root: Path, *tasks: object, name: str = "project-1-at-2024-05-01.json") -> Path:
    root.mkdir(parents=True, exist_ok=True)
    (root / name).write_text(json.dumps(list(tasks)))
    return root


def three_tasks(root: Path, *results: dict) -> Path:
    """An export whose task 1 holds the results, and whose other tasks make it a whole data set."""
    for name in ("a.png", "b.png", "c.png", "d.png", "e.png"):
        save_picture(root / "images" / name)
    others = [
        task(
            number, f"/data/upload/1/0a1b2c3d-{name}.png", annotation(polygon("box", 0, 0, 30, 40))
        )
        for number, name in ((2, "b"), (3, "c"), (4, "d"), (5, "e"))
    ]
    return export(root, task(1, "/data/upload/1/1a2b3c4d-a.png", annotation(*results)), *others)


def only_fault(root: Path) -> str:
    faults = inspect(root, Reading()).faults
    assert len(faults) == 1, faults
    return faults[0]


def pack(alpha: np.ndarray, sizes: tuple[int, ...] = (3, 4, 8, 16)) -> list[int]:
    """Label Studio's runs (rle-pack): RGBA values, in runs where a value comes twice or more, and
    single values else.
    """
    values = np.repeat(alpha.ravel(), 4).tolist()
    bits = f"{len(values):032b}{8 - 1:05b}" + "".join(f"{size - 1:04b}" for size in sizes)
    place = 0
    while place < len(values):
        end = place
        while end < len(values) and values[end] == values[place] and end - place < 65536:
            end += 1
        runs = end - place > 4
        if not runs:  # the next few values one by one
            end = min(place + 8, len(values))
        size = next(n for n, bit in enumerate(sizes) if end - place <= 1 << bit)
        bits += f"{runs:d}{size:02b}{end - place - 1:0{sizes[size]}b}"
        bits += "".join(f"{value:08b}" for value in values[place : place + 1 if runs else end])
        place = end
    bits += "0" * (-len(bits) % 8)
    return [int(bits[n : n + 8], 2) for n in range(0, len(bits), 8)]


def test_label_studio_json_export_is_recognized_and_split(tmp_path):
    seen = understood(three_tasks(tmp_path, polygon("tape", 10, 5, 20, 15)), "label-studio")
    assert re.search(r"project-1-at-2024-05-01\.json .*Label Studio", seen.why)
    assert seen.classes == ("background", "box", "tape")
    assert sorted(s.stem for samples in seen.splits.values() for s in samples) == list("abcde")


def test_label_studio_polygon_covers_pixels_whose_centres_it_contains(tmp_path):
    mask = mask_of(
        understood(three_tasks(tmp_path, polygon("tape", 10, 5, 20, 15)), "label-studio")
    )
    expected = np.zeros(HW, np.uint8)
    expected[5:15, 10:20] = 2
    np.testing.assert_array_equal(mask, expected)


def test_label_studio_later_regions_cover_earlier_ones(tmp_path):
    areas = polygon("tape", 0, 0, 40, 40), polygon("box", 30, 0, 60, 40)
    mask = mask_of(understood(three_tasks(tmp_path, *areas), "label-studio"))
    np.testing.assert_array_equal(mask[0], np.repeat([2, 1], 30))


def test_label_studio_rectangle_rotates_in_pixels_about_its_corner(tmp_path):
    turned = {"x": 50, "y": 25, "width": 20, "height": 10, "rotation": 90}  # 12 x 4 pixels
    mask = mask_of(
        understood(
            three_tasks(tmp_path, region("rectanglelabels", "box", **turned)), "label-studio"
        )
    )
    expected = np.zeros(HW, np.uint8)
    expected[10:22, 26:30] = 1
    np.testing.assert_array_equal(mask, expected)


def test_label_studio_ellipse_rotates_in_pixels_about_its_centre(tmp_path):
    turned = {"x": 50, "y": 50, "radiusX": 20, "radiusY": 12.5, "rotation": 90}  # 12 and 5 pixels
    mask = mask_of(
        understood(three_tasks(tmp_path, region("ellipselabels", "box", **turned)), "label-studio")
    )
    rows, columns = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    inside = ((columns - 30) / 5) ** 2 + ((rows - 20) / 12) ** 2 <= 1
    np.testing.assert_array_equal(mask, inside)


def test_label_studio_brush_counts_from_half_strength(tmp_path):
    alpha = np.zeros(HW, np.uint8)
    alpha[8:20, 6:30] = 255
    alpha[8:20, 30:33] = (200, 128, 127)  # the blurred rim of a stroke
    alpha[39, 59] = 255
    brush = region("brushlabels", "box", format="rle", rle=pack(alpha))
    mask = mask_of(understood(three_tasks(tmp_path, brush), "label-studio"))
    np.testing.assert_array_equal(mask, alpha >= 128)


def test_label_studio_bitmap_covers_its_painted_pixels(tmp_path):
    pixels = np.zeros((*HW, 4), np.uint8)
    pixels[3:9, 4:50] = (200, 30, 30, 255)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    address = "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()
    bitmap = region("bitmasklabels", "box", imageDataURL=address)
    mask = mask_of(understood(three_tasks(tmp_path, bitmap), "label-studio"))
    np.testing.assert_array_equal(mask, pixels[..., 3] > 0)


@pytest.mark.parametrize(
    ("image", "file"),
    [
        ("/data/upload/3/1a2b3c4d-shot_1.png", "shot 1.png"),
        ("/data/upload/3/1a2b3c4d-a.png", "1a2b3c4d-a.png"),
        ("/data/local-files/?d=drive%2Ftwo%20x/a.png", "two x/a.png"),
        ("/data/local-files/?d=D:\\pictures\\a.png", "a.png"),
        ("s3://bucket/day/a.png", "deep/down/day/a.png"),
        ("https://host:8080/x/a%231.png?signature=9#top", "images/a#1.png"),
        ("a.png", "1a2b3c4d-a.png"),
        ("../../../a.png", "images/a.png"),
        ("/etc/pictures/a.png", "images/a.png"),
    ],
)
def test_label_studio_pictures_are_found_below_the_folder_by_name(tmp_path, image, file):
    root = three_tasks(tmp_path / "set")
    (root / "images/a.png").unlink()
    save_picture(root / file)
    tasks = json.loads(next(root.glob("*.json")).read_text())
    tasks[0]["data"]["image"] = image
    export(root, *tasks)
    used = {
        s.image for samples in understood(root, "label-studio").splits.values() for s in samples
    }
    assert str(root / file) in used


def test_label_studio_pictures_with_equal_names_are_matched_by_folder(tmp_path):
    cameras = [f"cam{number}" for number in range(5)]
    for camera in cameras:
        save_picture(tmp_path / camera / "0001.png", (HEIGHT, WIDTH + len(camera)))
    boxes = annotation(polygon("box", 0, 0, 30, 40))
    for result in boxes["result"]:
        del result["original_width"], result["original_height"]
    images = [f"/data/local-files/?d=drive/{camera}/0001.png" for camera in cameras]
    seen = understood(
        export(tmp_path, *(task(n, i, boxes) for n, i in enumerate(images))), "label-studio"
    )
    stems = sorted(s.stem for samples in seen.splits.values() for s in samples)
    assert stems == [f"{camera}/0001" for camera in cameras]

    export(tmp_path, *(task(n, i.replace("cam2/", ""), boxes) for n, i in enumerate(images)))
    pattern = r"task 2: .*'0001\.png'.* cam0/0001\.png .*cam1/"
    assert re.search(pattern, only_fault(tmp_path))


def test_label_studio_labels_follow_exif_orientation(tmp_path):
    root = three_tasks(tmp_path, polygon("tape", 10, 5, 20, 15))
    exif = Image.Exif()
    exif[0x0112] = 6  # stored lying, shown standing
    lying = np.zeros((WIDTH, HEIGHT, 3), np.uint8)
    Image.fromarray(lying).save(root / "images/a.png", exif=exif)
    assert mask_of(understood(root, "label-studio"))[5:15, 10:20].all()


def test_label_studio_ground_truth_or_newest_annotation_counts(tmp_path):
    root = three_tasks(tmp_path)
    old = annotation(polygon("box", 0, 0, 10, 10), id=9)
    new = annotation(polygon("box", 0, 0, 30, 10), id=2, updated_at="2024-06-01T00:00:00Z")
    truth = annotation(polygon("box", 0, 0, 20, 10), id=1, ground_truth=True)
    cancelled = annotation(polygon("box", 0, 0, 60, 40), id=99, was_cancelled=True)
    others = json.loads(next(root.glob("*.json")).read_text())[1:]
    for annotations, columns in (((old, new, cancelled), 30), ((old, new, truth), 20)):
        seen = understood(export(root, task(1, "a.png", *annotations), *others), "label-studio")
        assert mask_of(seen).sum() == columns * 10
        assert any("several annotations" in warning for warning in seen.warnings)


def test_label_studio_annotation_without_regions_is_background_and_unannotated_task_is_left_out(
    tmp_path,
):
    root = three_tasks(tmp_path)
    tasks = json.loads(next(root.glob("*.json")).read_text())
    tasks[3]["annotations"][0]["was_cancelled"] = True
    seen = understood(export(root, *tasks), "label-studio")
    assert not mask_of(seen).any()
    name = "project-1-at-2024-05-01.json"
    assert any(w.startswith(name) and w.endswith("ignored (1): task 4") for w in seen.warnings)
    assert any(w.endswith("ignored: d.png") for w in seen.warnings)


def test_label_studio_results_without_area_are_ignored_with_a_warning(tmp_path):
    point = region("keypointlabels", "nail", x=5, y=5, width=0.5)
    choice = {"type": "choices", "value": {"choices": ["wet"]}}
    plain = region("polygonlabels", "box", points=[[0, 0], [50, 0], [50, 100]])
    plain["value"]["polygonlabels"] = []
    seen = understood(three_tasks(tmp_path, point, choice, plain), "label-studio")
    assert seen.classes == ("background", "box")
    name = "project-1-at-2024-05-01.json"
    for what in ("keypointlabels", "label"):
        pattern = rf"^{name}: .*\b{what}\b.*ignored \(1\): task 1$"
        assert any(re.search(pattern, w) for w in seen.warnings), seen.warnings


def test_label_studio_polygons_without_an_area_are_left_out_and_counted(tmp_path):
    stray = [region("polygonlabels", "box", points=[[1, 2], [3, 4]][:n]) for n in range(3)]
    seen = understood(three_tasks(tmp_path, polygon("box", 10, 5, 20, 15), *stray), "label-studio")
    np.testing.assert_array_equal(mask_of(seen), area(1, slice(5, 15), slice(10, 20)))
    (warning,) = [w for w in seen.warnings if "without an area" in w]
    assert warning.endswith("left out (3): task 1")


@pytest.mark.parametrize("kind", ["polygon", "brush"])
def test_label_studio_size_of_an_unturned_picture_is_a_fault_that_names_exif(tmp_path, kind):
    runs = {"rle": [0] * 20, "format": "rle"}
    drawn = (
        polygon("box", 10, 5, 20, 15)
        if kind == "polygon"
        else region("brushlabels", "box", **runs)
    )
    root = three_tasks(tmp_path, drawn | {"original_width": HEIGHT, "original_height": WIDTH})
    turn_by_exif(root / "images/a.png")
    (fault,) = inspect(root).faults
    assert re.search(r"task 1: .* 40x60.* 60x40 .*EXIF", fault)


def test_label_studio_classes_txt_orders_the_classes(tmp_path):
    root = three_tasks(tmp_path, polygon("tape", 10, 5, 20, 15))
    (root / "classes.txt").write_text("belt\ntape\nbox\n")
    seen = understood(root, "label-studio")
    assert seen.classes == ("belt", "tape", "box")
    assert mask_of(seen).max() == 1
    (root / "classes.txt").write_text("belt\nbox\n")
    assert any(re.search(r"classes\.txt .*: tape$", f) for f in inspect(root).faults)


def test_label_studio_json_min_is_equal_to_json_and_its_newest_line_counts(tmp_path):
    root = three_tasks(tmp_path, polygon("tape", 10, 5, 20, 15))
    expected = mask_of(understood(root, "label-studio"))
    lines = []
    for one in json.loads(next(root.glob("*.json")).read_text()):
        (made,) = one["annotations"]
        sizes = {"original_width": WIDTH, "original_height": HEIGHT}
        facts = {"id": one["id"], "annotator": 1, "annotation_id": one["id"], "lead_time": 2.5}
        tag = [{**result["value"], **sizes} for result in made["result"]]
        dates = {key: made[key] for key in ("created_at", "updated_at")}
        lines.append({"image": one["data"]["image"], **facts, "tag": tag, **dates})
    export(root, {**lines[0], "tag": [], "created_at": "2023", "updated_at": "2023"}, *lines)
    seen = understood(root, "label-studio")
    assert seen.classes == ("background", "box", "tape")
    np.testing.assert_array_equal(mask_of(seen), expected)


HUGE = 10**12
DAMAGED = {
    "a polygon of words": (
        region("polygonlabels", "box", points=[["a", "b"]]),
        "points",
    ),
    "a polygon of infinities": (
        region("polygonlabels", "box", points=[[1, 2], [3, 4], [float("inf"), 5]]),
        "points",
    ),
    "no points": (region("polygonlabels", "box"), r"\bx\b.* number, got None"),
    "a size of words": (
        region("rectanglelabels", "box", x=1, y=1, width="9", height=9),
        "width .*number, got '9'",
    ),
    "a huge ellipse": (
        region("ellipselabels", "box", x=1, y=1, radiusX=HUGE, radiusY=1),
        "radiusX",
    ),
    "another picture": (
        region("polygonlabels", "box", points=[[0, 0], [9, 0], [9, 9]]) | {"original_width": 40},
        "40x40.*60x40",
    ),
    "a huge picture": (
        region("polygonlabels", "box", points=[[0, 0], [9, 0], [9, 9]]) | {"original_width": HUGE},
        "original_width",
    ),
    "no runs": (region("brushlabels", "box", rle=[]), r"rle.*empty"),
    "runs of words": (region("brushlabels", "box", rle=["a"]), "rle.*bytes"),
    "runs of a huge picture": (
        region("brushlabels", "box", rle=[255] * 40),
        "rle.* 4294967295 .*32 bits",
    ),
    "runs that end early": (
        region("brushlabels", "box", rle=pack(np.eye(*HW, dtype=np.uint8) * 255)[:60]),
        "damaged",
    ),
    "a bitmap of another size": (
        region(
            "bitmasklabels",
            "box",
            imageDataURL="data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlE"
            "QVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==",
        ),
        "bitmap.* 1x1.* 60x40",
    ),
    "a label of numbers": (
        region("polygonlabels", "box", points=[]) | {"value": {"polygonlabels": [3]}},
        "polygonlabels .*list",
    ),
    "no value": ({"type": "polygonlabels", "value": 7}, r"\bvalue\b.*object"),
}


@pytest.mark.parametrize(("result", "fault"), DAMAGED.values(), ids=DAMAGED)
def test_label_studio_damaged_region_is_a_fault_that_names_file_and_task(tmp_path, result, fault):
    message = only_fault(three_tasks(tmp_path, result))
    assert message.startswith("project-1-at-2024-05-01.json, task 1: ")
    assert re.search(fault, message)


def test_label_studio_runs_beyond_the_picture_are_a_fault(tmp_path):
    packed = pack(np.full(HW, 255, np.uint8))
    header = packed[:7]  # 53 bits of header
    bits = "".join(f"{byte:08b}" for byte in header)[:53] + ("1" + "11" + "1" * 16 + "1" * 8) * 2
    bits += "0" * (-len(bits) % 8)
    rle = [int(bits[n : n + 8], 2) for n in range(0, len(bits), 8)]
    fault = only_fault(three_tasks(tmp_path, region("brushlabels", "box", rle=rle)))
    assert re.search(r"task 1: .*rle", fault)


@pytest.mark.parametrize(
    ("damaged", "fault"),
    [
        (7, "place 3: .*task"),
        ({"id": 1, "data": {"image": "a.png"}, "annotations": [5]}, "annotations .*list"),
        ({"id": 1, "data": {"text": "x"}, "annotations": [annotation()]}, "no picture"),
        (task(1, "x/gone.png", annotation()), r"pictures.* below.*gone\.png"),
        (task(1, "b.png", annotation()), r"task 2: .*b\.png"),
        (task(1, "..", annotation()), r"\.\. \(task 1\)"),
        (task(1, "http://[", annotation()), "no picture"),
    ],
)
def test_label_studio_damaged_task_is_a_fault(tmp_path, damaged, fault):
    root = three_tasks(tmp_path)
    others = json.loads(next(root.glob("*.json")).read_text())[1:]
    export(root, *others[1:], damaged, others[0])
    faults = inspect(root, Reading(format="label-studio")).faults
    assert any(re.search(fault, line) for line in faults), faults


@pytest.mark.parametrize(
    "text", ['[{"id": 1, "annotations": [', '[{"annotations": ' + "[" * 99999]
)
def test_label_studio_truncated_file_is_a_fault(tmp_path, text):
    save_picture(tmp_path / "a.png")
    (tmp_path / "result.json").write_text(text)
    assert re.search(r"result\.json .*JSON", inspect(tmp_path).faults[0])


def brush_masks(folder: Path, number: int, label: str, rows: slice, suffix: str = "png") -> None:
    """One region as "Brush labels to PNG" (or NumPy) writes it."""
    folder.mkdir(parents=True, exist_ok=True)
    values = np.zeros(HW, np.uint8)
    values[rows] = 255
    path = folder / f"task-{number}-annotation-{number + 10}-by-me@x.org-tag-{label}-0.{suffix}"
    if suffix == "png":
        Image.fromarray(values).save(path)
    else:
        np.save(path, values)


@pytest.fixture(params=["png", "npy"])
def brushes(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """Brush masks of four tasks in a folder, and pictures named after other things."""
    for number in range(4):
        brush_masks(tmp_path / "masks", number, "big-box", slice(0, 20), request.param)
        brush_masks(tmp_path / "masks", number, "tape", slice(10, 30), request.param)
        save_picture(tmp_path / "images" / f"shot{number}.png")
    return tmp_path


def test_label_studio_brush_masks_are_paired_by_a_column_of_index_csv(brushes):
    lines = "".join(f"shot{number},{number}\n" for number in range(4))
    (brushes / "index.csv").write_text("stem,task\n" + lines)
    seen = understood(brushes, "label-studio")
    assert re.search(r"masks/ .*Label Studio", seen.why)
    assert seen.classes == ("background", "big-box", "tape")
    np.testing.assert_array_equal(mask_of(seen, "shot3")[:, 0], np.repeat([1, 2, 0], [10, 20, 10]))


def test_label_studio_brush_masks_are_paired_by_picture_names(brushes):
    for number in range(4):
        name = f"{number}.png" if number % 2 else f"task-{number}.png"
        (brushes / f"images/shot{number}.png").rename(brushes / "images" / name)
    assert len(set(mask_of(understood(brushes, "label-studio"), "3")[:, 0])) == 3


def test_label_studio_brush_masks_without_a_picture_are_a_fault_with_a_fix(brushes):
    fault = inspect(brushes).faults[0]
    assert re.search(r"task 0, task 1, task 2, task 3.* JSON export", fault)


def test_label_studio_brush_masks_beside_a_json_are_ignored(brushes):
    made = annotation(polygon("box", 0, 0, 30, 40))
    export(brushes, *(task(n, f"shot{n}.png", made) for n in range(4)))
    seen = understood(brushes, "label-studio")
    assert (seen.classes, seen.warnings) == (("background", "box"), ())


def test_label_studio_brush_mask_of_another_size_is_a_fault(brushes):
    for number in range(4):
        (brushes / f"images/shot{number}.png").rename(brushes / f"images/{number}.png")
    save_picture(brushes / "images/2.png", (10, 10))
    faults = inspect(brushes).faults
    assert len(faults) == 1 and "task-2-annotation-12" in faults[0]
