"""Small valid data sets of every format, and the damage that a stranger may have done to them.

A data set is its files by name. Damage is drawn from a seed: the same seed damages the same way.
"""

import io
import json
import os
import random
import resource
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

HW = (12, 16)
NAMES = "abcdef"
MAX_BYTES, MAX_CPU_S = 2**30, 10.0  # of one inspection; a valid one takes a few MiB and 0.05 s


@dataclass(frozen=True)
class Hole:
    """A file that says it is of so many bytes, and holds none."""

    size: int


Files = dict[str, "bytes | Hole"]


@dataclass(frozen=True)
class DataSet:
    """Files by name, and the options that they are read with; `remap` is one of the files."""

    files: Files
    options: dict[str, Any] = field(default_factory=dict)


def png(array: np.ndarray, **saved: Any) -> bytes:
    file = io.BytesIO()
    Image.fromarray(array).save(file, "PNG", **saved)
    return file.getvalue()


def picture(name: str) -> bytes:
    return png(np.random.default_rng([*name.encode()]).integers(0, 256, (*HW, 3), np.uint8))


def mask(*values: int) -> bytes:
    """Stripes of values."""
    rows = np.array(values, np.uint8)[np.arange(HW[0]) % len(values)]
    return png(np.repeat(rows[:, None], HW[1], 1))


def coloured(*colours: tuple[int, int, int]) -> bytes:
    rows = np.array(colours, np.uint8)[np.arange(HW[0]) % len(colours)]
    return png(np.repeat(rows[:, None], HW[1], 1))


def text(*lines: str) -> bytes:
    return "".join(f"{line}\n" for line in lines).encode()


def as_json(value: object) -> bytes:
    return json.dumps(value).encode()


def each(images: str, masks: str, content: Callable[[str], bytes] | bytes) -> Files:
    """Pictures and what belongs to each, by two patterns of names."""
    files: Files = {images.format(name): picture(name) for name in NAMES}
    for name in NAMES:
        files[masks.format(name)] = content if isinstance(content, bytes) else content(name)
    return files


BOX = [[2, 2], [9, 2], [9, 8], [2, 8]]


def _plain() -> DataSet:
    splits = ("train", "train", "train", "val", "val", "test")
    rows = [f"{name},{split},g{name}" for name, split in zip(NAMES, splits, strict=True)]
    return DataSet(
        {
            **each("images/{}.png", "masks/{}.png", mask(0, 1, 2)),
            "classes.txt": text("background", "box", "tape"),
            "index.csv": text("stem,split,group", *rows),
            "merge.yaml": text("thing: [box, tape]", "nothing: rest"),
        },
        {"remap": "merge.yaml", "split_column": "split", "group_column": "group"},
    )


def _voc() -> DataSet:
    lists = "ImageSets/Segmentation/{}.txt"
    return DataSet(
        {
            **each("JPEGImages/{}.png", "SegmentationClass/{}.png",
                   coloured((0, 0, 0), (128, 0, 0), (224, 224, 192))),
            lists.format("train"): text(*"abcd"),
            lists.format("val"): text(*"ef"),
            "labelmap.txt": text("# label:color_rgb:parts:actions", "background:0,0,0::",
                                 "box:128,0,0::", "ignored:224,224,192::"),
        }
    )  # fmt: skip


def _camvid() -> DataSet:
    frames = {f"train/{name}.png": picture(name) for name in NAMES}
    masks = {f"trainannot/{name}.png": mask(0, 1, 11) for name in NAMES}
    listed = text(*(f"/SegNet/CamVid/train/{n}.png /SegNet/CamVid/trainannot/{n}.png" for n in NAMES))
    return DataSet({**frames, **masks, "train.txt": listed})


def _camvid_colours() -> DataSet:
    table = text("64 128 64 Animal", "128 0 0\tBuilding", "0 0 0 Void")
    masks = coloured((64, 128, 64), (128, 0, 0), (0, 0, 0))
    names = "701_StillsRaw_full/{}.png", "LabeledApproved_full/{}_L.png"
    return DataSet({**each(*names, masks), "label_colors.txt": table})


