"""A small valid data set of every format, as its files by name."""

import base64
import csv
import io
import json
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from PIL import Image

HW = (12, 16)
NAMES = "abcdef"


@dataclass(frozen=True)
class Hole:
    """A file that says it is of so many bytes, and holds none; with no size, a pipe."""

    size: int | None


Files = dict[str, "bytes | Hole"]


@dataclass(frozen=True)
class DataSet:
    """Files by name, and the options that they are read with; `remap` is one of the files, `zip`
    the one that is the data set.
    """

    files: Files
    options: dict[str, Any] = field(default_factory=dict)
    zip: str = ""


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
    listed = text(
        *(f"/SegNet/CamVid/train/{n}.png /SegNet/CamVid/trainannot/{n}.png" for n in NAMES)
    )
    return DataSet({**frames, **masks, "train.txt": listed})


def _camvid_colours() -> DataSet:
    table = text("64 128 64 Animal", "128 0 0\tBuilding", "0 0 0 Void")
    masks = coloured((64, 128, 64), (128, 0, 0), (0, 0, 0))
    names = "701_StillsRaw_full/{}.png", "LabeledApproved_full/{}_L.png"
    return DataSet({**each(*names, masks), "label_colors.txt": table})


def _camvid_csv() -> DataSet:
    table = text("name,r,g,b", "Animal,64,128,64", '"Building, old",128,0,0', "Void,0,0,0")
    masks = coloured((64, 128, 64), (128, 0, 0), (0, 0, 0))
    return DataSet(
        {**each("train/{}.png", "train_labels/{}_L.png", masks), "class_dict.csv": table}
    )


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
    return base64.b64encode(data).decode()


def _tasks() -> Iterator[dict[str, Any]]:
    size = {"original_width": HW[1], "original_height": HW[0]}
    for number, name in enumerate(NAMES):
        values = [
            {"points": [[10, 10], [60, 10], [60, 70]], "polygonlabels": ["box"]},
            {"x": 10, "y": 10, "width": 30, "height": 30, "rotation": 5,
             "rectanglelabels": ["tape"]},
            {"x": 50, "y": 50, "radiusX": 9, "radiusY": 9, "ellipselabels": ["box"]},
            {"format": "rle", "rle": _packed(), "brushlabels": ["foil"]},
            {"imageDataURL": f"data:image/png;base64,{_base64(mask(0, 255))}",
             "bitmasklabels": ["foil"]},
        ]  # fmt: skip
        results = [{"id": f"r{n}", **size, "value": value} for n, value in enumerate(values)]
        dates = {"created_at": "2024-05-01T10:00:00Z", "updated_at": "2024-05-01T10:00:00Z"}
        yield {
            "id": number, "data": {"image": f"/data/upload/1/0a1b2c3d-{name}.png"},
            "annotations": [{"id": 7, "was_cancelled": False, **dates, "result": results}],
        }  # fmt: skip


def _packed() -> list[int]:
    """rle-pack of a picture half covered: two runs of the values that RGBA has."""
    count = HW[0] * HW[1] * 4
    bits = f"{count:032b}{7:05b}{2:04b}{3:04b}{7:04b}{15:04b}"
    bits += "".join(f"111{count // 2 - 1:016b}{value:08b}" for value in (0, 255))
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
        np.save(array, np.eye(*HW, dtype=np.uint8) * 255)
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
            {"size": [*HW], "counts": ":d0R5"},
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
            {
                "version": "5",
                "shapes": shapes,
                "imagePath": f"{name}.png",
                "imageData": None,
                **size,
            }
        )

    return DataSet(each("{}.png", "{}.json", labelled))


def _yolo() -> DataSet:
    labels = text(
        "0 0.1 0.1 0.5 0.1 0.5 0.6", "1 0.2 0.2 0.8 0.3 0.8 0.9 0.3 0.7", "0 0.5 0.5 0.2 0.2"
    )
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
    return DataSet(
        {**files, "train/_classes.csv": text("Pixel Value, Class", "0, sky", "1, box", "2, tape")}
    )


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


def _oxford_pet() -> DataSet:
    return DataSet(
        {
            **each("images/{}.png", "annotations/trimaps/{}.png", mask(1, 2, 3)),
            "annotations/trainval.txt": text(
                "#Image CLASS-ID SPECIES BREED ID", *(f"{n} 1 1 1" for n in "abcde")
            ),
            "annotations/test.txt": text("f 1 1 1"),
        }
    )


