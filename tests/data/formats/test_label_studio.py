"""Label Studio's exports: regions as pixels, pictures found by name, brush masks paired."""

import base64
import io
import json
from pathlib import Path

import numpy as np
import pytest
from labelled import HEIGHT, HW, WIDTH, mask_of, save_picture, understood
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


def test_a_json_export_is_recognized_and_split(tmp_path):
    seen = understood(three_tasks(tmp_path, polygon("tape", 10, 5, 20, 15)), "label-studio")
    assert seen.why == "project-1-at-2024-05-01.json is a JSON export of Label Studio"
    assert seen.classes == ("background", "box", "tape")
    assert sorted(s.stem for samples in seen.splits.values() for s in samples) == list("abcde")


def test_a_polygon_covers_the_pixels_whose_centres_it_holds(tmp_path):
    mask = mask_of(
        understood(three_tasks(tmp_path, polygon("tape", 10, 5, 20, 15)), "label-studio")
    )
    expected = np.zeros(HW, np.uint8)
    expected[5:15, 10:20] = 2
    np.testing.assert_array_equal(mask, expected)


def test_later_regions_lie_over_earlier_ones(tmp_path):
    areas = polygon("tape", 0, 0, 40, 40), polygon("box", 30, 0, 60, 40)
    mask = mask_of(understood(three_tasks(tmp_path, *areas), "label-studio"))
    np.testing.assert_array_equal(mask[0], np.repeat([2, 1], 30))


def test_a_rectangle_turns_in_pixels_about_its_corner(tmp_path):
    turned = {"x": 50, "y": 25, "width": 20, "height": 10, "rotation": 90}  # 12 x 4 pixels
    mask = mask_of(
        understood(
            three_tasks(tmp_path, region("rectanglelabels", "box", **turned)), "label-studio"
        )
    )
    expected = np.zeros(HW, np.uint8)
    expected[10:22, 26:30] = 1
    np.testing.assert_array_equal(mask, expected)


def test_an_ellipse_turns_in_pixels_about_its_centre(tmp_path):
    turned = {"x": 50, "y": 50, "radiusX": 20, "radiusY": 12.5, "rotation": 90}  # 12 and 5 pixels
    mask = mask_of(
        understood(three_tasks(tmp_path, region("ellipselabels", "box", **turned)), "label-studio")
    )
    rows, columns = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    inside = ((columns - 30) / 5) ** 2 + ((rows - 20) / 12) ** 2 <= 1
    np.testing.assert_array_equal(mask, inside)


def test_a_brush_counts_from_half_of_its_strength(tmp_path):
    alpha = np.zeros(HW, np.uint8)
    alpha[8:20, 6:30] = 255
    alpha[8:20, 30:33] = (200, 128, 127)  # the blurred rim of a stroke
    alpha[39, 59] = 255
    brush = region("brushlabels", "box", format="rle", rle=pack(alpha))
    mask = mask_of(understood(three_tasks(tmp_path, brush), "label-studio"))
    np.testing.assert_array_equal(mask, alpha >= 128)


def test_a_bitmap_covers_what_it_paints(tmp_path):
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
def test_pictures_are_found_below_the_folder_by_name(tmp_path, image, file):
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


def test_pictures_of_one_name_are_told_apart_by_their_folders(tmp_path):
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
    assert "task 2: its picture '0001.png' may be cam0/0001.png and cam1/" in only_fault(tmp_path)


def test_a_picture_is_labelled_as_its_exif_turns_it(tmp_path):
    root = three_tasks(tmp_path, polygon("tape", 10, 5, 20, 15))
    exif = Image.Exif()
    exif[0x0112] = 6  # stored lying, shown standing
    lying = np.zeros((WIDTH, HEIGHT, 3), np.uint8)
    Image.fromarray(lying).save(root / "images/a.png", exif=exif)
    assert mask_of(understood(root, "label-studio"))[5:15, 10:20].all()


def test_the_ground_truth_or_else_the_newest_annotation_counts(tmp_path):
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