def _camvid_csv() -> DataSet:
    table = text("name,r,g,b", "Animal,64,128,64", '"Building, old",128,0,0', "Void,0,0,0")
    masks = coloured((64, 128, 64), (128, 0, 0), (0, 0, 0))
    return DataSet({**each("train/{}.png", "train_labels/{}_L.png", masks), "class_dict.csv": table})


def _cityscapes() -> DataSet:
    files: Files = {}
    for split, names in (("train", "abcd"), ("val", "ef")):
        for number, name in enumerate(names):
            frame = f"{split}/ulm/ulm_00000{number}_000019"
            files[f"leftImg8bit/{frame}_leftImg8bit.png"] = picture(name)
            files[f"gtFine/{frame}_gtFine_labelIds.png"] = mask(7, 8, 3)
    return DataSet(files)


def _railsem19() -> DataSet:
    config = {"labels": [{"name": name, "color": [1, 2, 3]} for name in ("road", "rail", "sky")]}
    return DataSet(
        {
            **each("jpgs/rs19_val/{}.png", "uint8/rs19_val/{}.png", mask(0, 1, 2, 255)),
            "rs19-config.json": as_json(config),
        }
    )


def _ade20k() -> DataSet:
    files: Files = {"objectInfo150.txt": text("Idx\tName", "1\twall, brick", "2\tsky", "3\tsea")}
    for folder, names in (("training", "abcd"), ("validation", "ef")):
        for name in names:
            files[f"images/{folder}/{name}.png"] = picture(name)
            files[f"annotations/{folder}/{name}.png"] = mask(0, 1, 2, 3)
    return DataSet(files)


def _supervisely() -> DataSet:
    def annotation(name: str) -> bytes:
        bitmap = {"data": _base64(mask(0, 255)), "origin": [0, 0]}
        objects = [
            {"id": 1, "classTitle": "box", "geometryType": "polygon",
             "points": {"exterior": BOX, "interior": [[[3, 3], [5, 3], [5, 5]]]}},
            {"id": 2, "classTitle": "tape", "geometryType": "rectangle",
             "points": {"exterior": [[1, 1], [4, 3]], "interior": []}},
            {"id": 3, "classTitle": "foil", "geometryType": "bitmap", "bitmap": bitmap},
        ]  # fmt: skip
        return as_json({"size": {"height": HW[0], "width": HW[1]}, "objects": objects})

    meta = {"classes": [{"title": name, "shape": "polygon"} for name in ("box", "tape", "foil")]}
    return DataSet(
        {**each("ds/img/{}.png", "ds/ann/{}.png.json", annotation), "meta.json": as_json(meta)}
    )


def _base64(data: bytes) -> str:
    import base64

    return base64.b64encode(data).decode()


def _tasks() -> Iterator[dict[str, Any]]:
    size = {"original_width": HW[1], "original_height": HW[0]}
    for number, name in enumerate(NAMES):
        values = [
            {"points": [[10, 10], [60, 10], [60, 70]], "polygonlabels": ["box"]},
            {"x": 10, "y": 10, "width": 30, "height": 30, "rotation": 5, "rectanglelabels": ["tape"]},
            {"x": 50, "y": 50, "radiusX": 9, "radiusY": 9, "ellipselabels": ["box"]},
            {"format": "rle", "rle": _packed(), "brushlabels": ["foil"]},
            {"imageDataURL": f"data:image/png;base64,{_base64(mask(0, 255))}", "bitmasklabels": ["foil"]},
        ]  # fmt: skip
        results = [{"id": f"r{n}", **size, "value": value} for n, value in enumerate(values)]
        dates = {"created_at": "2024-05-01T10:00:00Z", "updated_at": "2024-05-01T10:00:00Z"}
        yield {
            "id": number, "data": {"image": f"/data/upload/1/0a1b2c3d-{name}.png"},
            "annotations": [{"id": 7, "was_cancelled": False, **dates, "result": results}],
        }  # fmt: skip


