"""COCO: instances, stuff and panoptic masks in JSON files (cocodataset.org/#format-data), one per
split.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from functools import partial
from pathlib import Path

import numpy as np

from autoseg.core.errors import InputError
from autoseg.core.records import IGNORE_INDEX
from autoseg.core.units import HW
from autoseg.data.dataset import Array, Sample
from autoseg.data.formats.coco_file import (
    CocoFile,
    CocoObject,
    decode_rle,
    read_coco,
    used_categories,
)
from autoseg.data.formats.common import pairing, shapes
from autoseg.data.formats.common.files import (
    class_index,
    class_order,
    ends,
    export_files,
    in_any_form,
)
from autoseg.data.formats.common.pairing import Pair, PictureIndex, path_parts
from autoseg.data.layout import Layout, counted, listed
from autoseg.data.pictures import naming, read_picture

_KEYS = ("images", "annotations", "categories", "file_name", "category_id", "image_id")
_MIN_KEYS = 3
# Of the objects of a category; a larger share is no mark of coarse outlines.
_MAX_CROWD_SHARE = 0.25


def recognize(root: Path) -> str | None:
    files = _coco_files(root)
    return f"{files[0].relative_to(root).as_posix()} is a file of COCO" if files else None


def find(root: Path) -> Layout:
    """Find the picture of each entry; entries that cannot be used become faults."""
    layout = Layout(root, values=bytes(range(256)))
    pictures = PictureIndex(root)
    splits: dict[str, list[Pair]] = defaultdict(list)
    names: dict[str, None] = {}
    counts: Counter[tuple[str, bool]] = Counter()
    used: dict[Path, str] = {}
    panoptic = True
    for path in _coco_files(root):
        try:
            coco = read_coco(path)
        except InputError as error:
            layout.faults.append(str(error))
            continue
        panoptic = panoptic and bool(coco.segments)
        names |= dict.fromkeys(coco.names.values())
        counts.update(used_categories(coco))
        folder = path.parent.relative_to(root).name
        split = pairing.split_of(path.stem) or pairing.split_of(folder)
        splits[split] += _pairs(layout, path, coco, pictures, used)
    if not used and not layout.faults:
        layout.faults.append(f"there is no file of COCO with pictures in {root}")
    kept = [name for name in names if counts[name, False] or counts[name, True]]
    if spare := [name for name in names if name not in kept]:
        layout.warnings += counted({"categories without an object, which are no classes": spare})
    # Every pixel of a panoptic mask has a class, or is void: there is no background.
    layout.classes = tuple(kept) if panoptic and kept else class_order(layout, kept)
    layout.read_mask = partial(read_mask, layout.classes, _ordinary_crowds(layout, counts))
    layout.by_split = pairing.named_splits(layout, splits)
    return layout


def _ordinary_crowds(layout: Layout, counts: Counter[tuple[str, bool]]) -> frozenset[str]:
    """The categories whose crowds are read as objects; what crowds are read as is warned of.

    In COCO's own files a few percent of a category's objects are crowds: groups with a coarse
    outline. CVAT's and Datumaro's exporters, and tools around SAM, mark each object that was
    stored as a mask.
    """
    marked = sorted(name for name, crowd in counts if crowd)
    total = {name: counts[name, True] + counts[name, False] for name in marked}
    ordinary = [name for name in marked if counts[name, True] > _MAX_CROWD_SHARE * total[name]]
    for told, names in (
        ("read as objects, as they are too many for groups with a coarse outline", ordinary),
        ("ignored, as groups with a coarse outline; set iscrowd to 0 to use them",
         [name for name in marked if name not in ordinary]),
    ):  # fmt: skip
        if names:
            each = [f"{counts[name, True]} of {total[name]} of {name:.40}" for name in names]
            layout.warnings.append(f"crowds (iscrowd: 1) are {told}: {listed(each)}")
    return frozenset(ordinary)


def _coco_files(root: Path) -> list[Path]:
    """The files of COCO in a folder and its direct subfolders. Of several files about the same
    pictures (captions, key points), those with the outlines of objects count.
    """
    below = sorted(p for p in root.iterdir() if p.is_dir() and p.name[0] != ".")
    chosen: list[Path] = []
    for folder in (root, *below) if root.is_dir() else ():
        coco = [path for path in export_files(folder) if _looks_right(path)]
        chosen += [path for path in coco if path.name.startswith("instances")] or coco
    return chosen


def _looks_right(path: Path) -> bool:
    """Whether the ends of a file hold COCO's keys; the file is not parsed."""
    held = ends(path)
    found = sum(f'"{key}"'.encode() in held for key in _KEYS)
    return held.startswith(b"{") and found >= _MIN_KEYS


