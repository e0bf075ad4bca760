"""Label Studio's export of brush masks: a PNG or NumPy file for each region.

Source: label-studio-sdk's converter/brush.py.
"""

from __future__ import annotations

import re
from collections import defaultdict
from functools import lru_cache
from pathlib import Path

import numpy as np

from autoseg.core.errors import InputError
from autoseg.core.text import one_form
from autoseg.core.units import HW
from autoseg.data.dataset import Array, Sample
from autoseg.data.formats.common.files import class_index
from autoseg.data.formats.common.pairing import PictureIndex, set_labelled
from autoseg.data.formats.common.shapes import Covered, decode_bitmap, from_half, picture_hw
from autoseg.data.layout import Layout, listed, read_column
from autoseg.data.pictures import read_bytes

# task-17-annotation-23-by-<user>-<tag>-<label>-<n>.png; the export removes dashes from the user's
# name.
FILE_NAME = re.compile(
    r"task-(?P<task>\d+)-annotation-(?P<annotation>\d+)-by-(?P<user>[^-]*)-(?P<tag>[^-]+)"
    r"-(?P<label>.+)-(?P<number>\d+)\.(?i:png|npy)$"
)


def masks_folder(root: Path) -> Path | None:
    """The folder of brush masks: `root`, or one directly below it."""
    folders = sorted(path for path in root.iterdir() if path.is_dir()) if root.is_dir() else []
    holding = (f for f in (root, *folders) if any(FILE_NAME.match(p.name) for p in f.iterdir()))
    return next(holding, None)


def find(layout: Layout, folder: Path) -> None:
    """Pair the masks of each task with its picture. The export does not name the pictures: a
    column "task" of index.csv does, or their file names are the tasks' (17.jpg, task-17.jpg).
    """
    masks = _newest_masks(folder, folder.stat().st_mtime_ns)
    found = PictureIndex(layout.root).paths
    pictures = {one_form(path.stem): path for path in found if not FILE_NAME.match(path.name)}
    tasks = _tasks_by_stem(layout, list(pictures))
    shown = {task: pictures[stem] for stem, task in tasks.items() if stem in pictures}
    _note_unpaired(layout, masks, shown)
    labels = {label for of_task in masks.values() for label, _ in of_task}
    pairs = {shown[task]: f"{folder}#task {task}" for task in masks if task in shown}
    set_labelled(layout, pairs, labels, _read_mask)


def _note_unpaired(
    layout: Layout, masks: dict[int, list[tuple[str, Path]]], shown: dict[int, Path]
) -> None:
    if lost := [f"task {task}" for task in masks if task not in shown]:
        layout.faults.append(
            f"brush masks do not say which picture they belong to: {listed(lost)}. Put the JSON"
            f" export of the same project into {layout.root}, or give index.csv the columns stem"
            " and task, or name the pictures after the tasks, such as 17.jpg"
        )
    if spare := [path.name for task, path in shown.items() if task not in masks]:
        layout.warnings.append(f"pictures without a brush mask, ignored: {listed(sorted(spare))}")


def _tasks_by_stem(layout: Layout, stems: list[str]) -> dict[str, int]:
    """The task of each picture, by index.csv or by its file name."""
    given = {stem: stem.removeprefix("task-") for stem in stems}
    try:
        if (layout.root / "index.csv").is_file():
            given |= read_column(layout.root, "task")
    except InputError as error:
        if "no column" not in str(error):
            layout.faults.append(str(error))
    return {stem: int(task) for stem, task in given.items() if task.isdecimal() and task.isascii()}


@lru_cache(maxsize=4)
def _newest_masks(folder: Path, _changed_ns: int) -> dict[int, list[tuple[str, Path]]]:
    """The (label, file) of each task's newest annotation, in the order of labels and numbers."""
    by_task: dict[int, dict[int, list[tuple[str, int, Path]]]] = defaultdict(dict)
    for path in folder.iterdir():
        if name := FILE_NAME.match(path.name):
            annotations = by_task[int(name["task"])]
            files = annotations.setdefault(int(name["annotation"]), [])
            files.append((name["label"], int(name["number"]), path))
    return {
        task: [(label, path) for label, _, path in sorted(annotations[max(annotations)])]
        for task, annotations in sorted(by_task.items())
    }


def _read_mask(classes: tuple[str, ...], sample: Sample) -> Array:
    """A task's brushes as class indices, later files over earlier ones. Raises InputError."""
    name, _, task = sample.mask.rpartition("#task ")
    folder = Path(name)
    hw = picture_hw(sample.image)
    mask = np.zeros(hw, np.uint8)
    for label, path in _newest_masks(folder, folder.stat().st_mtime_ns).get(int(task), ()):
        try:
            mask[_covered(path, hw)] = class_index(classes, label)
        except InputError as error:
            raise InputError(f"{path}: {error}") from error
    return mask


def _covered(path: Path, hw: HW) -> Covered:
    if path.suffix.lower() == ".png":
        return decode_bitmap(read_bytes(str(path)), hw)
    if not path.is_file():  # opening a pipe would wait for ever
        raise InputError("it is no file")
    # Memory-mapped: a header with a false size is an error, and allocates nothing.
    try:
        values = np.load(path, mmap_mode="r", allow_pickle=False)
    except Exception as error:  # the header is parsed as Python: many types are raised
        raise InputError(f"not a readable NumPy file ({type(error).__name__})") from error
    if values.shape != hw or values.dtype != np.uint8:
        raise InputError(f"it holds {values.dtype} {values.shape}; the picture is uint8 {hw}")
    return from_half(np.asarray(values))