def test_an_annotation_without_regions_is_background_and_a_task_without_one_is_left_out(tmp_path):
    root = three_tasks(tmp_path)
    tasks = json.loads(next(root.glob("*.json")).read_text())
    tasks[3]["annotations"][0]["was_cancelled"] = True
    seen = understood(export(root, *tasks), "label-studio")
    assert not mask_of(seen).any()
    assert "project-1-at-2024-05-01.json: tasks without an annotation, ignored: task 4" in (
        seen.warnings
    )
    assert "pictures that no annotated task names, ignored: d.png" in seen.warnings


def test_what_is_no_area_is_ignored_and_said(tmp_path):
    point = region("keypointlabels", "nail", x=5, y=5, width=0.5)
    choice = {"type": "choices", "value": {"choices": ["wet"]}}
    plain = region("polygonlabels", "box", points=[[0, 0], [50, 0], [50, 100]])
    plain["value"]["polygonlabels"] = []
    seen = understood(three_tasks(tmp_path, point, choice, plain), "label-studio")
    assert seen.classes == ("background", "box")
    name = "project-1-at-2024-05-01.json"
    assert f"{name}: keypointlabels are no areas, ignored: task 1" in seen.warnings
    assert f"{name}: regions without a label, ignored: task 1" in seen.warnings


def test_classes_txt_orders_the_classes(tmp_path):
    root = three_tasks(tmp_path, polygon("tape", 10, 5, 20, 15))
    (root / "classes.txt").write_text("belt\ntape\nbox\n")
    seen = understood(root, "label-studio")
    assert seen.classes == ("belt", "tape", "box")
    assert mask_of(seen).max() == 1
    (root / "classes.txt").write_text("belt\nbox\n")
    assert "labels that classes.txt does not name: tape" in inspect(root).faults


def test_json_min_holds_the_same_and_its_newest_line_counts(tmp_path):
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
        "its points are not pairs of numbers",
    ),
    "a polygon of infinities": (
        region("polygonlabels", "box", points=[[1, 2], [3, 4], [float("inf"), 5]]),
        "its points are not pairs of numbers",
    ),
    "two points": (
        region("polygonlabels", "box", points=[[1, 2], [3, 4]]),
        "it needs 3 points or more, got 2",
    ),
    "no points": (region("polygonlabels", "box"), "its x must be a number, got None"),
    "a size of words": (
        region("rectanglelabels", "box", x=1, y=1, width="9", height=9),
        "its width must be a number, got '9'",
    ),
    "a huge ellipse": (
        region("ellipselabels", "box", x=1, y=1, radiusX=HUGE, radiusY=1),
        "its radiusX is out of any picture",
    ),
    "another picture": (
        region("polygonlabels", "box", points=[[0, 0], [9, 0], [9, 9]]) | {"original_width": 40},
        "it was labelled on a picture of 40x40, and this one is 60x40: not the same picture",
    ),
    "a huge picture": (
        region("polygonlabels", "box", points=[[0, 0], [9, 0], [9, 9]]) | {"original_width": HUGE},
        "its original_width is out of any picture",
    ),
    "no runs": (region("brushlabels", "box", rle=[]), "its runs (rle) are empty"),
    "runs of words": (region("brushlabels", "box", rle=["a"]), "must be a list of bytes"),
    "runs of a huge picture": (
        region("brushlabels", "box", rle=[255] * 40),
        "its runs (rle) hold 4294967295 values of 32 bits",
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
        "its bitmap is 1x1, the picture 60x40",
    ),
    "a label of numbers": (
        region("polygonlabels", "box", points=[]) | {"value": {"polygonlabels": [3]}},
        "its polygonlabels must be a list of names",
    ),
    "no value": ({"type": "polygonlabels", "value": 7}, "a result's value must be an object"),
}