def _pairs(
    layout: Layout, path: Path, coco: CocoFile, pictures: PictureIndex, used: dict[Path, str]
) -> list[Pair]:
    """A file's pictures, each with `file#id`. Pictures in the folder of its split come first."""
    own = path.parent.name
    folder = path.stem.rpartition("_")[2] if own == "annotations" else own
    # Panoptic masks lie in the folder that has the file's name.
    place = path.with_suffix("") if coco.segments else path
    pairs: list[Pair] = []
    missing: list[str] = []
    for number, entry in coco.pictures.items():
        name = str(entry["file_name"])
        try:
            if (picture := pictures.find("/".join((folder, *path_parts(name))))) is None:
                missing.append(name)
                continue
            if picture in used:
                raise InputError(f"it is listed in {used[picture]} too; keep one")
            used[picture] = path.name
            pairs.append((picture, f"{place}#{number}"))
        except InputError as error:
            layout.faults.append(f"{path.name}, picture {number} ({name:.80}): {error}")
    if missing:
        told = f"{path.name} names pictures that are not below {layout.root}"
        layout.faults.append(f"{told}: {listed(missing)}")
    layout.faults += [f"{path.name}: {fault}" for fault in coco.faults]
    layout.warnings += [f"{path.name}: {warning}" for warning in coco.warnings]
    return pairs


def read_mask(classes: tuple[str, ...], ordinary: frozenset[str], sample: Sample) -> Array:
    """A picture's objects as class indices, later ones over earlier ones; crowds are ignored, but
    for those of the categories `ordinary`. Raises InputError.
    """
    name, _, number = sample.mask.rpartition("#")
    hw = shapes.picture_hw(sample.image)
    coco = read_coco(in_any_form(Path(name).with_suffix(".json")))
    try:
        if number not in coco.pictures:
            raise InputError("it is no longer listed")
        shapes.check_size(coco.pictures[number], ("height", "width"), hw, sample.image)
        values = _class_values(classes, ordinary, coco)
        if coco.segments:
            return _panoptic(values, coco, number, Path(name), hw)
        mask = np.zeros(hw, np.uint8)
        for one in coco.objects.get(number, ()):
            value = values.get((one.category, one.crowd), IGNORE_INDEX)
            naming(f"object {one.number}", _draw, mask, value, one)
        return mask
    except InputError as error:
        shown = coco.pictures.get(number, {}).get("file_name")
        raise InputError(f"{name}, picture {number} ({shown!r:.80}): {error}") from error


def _class_values(
    classes: tuple[str, ...], ordinary: frozenset[str], coco: CocoFile
) -> dict[tuple[str, bool], int]:
    """The class of a category's objects, and of its crowds where these are no ordinary objects:
    drawn coarsely, they are ignored as in COCO's metrics.
    """
    return {
        (category, crowd): class_index(classes, name)
        for category, name in coco.names.items()
        for crowd in (False, True)
        if not crowd or name in ordinary
    }


def _draw(mask: Array, value: int, one: CocoObject) -> None:
    hw = (mask.shape[0], mask.shape[1])
    if isinstance(one.outline, dict):
        if (stated := one.outline.get("size")) != list(hw):
            raise InputError(f"its runs are of the size {stated!r:.40}, not {list(hw)}")
        mask[decode_rle(one.outline.get("counts"), hw)] = value
    elif not isinstance(one.outline, tuple):
        raise InputError(f"its segmentation is no polygons or runs: {one.outline!r:.40}")
    elif one.outline:
        for polygon in one.outline:
            pairs = polygon.reshape(-1, 2) if polygon.size % 2 == 0 else None
            shapes.fill_polygon(mask, value, shapes.read_points(pairs))
    else:
        _ignore_box(mask, one.box)


def _ignore_box(mask: Array, box: object) -> None:
    """Ignore the pixels of an object whose box is known and whose outline is not."""
    sides = dict(zip(("x", "y", "w", "h"), box, strict=False)) if isinstance(box, list) else {}
    left, top, width, height = shapes.read_numbers(sides, ("x", "y", "w", "h"))
    outline = shapes.rectangle((left, top), (left + width, top + height))
    shapes.fill_polygon(mask, IGNORE_INDEX, outline)


def _panoptic(
    values: dict[tuple[str, bool], int], coco: CocoFile, number: str, folder: Path, hw: HW
) -> Array:
    """A panoptic mask, whose colours are the numbers of segments (R + 256 G + 65536 B)."""
    mask = np.full(hw, IGNORE_INDEX, np.uint8)
    if number not in coco.segments:
        raise InputError("it has no panoptic mask")
    name, segments = coco.segments[number]
    pixels = read_picture(in_any_form(folder / "".join(path_parts(name)[-1:])))
    if pixels.shape[:2] != hw:
        raise InputError(f"its panoptic mask {name:.80} has another size")
    numbers = pixels @ np.array([1, 256, 65536], np.uint32)
    for segment, which in segments.items():
        mask[numbers == segment] = values.get(which, IGNORE_INDEX)
    return mask