def _packed() -> list[int]:
    """rle-pack of a picture all covered: one run of 255, of as many values as RGBA has."""
    count = HW[0] * HW[1] * 4
    bits = f"{count:032b}{7:05b}{2:04b}{3:04b}{7:04b}{15:04b}" + f"111{count - 1:016b}{255:08b}"
    bits += "0" * (-len(bits) % 8)
    return [int(bits[place : place + 8], 2) for place in range(0, len(bits), 8)]


def _label_studio() -> DataSet:
    pictures: Files = {f"images/{name}.png": picture(name) for name in NAMES}
    return DataSet({**pictures, "project-1.json": as_json([*_tasks()])})


def _label_studio_min() -> DataSet:
    pictures: Files = {f"images/{name}.png": picture(name) for name in NAMES}
    tasks = [
        {"id": task["id"], "image": task["data"]["image"], "annotation_id": 3,
         "updated_at": "2024-05-01T10:00:00Z",
         "label": [{**r["value"], "original_width": HW[1], "original_height": HW[0]}
                   for r in task["annotations"][0]["result"]]}
        for task in _tasks()
    ]  # fmt: skip
    return DataSet({**pictures, "project-1.json": as_json(tasks)})


def _brushes() -> DataSet:
    files: Files = {}
    for number, name in enumerate(NAMES):
        array = io.BytesIO()
        np.save(array, np.full(HW, 255, np.uint8))
        files[f"images/{number}.png"] = picture(name)
        start = f"masks/task-{number}-annotation-3-by-me-tag"
        files[f"{start}-box-0.png"] = mask(0, 255)
        files[f"{start}-tape-0.npy"] = array.getvalue()
    rows = [f"{number},{number}" for number in range(len(NAMES))]
    return DataSet({**files, "index.csv": text("stem,task", *rows)})


def _coco() -> DataSet:
    area, things = HW[0] * HW[1], []
    for number in range(len(NAMES)):
        outlines = (
            [[2, 2, 9, 2, 9, 8, 2, 8]],
            {"size": [*HW], "counts": [10, 20, area - 30]},
            {"size": [*HW], "counts": "0P6"},
        )
        things += [
            {"id": 10 * number + place, "image_id": number, "category_id": 1 + place % 2,
             "iscrowd": int(place == 1), "bbox": [2, 2, 7, 6], "area": 42, "segmentation": outline}
            for place, outline in enumerate(outlines)
        ]  # fmt: skip
    images = [
        {"id": number, "file_name": f"{name}.png", "width": HW[1], "height": HW[0]}
        for number, name in enumerate(NAMES)
    ]
    categories = [{"id": 1, "name": "box", "supercategory": "x"}, {"id": 2, "name": "tape"}]
    whole = {"info": {}, "images": images, "annotations": things, "categories": categories}
    pictures: Files = {f"images/{name}.png": picture(name) for name in NAMES}
    return DataSet({**pictures, "annotations/instances.json": as_json(whole)})


def _panoptic() -> DataSet:
    segments = [{"id": 1, "category_id": 1}, {"id": 256, "category_id": 2, "iscrowd": 0}]
    images = [{"id": n, "file_name": f"{name}.png"} for n, name in enumerate(NAMES)]
    annotations = [
        {"image_id": n, "file_name": f"{name}.png", "segments_info": segments}
        for n, name in enumerate(NAMES)
    ]
    categories = [{"id": 1, "name": "box", "isthing": 1}, {"id": 2, "name": "sky", "isthing": 0}]
    whole = {"images": images, "annotations": annotations, "categories": categories}
    masks = coloured((1, 0, 0), (0, 1, 0))
    return DataSet(
        {**each("images/{}.png", "annotations/panoptic/{}.png", masks),
         "annotations/panoptic.json": as_json(whole)}
    )  # fmt: skip