@pytest.mark.parametrize(("result", "fault"), DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_region_is_a_fault_that_names_file_and_task(tmp_path, result, fault):
    message = only_fault(three_tasks(tmp_path, result))
    assert message.startswith("project-1-at-2024-05-01.json, task 1: ")
    assert fault in message


def test_runs_that_pass_the_picture_are_a_fault(tmp_path):
    packed = pack(np.full(HW, 255, np.uint8))
    header = packed[:7]  # 53 bits of header
    bits = "".join(f"{byte:08b}" for byte in header)[:53] + ("1" + "11" + "1" * 16 + "1" * 8) * 2
    bits += "0" * (-len(bits) % 8)
    rle = [int(bits[n : n + 8], 2) for n in range(0, len(bits), 8)]
    fault = only_fault(three_tasks(tmp_path, region("brushlabels", "box", rle=rle)))
    assert "do not end with the picture" in fault


@pytest.mark.parametrize(
    ("damaged", "fault"),
    [
        (7, "task in place 3: it is no task"),
        ({"id": 1, "data": {"image": "a.png"}, "annotations": [5]}, "annotations must be a list"),
        ({"id": 1, "data": {"text": "x"}, "annotations": [annotation()]}, "name no picture"),
        (task(1, "x/gone.png", annotation()), "pictures that are not below"),
        (task(1, "b.png", annotation()), "task 2: its picture b.png is that of"),
        (task(1, "..", annotation()), ".. (task 1)"),
        (task(1, "http://[", annotation()), "it names no picture"),
    ],
)
def test_a_damaged_task_is_a_fault(tmp_path, damaged, fault):
    root = three_tasks(tmp_path)
    others = json.loads(next(root.glob("*.json")).read_text())[1:]
    export(root, *others[1:], damaged, others[0])
    assert any(fault in line for line in inspect(root, Reading(format="label-studio")).faults)


@pytest.mark.parametrize(
    "text", ['[{"id": 1, "annotations": [', '[{"annotations": ' + "[" * 99999]
)
def test_a_file_that_is_cut_off_is_a_fault(tmp_path, text):
    save_picture(tmp_path / "a.png")
    (tmp_path / "result.json").write_text(text)
    assert "result.json cannot be read as JSON" in inspect(tmp_path).faults[0]


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


def test_brush_masks_are_paired_by_a_column_of_index_csv(brushes):
    lines = "".join(f"shot{number},{number}\n" for number in range(4))
    (brushes / "index.csv").write_text("stem,task\n" + lines)
    seen = understood(brushes, "label-studio")
    assert seen.why == "masks/ holds brush masks of Label Studio"
    assert seen.classes == ("background", "big-box", "tape")
    np.testing.assert_array_equal(mask_of(seen, "shot3")[:, 0], np.repeat([1, 2, 0], [10, 20, 10]))


def test_brush_masks_are_paired_by_the_names_of_the_pictures(brushes):
    for number in range(4):
        name = f"{number}.png" if number % 2 else f"task-{number}.png"
        (brushes / f"images/shot{number}.png").rename(brushes / "images" / name)
    assert len(set(mask_of(understood(brushes, "label-studio"), "3")[:, 0])) == 3


def test_brush_masks_that_name_no_picture_are_a_fault_with_the_way_out(brushes):
    fault = inspect(brushes).faults[0]
    assert "task 0, task 1, task 2, task 3. Put the JSON export of the same project" in fault


def test_brush_masks_beside_the_json_are_left_to_it(brushes):
    made = annotation(polygon("box", 0, 0, 30, 40))
    export(brushes, *(task(n, f"shot{n}.png", made) for n in range(4)))
    seen = understood(brushes, "label-studio")
    assert (seen.classes, seen.warnings) == (("background", "box"), ())


def test_a_brush_mask_of_another_size_is_a_fault(brushes):
    for number in range(4):
        (brushes / f"images/shot{number}.png").rename(brushes / f"images/{number}.png")
    save_picture(brushes / "images/2.png", (10, 10))
    faults = inspect(brushes).faults
    assert len(faults) == 1 and "task-2-annotation-12" in faults[0]