def _nnunet() -> DataSet:
    about = {
        "channel_names": {"0": "R"},
        "labels": {"background": 0, "box": 1, "ignore": 2},
        "numTraining": 6,
        "file_ending": ".png",
    }
    files = each("imagesTr/{}_0000.png", "labelsTr/{}.png", mask(0, 1, 2))
    return DataSet({**files, "dataset.json": as_json(about)})


def _dsb2018() -> DataSet:
    files: Files = {}
    for name in NAMES:
        files[f"{name}/images/{name}.png"] = picture(name)
        files |= {
            f"{name}/masks/{n}.png": mask(*([0] * n + [255] + [0] * (2 - n))) for n in (0, 2)
        }
    return DataSet(files)


def _via_entries() -> dict[str, Any]:
    shapes = [
        {"name": "polygon", "all_points_x": [2, 9, 9, 2], "all_points_y": [2, 2, 8, 8]},
        {"name": "rect", "x": 1, "y": 1, "width": 5, "height": 4},
        {"name": "circle", "cx": 9, "cy": 6, "r": 3},
        {"name": "ellipse", "cx": 9, "cy": 6, "rx": 3, "ry": 2, "theta": 0.3},
        {"name": "point", "cx": 1, "cy": 1},
    ]
    regions = [
        {"shape_attributes": shape, "region_attributes": {"class": ("box", "tape")[n % 2]}}
        for n, shape in enumerate(shapes)
    ]
    return {
        f"{name}.png17": {
            "filename": f"{name}.png",
            "size": 17,
            "regions": regions,
            "file_attributes": {},
        }
        for name in NAMES
    }


def _via() -> DataSet:
    pictures: Files = {f"{name}.png": picture(name) for name in NAMES}
    project = {"_via_settings": {}, "_via_img_metadata": _via_entries(), "_via_attributes": {}}
    return DataSet({**pictures, "via_project.json": as_json(project)})


def _via_csv() -> DataSet:
    pictures: Files = {f"{name}.png": picture(name) for name in NAMES}
    head = (
        "filename,file_size,file_attributes,region_count,region_id,region_shape_attributes,"
        "region_attributes"
    )
    rows = [
        [
            entry["filename"],
            "17",
            "{}",
            "5",
            str(n),
            *(json.dumps(region[k]) for k in ("shape_attributes", "region_attributes")),
        ]
        for entry in _via_entries().values()
        for n, region in enumerate(entry["regions"])
    ]
    return DataSet({**pictures, "via.csv": text(head) + _csv(rows)})


def _csv(rows: list[list[str]]) -> bytes:
    file = io.StringIO()
    csv.writer(file).writerows(rows)
    return file.getvalue().encode()


def _kaggle_rle() -> DataSet:
    pictures: Files = {f"train_images/{name}.png": picture(name) for name in NAMES}
    rows = [
        f"{name}.png,{label},{14 * label} 5 {14 * label + 12} 5"
        for name in NAMES
        for label in (1, 2)
    ]
    return DataSet({**pictures, "train.csv": text("ImageId,ClassId,EncodedPixels", *rows)})


def _zip() -> DataSet:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, content in _plain().files.items():
            packed.writestr(f"set/{name}", content)
    return DataSet({"set.zip": file.getvalue()}, zip="set.zip")


SETS: dict[str, Callable[[], DataSet]] = {
    "plain": _plain, "voc": _voc, "camvid": _camvid, "camvid, colours": _camvid_colours,
    "camvid, class_dict.csv": _camvid_csv, "cityscapes": _cityscapes, "railsem19": _railsem19,
    "ade20k": _ade20k, "supervisely": _supervisely, "label-studio": _label_studio,
    "label-studio, JSON_MIN": _label_studio_min, "label-studio, brushes": _brushes, "coco": _coco,
    "coco, panoptic": _panoptic, "labelme": _labelme, "yolo": _yolo, "yolo, masks": _yolo_masks,
    "beside": _roboflow, "mmsegmentation": _mmsegmentation, "comma10k": _comma10k,
    "oxford-pet": _oxford_pet, "nnunet": _nnunet, "dsb2018": _dsb2018, "via": _via,
    "via, CSV": _via_csv, "kaggle-rle": _kaggle_rle, "plain, in a zip": _zip,
}  # fmt: skip
