"""Label Studio's exports, read in place: JSON and JSON_MIN here, brush masks as PNG or NumPy files
in `label_studio_brush`.

Units and anchors of regions: their serializers in Label Studio's editor (src/regions).
"""

from __future__ import annotations

from collections import defaultdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from autoseg.core.errors import InputError
from autoseg.core.units import HW
from autoseg.data.dataset import Array, Sample
from autoseg.data.formats import label_studio_brush as brush
from autoseg.data.formats.label_studio_tasks import (
    Region,
    labelled_areas,
    newest_places,
    reference_of,
    task_name,
)
from autoseg.data.formats.references import (
    Pictures,
    by_splits,
    class_number,
    class_order,
    decode_base64,
    path_parts,
    pictures_below,
    read_json,
)
from autoseg.data.formats.shapes import (
    Points,
    decode_bitmap,
    ellipse,
    paint,
    picture_hw,
    read_numbers,
    read_points,
    turned,
)
from autoseg.data.layout import Found, listed

# Annotation files lie at the top of a folder; with more than these it is another format's.
_MAX_FILES = 20
_MARKS = ("annotations", "completions", "annotation_id")


def recognize(root: Path) -> str | None:
    """Why `root` is of this format, in words; None if it is not."""
    if exports := _exports(root):
        return f"{exports[0].name} is a JSON export of Label Studio"
    if folder := brush.masks_folder(root):
        name = folder.relative_to(root).as_posix()
        return f"{'it' if folder == root else name + '/'} holds brush masks of Label Studio"
    return None


def find(root: Path) -> Found:
    """Pair each annotated task with its picture; what does not fit becomes a fault."""
    found = Found(root, values=bytes(range(256)))
    exports = _exports(root)
    if not exports and (folder := brush.masks_folder(root)):
        brush.find(found, folder)
        return found
    if not exports:
        found.faults.append(f"no JSON export of Label Studio in {root}, and no brush masks")
        return found
    pictures = pictures_below(root)
    pairs: dict[Path, str] = {}
    labels: set[str] = set()
    for path in exports:
        _find_in(found, path, pictures, pairs, labels)
    found.classes = class_order(found, sorted(labels))
    found.read_mask = partial(_read_mask, found.classes)
    found.by_split = by_splits(found, pairs)
    named = {name for paths in pictures.by_name.values() for name in paths} - set(pairs)
    spare = sorted(p.name for p in named if not brush.NAME.match(p.name))
    if spare:
        found.warnings.append(f"pictures that no annotated task names, ignored: {listed(spare)}")
    return found


def _exports(root: Path) -> list[Path]:
    """The JSON files at the top of a folder that are lists of tasks."""
    files = sorted(path for path in root.glob("*.json") if path.name[0] != ".")
    return [path for path in files if _is_export(path)] if len(files) <= _MAX_FILES else []


def _is_export(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            start = file.read(4096)
        # Other tools' files are large objects: they are not parsed for this.
        if not start.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"["):
            return False
        tasks = read_json(path)
    except OSError:
        return False
    except InputError:
        return any(f'"{key}"'.encode() in start for key in _MARKS)
    first = tasks[0] if tasks else None
    return isinstance(first, dict) and any(key in first for key in _MARKS)


def _find_in(
    found: Found, path: Path, pictures: Pictures, pairs: dict[Path, str], labels: set[str]
) -> None:
    """Add an export's pairs and labels."""
    try:
        tasks = read_json(path)
    except InputError as error:
        found.faults.append(str(error))
        return
    notes: dict[str, list[str]] = defaultdict(list)
    missing: list[str] = []
    for place in newest_places(tasks):
        name = task_name(tasks[place], place)
        try:
            labelled = labelled_areas(tasks[place])
            for note in labelled.notes:
                notes[note].append(name)
            if labelled.regions is None:
                continue
            reference = reference_of(tasks[place])
            picture = pictures.find(reference)
            if picture is None:
                missing.append(f"{path_parts(reference)[-1]} ({name})")
                continue
            if picture in pairs:
                other = pairs[picture].rpartition("/")[2]
                raise InputError(f"its picture {picture.name} is that of {other} too; keep one")
            pairs[picture] = f"{path}#{place} ({name})"
            labels.update(region.label for region in labelled.regions)
        except InputError as error:
            found.faults.append(f"{path.name}, {name}: {error}")
    if missing:
        found.faults.append(
            f"{path.name} names pictures that are not below {found.root}: {listed(missing)}"
        )
    found.warnings += [f"{path.name}: {note}: {listed(names)}" for note, names in notes.items()]


def _read_mask(classes: tuple[str, ...], sample: Sample) -> Array:
    """The areas of a sample's task as class indices, later ones over earlier ones. Raises
    InputError.
    """
    path, _, place = sample.mask.rpartition("#")
    hw = picture_hw(sample.image)
    mask = np.zeros(hw, np.uint8)
    number, _, name = place.partition(" ")
    try:
        for region in labelled_areas(read_json(Path(path))[int(number)]).regions or ():
            _paint(mask, class_number(classes, region.label), region)
    except (LookupError, TypeError, InputError) as error:
        raise InputError(f"{path}, {name.strip('()')}: {error}") from error
    return mask


def _paint(mask: Array, number: int, region: Region) -> None:
    """One area: percentages of the picture's size, or pixels of its own."""
    value, hw = region.value, mask.shape
    if "rle" in value:
        mask[brush.decode_rle(value["rle"], (hw[0], hw[1]))] = number
    elif "imageDataURL" in value:
        mask[decode_bitmap(decode_base64(value["imageDataURL"]), (hw[0], hw[1]))] = number
    else:
        _check_shape((hw[0], hw[1]), region.drawn_on)
        paint(mask, number, _outline(value, (hw[0], hw[1])))


def _outline(value: dict[str, Any], hw: HW) -> Points:
    """A region's corners in pixels. Rectangles turn about their corner, ellipses about their
    centre; both turn in pixels, not in percentages.
    """
    percent = np.array([hw[1], hw[0]]) / 100
    if "points" in value:
        points: Points = read_points(value["points"]) * percent
        return points
    angle = read_numbers({"rotation": 0, **value}, ["rotation"])[0]
    round_ = "radiusX" in value
    keys = ("x", "y", "radiusX", "radiusY") if round_ else ("x", "y", "width", "height")
    x, y, across, along = np.array(read_numbers(value, keys)) * np.tile(percent, 2)
    if round_:
        return ellipse((x, y), (across, along), angle)
    corners = np.array([[0, 0], [across, 0], [across, along], [0, along]])
    return turned(corners, angle, (x, y))


def _check_shape(hw: HW, drawn_on: tuple[object, object]) -> None:
    """Percentages hold for a picture that was scaled, not for one that was cropped or turned."""
    if drawn_on == (None, None):
        return
    keys = ("original_width", "original_height")
    width, height = read_numbers(dict(zip(keys, drawn_on, strict=True)), keys)
    if min(width, height) <= 0 or abs(width * hw[0] / height - hw[1]) > 1.5 + 0.02 * hw[1]:
        raise InputError(
            f"it was labelled on a picture of {width:.0f}x{height:.0f}, and this one is"
            f" {hw[1]}x{hw[0]}: not the same picture"
        )