def _labelme() -> DataSet:
    def labelled(name: str) -> bytes:
        kinds = {
            "polygon": BOX, "rectangle": [[1, 1], [5, 5]], "circle": [[6, 6], [8, 8]],
            "oriented_rectangle": BOX, "line": [[1, 1], [3, 3]],
        }  # fmt: skip
        shapes: list[dict[str, Any]] = [
            {"label": "box" if place % 2 else "tape", "points": points, "shape_type": kind,
             "group_id": None, "flags": {}}
            for place, (kind, points) in enumerate(kinds.items())
        ]  # fmt: skip
        cut = png(np.ones((3, 4), np.uint8))
        corners = [[2, 2], [5, 4]]
        shapes.append(
            {"label": "box", "points": corners, "shape_type": "mask", "mask": _base64(cut)}
        )
        size = {"imageHeight": HW[0], "imageWidth": HW[1]}
        return as_json(
            {"version": "5", "shapes": shapes, "imagePath": f"{name}.png", "imageData": None, **size}
        )

    return DataSet(each("{}.png", "{}.json", labelled))


def _yolo() -> DataSet:
    labels = text("0 0.1 0.1 0.5 0.1 0.5 0.6", "1 0.2 0.2 0.8 0.3 0.8 0.9 0.3 0.7", "0 0.5 0.5 0.2 0.2")
    about = text("path: .", "train: images", "val: images", "names:", "  0: box", "  1: tape")
    return DataSet({**each("images/{}.png", "labels/{}.txt", labels), "data.yaml": about})


def _yolo_masks() -> DataSet:
    about = text(
        "train: images", "val: images", "masks_dir: masks", "names: [sky, box]",
        "label_mapping: {7: 1}",
    )  # fmt: skip
    return DataSet({**each("images/{}.png", "masks/{}.png", mask(0, 1, 7)), "data.yaml": about})


def _roboflow() -> DataSet:
    files = each("train/{}.png", "train/{}_mask.png", mask(0, 1, 2))
    return DataSet({**files, "train/_classes.csv": text("Pixel Value, Class", "0, sky", "1, box", "2, tape")})


def _mmsegmentation() -> DataSet:
    return DataSet(
        {
            **each("img_dir/{}.png", "ann_dir/{}.png", mask(0, 1)),
            "splits/train.txt": text(*"abcd"),
            "splits/val.txt": text(*"ef"),
            "classes.txt": text("sky", "box"),
        }
    )


def _comma10k() -> DataSet:
    return DataSet(each("imgs/{}.png", "masks/{}.png", coloured((64, 32, 32), (255, 0, 0))))


SETS: dict[str, Callable[[], DataSet]] = {
    "plain": _plain, "voc": _voc, "camvid": _camvid, "camvid, colours": _camvid_colours,
    "camvid, class_dict.csv": _camvid_csv, "cityscapes": _cityscapes, "railsem19": _railsem19,
    "ade20k": _ade20k, "supervisely": _supervisely, "label-studio": _label_studio,
    "label-studio, JSON_MIN": _label_studio_min, "label-studio, brushes": _brushes, "coco": _coco,
    "coco, panoptic": _panoptic, "labelme": _labelme, "yolo": _yolo, "yolo, masks": _yolo_masks,
    "beside": _roboflow, "mmsegmentation": _mmsegmentation, "comma10k": _comma10k,
}  # fmt: skip


