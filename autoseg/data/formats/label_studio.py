"""Label Studio's exports, read in place: JSON, JSON_MIN, and brush masks as PNG or NumPy files.

Units and anchors of regions: their serializers in Label Studio's editor (src/regions).
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np

from autoseg.core.errors import InputError
from autoseg.core.units import HW
from autoseg.data.dataset import Array, Sample
from autoseg.data.formats import label_studio_brushes, label_studio_tasks
from autoseg.data.formats.common import files, shapes
from autoseg.data.formats.common.pairing import PictureIndex, path_parts, set_labelled
from autoseg.data.formats.common.shapes import Points
from autoseg.data.formats.label_studio_tasks import Region, decode_rle, labelled_areas
from autoseg.data.layout import Layout, counted, listed

_TASK_KEYS = ("annotations", "completions", "annotation_id")
# A scaled picture has the stated aspect ratio up to rounding: its width may differ by this much.
_MAX_WIDTH_ERROR_PX, _MAX_WIDTH_ERROR_SHARE = 1.5, 0.02


def recognize(root: Path) -> str | None:
    if exports := _exports(root):
        return f"{exports[0].name} is a JSON export of Label Studio"
    if folder := label_studio_brushes.masks_folder(root):
        name = folder.relative_to(root).as_posix()
        return f"{'it' if folder == root else name + '/'} holds brush masks of Label Studio"
    return None


def find(root: Path) -> Layout:
    """Pair each annotated task with its picture; tasks that cannot be used become faults."""
    layout = Layout(root, values=bytes(range(256)))
    exports = _exports(root)
    if not exports and (folder := label_studio_brushes.masks_folder(root)):
        label_studio_brushes.find(layout, folder)
        return layout
    if not exports:
        layout.faults.append(f"no JSON export of Label Studio in {root}, and no brush masks")
        return layout
    pictures = PictureIndex(root)
    pairs: dict[Path, str] = {}
    labels: set[str] = set()
    for path in exports:
        _read_export(layout, path, pictures, pairs, labels)
    set_labelled(layout, pairs, labels, read_mask)
    unused = [path.name for path in pictures.paths if path not in pairs]
    if spare := sorted(n for n in unused if not label_studio_brushes.FILE_NAME.match(n)):
        layout.warnings.append(f"pictures that no annotated task names, ignored: {listed(spare)}")
    return layout


def _exports(root: Path) -> list[Path]:
    """The JSON files at the top of a folder that are lists of tasks."""
    return [path for path in files.export_files(root) if _is_export(path)]


def _is_export(path: Path) -> bool:
    start = files.head(path)
    if not start.startswith(b"["):  # files of other tools are large objects: they are not parsed
        return False
    try:
        tasks = files.read_json(path)
    except InputError:
        return any(f'"{key}"'.encode() in start for key in _TASK_KEYS)
    first = tasks[0] if tasks else None
    return isinstance(first, dict) and any(key in first for key in _TASK_KEYS)


def _read_export(
    layout: Layout, path: Path, pictures: PictureIndex, pairs: dict[Path, str], labels: set[str]
) -> None:
    """Add an export's pairs and labels."""
    try:
        tasks = files.read_json(path)
    except InputError as error:
        layout.faults.append(str(error))
        return
    notes: dict[str, list[str]] = defaultdict(list)
    missing: list[str] = []
    for place in label_studio_tasks.newest_places(tasks):
        name = label_studio_tasks.task_name(tasks[place], place)
        try:
            regions, ignored = labelled_areas(tasks[place])
            for note in ignored.elements():
                notes[note].append(name)
            if regions is None:
                continue
            reference = label_studio_tasks.reference_of(tasks[place])
            if (picture := pictures.find(reference)) is None:
                missing.append(f"{path_parts(reference)[-1]} ({name})")
                continue
            if picture in pairs:
                other = pairs[picture].rpartition("/")[2]
                raise InputError(f"its picture {picture.name} is that of {other} too; keep one")
            pairs[picture] = f"{path}#{place} ({name})"
            labels.update(region.label for region in regions)
        except InputError as error:
            layout.faults.append(f"{path.name}, {name}: {error}")
    if missing:
        told = f"{path.name} names pictures that are not below {layout.root}"
        layout.faults.append(f"{told}: {listed(missing)}")
    layout.warnings += [f"{path.name}: {line}" for line in counted(notes)]


def read_mask(classes: tuple[str, ...], sample: Sample) -> Array:
    """A task's regions as class indices, later ones over earlier ones. Raises InputError."""
    path, _, place = sample.mask.rpartition("#")
    hw = shapes.picture_hw(sample.image)
    mask = np.zeros(hw, np.uint8)
    number, _, name = place.partition(" ")
    try:
        for region in labelled_areas(files.read_json(Path(path))[int(number)])[0] or ():
            _draw(mask, files.class_index(classes, region.label), region, sample.image)
    except (LookupError, TypeError, InputError) as error:
        raise InputError(f"{path}, {name.strip('()')}: {error}") from error
    return mask


def _draw(mask: Array, index: int, region: Region, picture: str) -> None:
    """One region: bitmaps are in pixels, outlines in percent of the picture's size."""
    value, hw = region.value, (mask.shape[0], mask.shape[1])
    _check_aspect(hw, region.drawn_on, picture)
    if "rle" in value:
        mask[decode_rle(value["rle"], hw)] = index
    elif "imageDataURL" in value:
        mask[shapes.decode_bitmap(files.decode_base64(value["imageDataURL"]), hw)] = index
    else:
        shapes.fill_polygon(mask, index, _outline(value, hw))


def _outline(value: dict[str, Any], hw: HW) -> Points:
    """A region's corners in pixels. Rectangles turn about their corner, ellipses about their
    centre; both turn in pixels, not in percentages.
    """
    percent = np.array([hw[1], hw[0]]) / 100
    if "points" in value:
        points: Points = shapes.read_points(value["points"]) * percent
        return points
    angle = shapes.read_numbers({"rotation": 0, **value}, ["rotation"])[0]
    is_ellipse = "radiusX" in value
    keys = ("x", "y", "radiusX", "radiusY") if is_ellipse else ("x", "y", "width", "height")
    x, y, across, along = np.array(shapes.read_numbers(value, keys)) * np.tile(percent, 2)
    if is_ellipse:
        return shapes.ellipse((x, y), (across, along), angle)
    return shapes.rotate(shapes.rectangle((0, 0), (across, along)), angle, (x, y))


def _check_aspect(hw: HW, drawn_on: tuple[object, object], picture: str) -> None:
    """Raise InputError for another aspect ratio: percentages hold for a picture that was scaled,
    not for one that was cropped or turned; the runs of a turned one have as many values.
    """
    if drawn_on == (None, None):
        return
    keys = ("original_width", "original_height")
    width, height = shapes.read_numbers(dict(zip(keys, drawn_on, strict=True)), keys)
    max_error_px = _MAX_WIDTH_ERROR_PX + _MAX_WIDTH_ERROR_SHARE * hw[1]
    if min(width, height) <= 0 or abs(width * hw[0] / height - hw[1]) > max_error_px:
        raise shapes.other_size(round(height), round(width), hw, picture)