# Damage. Marks stand for what `json.dumps` does not write.
DEEP, DIGITS, BEYOND = "@deep@", "@digits@", "@beyond@"
VALUES = (
    None, True, False, -1, 0, 1, 255, 256, 2**31, 2**63, 2**64, 10**30, 0.5, -0.0, 1e308, -1e308,
    float("nan"), float("inf"), "", "0", "-1", "x" * 5000, "../../../etc/passwd", "/etc/passwd",
    "a.png", "a/../b.png", "\x00", "\ud800", "\u202e\n\x1b[31m", "http://[", "data:;base64,AAAA",
    [], {}, [[]], [None], [[], {}], {"": None}, [0] * 5000, DEEP, DIGITS, BEYOND,
)  # fmt: skip
CELLS = (
    "", "0", "-1", "256", "1e999", "nan", "9" * 5000, "x" * 200_000, '"', '""', ",", "\t", "\x00",
    "train", "../a", "/etc/passwd", "\u202e", "\x1b[31m", ":", "#", "{", "[", "&a", "*a", "!!python/name:os.system", "- -",
)  # fmt: skip
FILE_NAMES = (
    ".hidden.png", "a#1.png", "a b.png", "line\nbreak.png", os.fsdecode(b"\xff\xfe.png"), "x" * 240 + ".png",
    "a.PNG", "a.jfif", "a.json", "a.txt", "a.csv", "a.png.json", "classes.txt", "data.yaml", "\x1b[31m.png",
    "train", "val", "images", "index.csv", "task-99999999999999999999-annotation-1-by-a-b-c-1.png",
)  # fmt: skip
Change = tuple[Files, str]


def damaged(whole: DataSet, seed: int) -> tuple[Files, list[str]]:
    """The files of a data set after one to three kinds of damage, and what was done."""
    draw, files, done = random.Random(seed), dict(whole.files), []
    for _ in range(draw.choice((1, 1, 1, 2, 3))):
        name = _drawn_name(draw, files)
        content = files[name]
        kinds = [_bytes, _names, _size]
        if isinstance(content, bytes) and name.endswith((".json", ".txt", ".csv", ".yaml")):
            kinds += [_json if name.endswith(".json") else _cells] * 7
        files, what = draw.choice(kinds)(draw, files, name)
        done.append(f"{name}: {what}")
    return files, done


def _drawn_name(draw: random.Random, files: Files) -> str:
    """Half of the damage hits files that say something about others."""
    said = [name for name in files if not name.endswith((".png", ".npy"))]
    return draw.choice(said if said and draw.random() < 0.75 else [*files])


def _bytes(draw: random.Random, files: Files, name: str) -> Change:
    data = files[name] if isinstance(files[name], bytes) else b""
    start, stop = sorted(draw.choices(range(len(data) + 1), k=2))
    changed = {
        "emptied": b"",
        "cut off": data[:start],
        "without a part": data[:start] + data[stop:],
        "a part twice": data[:stop] + data[start:],
        "random in the middle": data[:start] + draw.randbytes(9) + data[stop:],
        "zeros in the middle": data[:start] + bytes(stop - start) + data[stop:],
        "bits turned": bytes(b ^ (draw.random() < 0.02) << draw.randrange(8) for b in data),
        "of another file": _content(draw, files),
        "in UTF-16": data.decode("latin-1").encode("utf-16"),
        "many times": data * draw.choice((2, 300)),
        "behind a mark": b"\xef\xbb\xbf" + data,
    }
    what = draw.choice([*changed])
    return {**files, name: changed[what]}, what


def _content(draw: random.Random, files: Files) -> bytes:
    return draw.choice([data for data in files.values() if isinstance(data, bytes)] or [b""])


def _names(draw: random.Random, files: Files, name: str) -> Change:
    folder, other = name.rpartition("/")[0], draw.choice([*files])
    new = draw.choice(FILE_NAMES)
    new = f"{folder}/{new}" if folder else new
    left = {key: data for key, data in files.items() if key != name}
    free = not any(key == new or key.startswith(f"{new}/") or new.startswith(f"{key}/") for key in left)
    ways = {
        "deleted": left,
        f"exchanged with {other}": {**files, name: files[other], other: files[name]},
        "a folder": {**left, f"{name}/inside.png": files[name]},
    }
    if free:
        ways[f"named {new!r}"] = {**left, new: files[name]}
        ways[f"twice, as {new!r}"] = {**files, new: files[name]}
    what = draw.choice([*ways])
    return ways[what], what


def _size(draw: random.Random, files: Files, name: str) -> Change:
    size = draw.choice((2**20, 2**33, 2**42))
    return {**files, name: Hole(size)}, f"a hole of {size} bytes"


def _cells(draw: random.Random, files: Files, name: str) -> Change:
    data = files[name]
    lines = data.decode("latin-1").split("\n") if isinstance(data, bytes) else []
    place = draw.randrange(len(lines)) if lines else 0
    sign = draw.choice((",", " ", ":", "\t"))
    cells = lines[place].split(sign) if lines else [""]
    cells[draw.randrange(len(cells))] = draw.choice(CELLS)
    shuffled = draw.sample(lines, len(lines))
    ways = {
        "a cell": [*lines[:place], sign.join(cells), *lines[place + 1 :]],
        "lines shuffled": shuffled,
        "a line twice": [*lines, *lines[place : place + 1]],
        "a line many times": [*lines, *lines[place : place + 1] * 2000],
        "a line less": [*lines[:place], *lines[place + 1 :]],
        "half a line": [*lines[:place], lines[place][: len(lines[place]) // 2]] if lines else [],
        "many lines": [*lines, *(f"n{number}{sign}{number}" for number in range(2000))],
    }
    what = draw.choice(["a cell", "a cell", *ways])
    return {**files, name: "\n".join(ways[what]).encode("utf-8", "surrogatepass")}, what


def _json(draw: random.Random, files: Files, name: str) -> Change:
    data = files[name]
    try:
        tree = json.loads(data) if isinstance(data, bytes) else None
    except (ValueError, RecursionError):
        return _bytes(draw, files, name)
    places = [*_places(tree)]
    if not places:
        return {**files, name: as_json(draw.choice(VALUES))}, "another value"
    holder, key = draw.choice(places)
    what = draw.choice(["value"] * 5 + ["deleted", "exchanged", "many", "shuffled", "twice", "renamed"])
    value = draw.choice(VALUES)
    if what == "deleted":
        del holder[key]
    elif what == "exchanged":
        other, place = draw.choice(places)
        holder[key], other[place] = json.loads(json.dumps([other[place], holder[key]]))
    elif what == "many" and isinstance(holder, list):
        holder += [holder[key]] * 300
    elif what == "shuffled" and isinstance(holder, list):
        draw.shuffle(holder)
    elif what == "renamed" and isinstance(holder, dict):
        holder[draw.choice(("", "id", "labels", "shapes", "data"))] = holder.pop(key)
    elif what != "twice":
        holder[key] = value
        what = f"{key!r:.40} is {value!r:.60}"
    written = json.dumps(tree)
    if what == "twice":
        written = written.replace(f'"{key}": ', f'"{key}": {json.dumps(value)}, "{key}": ', 1)
    depth = draw.choice((50, 450, 900, 950, 980, 990, 100_000))
    for mark, meant in ((DEEP, "[" * depth + "]" * depth), (DIGITS, "9" * 5000), (BEYOND, "1e999")):
        written = written.replace(f'"{mark}"', meant)
    return {**files, name: written.encode()}, what


def _places(tree: Any) -> Iterator[tuple[Any, Any]]:
    """Every value in a tree of JSON, as its holder and its key."""
    keys = list(tree) if isinstance(tree, dict) else range(len(tree)) if isinstance(tree, list) else ()
    for key in keys:
        yield tree, key
        yield from _places(tree[key])


def written(root: Path, files: Files) -> Path:
    """The folder of a data set."""
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, Hole):
            with path.open("wb") as file:
                file.truncate(content.size)
        else:
            path.write_bytes(content)
    return root


@contextmanager
def bounded() -> Iterator[None]:
    """Raise MemoryError beyond so many bytes more than now, TimeoutError after so much CPU time."""

    def late(*_: Any) -> None:
        raise TimeoutError(f"over {MAX_CPU_S} s of CPU time")

    pages = int(Path("/proc/self/statm").read_text().split()[0])
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    before = signal.signal(signal.SIGVTALRM, late)
    signal.setitimer(signal.ITIMER_VIRTUAL, MAX_CPU_S)
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + MAX_BYTES, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)
