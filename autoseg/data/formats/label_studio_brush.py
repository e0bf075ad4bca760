"""Label Studio's brushes: the runs of its JSON, and the export of brush masks as PNG or NumPy
files.

Sources: https://github.com/thi-ng/umbrella (rle-pack), and label-studio-sdk's converter/brush.py.
"""

from __future__ import annotations

import re
from collections import defaultdict
from functools import lru_cache, partial
from pathlib import Path

import numpy as np

from autoseg.core.errors import InputError
from autoseg.core.units import HW
from autoseg.data.dataset import Array, Sample
from autoseg.data.formats.references import (
    by_splits,
    class_number,
    class_order,
    pictures_below,
)
from autoseg.data.formats.shapes import Covered, decode_bitmap, picture_hw, strong
from autoseg.data.layout import Found, listed, read_column

# task-17-annotation-23-by-<user>-<tag>-<label>-<n>.png; the user's name has no dash left in it.
NAME = re.compile(
    r"task-(?P<task>\d+)-annotation-(?P<annotation>\d+)-by-(?P<user>[^-]*)-(?P<tag>[^-]+)"
    r"-(?P<label>.+)-(?P<number>\d+)\.(png|npy)$"
)
_HEADER_BITS = 32 + 5 + 4 * 4


def decode_rle(packed: object, hw: HW) -> Covered:
    """The area of a brush: runs of RGBA values, of which the alpha counts.

    Raises InputError for runs that do not fill exactly one picture of `hw`.
    """
    try:
        data = bytes(packed if isinstance(packed, list) else [])
    except (TypeError, ValueError) as error:
        raise InputError("its runs (rle) must be a list of bytes") from error
    bits = np.unpackbits(np.frombuffer(data, np.uint8))
    text = (bits + ord("0")).tobytes().decode()
    if len(text) < _HEADER_BITS:
        raise InputError("its runs (rle) are empty")
    count, word = int(text[:32], 2), int(text[32:37], 2) + 1
    if word != 8 or count != hw[0] * hw[1] * 4:
        raise InputError(
            f"its runs (rle) hold {count} values of {word} bits; a picture of {hw[1]}x{hw[0]} has"
            f" {hw[0] * hw[1] * 4} of 8: not the same picture"
        )
    sizes = [int(text[place : place + 4], 2) + 1 for place in range(37, _HEADER_BITS, 4)]
    return strong(_alpha(bits, text, sizes, count).reshape(hw))


def _alpha(bits: Array, text: str, sizes: list[int], count: int) -> Array:
    """Every fourth of the values: a bit tells a run from single values, two which of the sizes its
    length has.
    """
    alpha = np.zeros(count // 4, np.uint8)
    place, value = _HEADER_BITS, 0
    while value < count:
        head = text[place : place + 3]
        size = sizes[int(head[1:] or "0", 2)]
        length = int(text[place + 3 : place + 3 + size] or "0", 2) + 1
        place += 3 + size
        words = 1 if head[:1] == "1" else length
        end = place + 8 * words
        if end > len(text) or value + length > count:
            raise InputError("its runs (rle) are damaged: they do not end with the picture")
        held = np.packbits(bits[place:end])
        # The first value of each pixel's four is red, the last its alpha.
        first, behind = value // 4, (value + length) // 4
        alpha[first:behind] = held[0] if words == 1 else held[3 - value % 4 :: 4]
        place, value = end, value + length
    return alpha


def masks_folder(root: Path) -> Path | None:
    """The folder of brush masks: `root`, or one directly below it."""
    folders = sorted(path for path in root.iterdir() if path.is_dir()) if root.is_dir() else []
    holding = (f for f in (root, *folders) if any(NAME.match(p.name) for p in f.iterdir()))
    return next(holding, None)


def find(found: Found, folder: Path) -> None:
    """Pair the masks of each task with its picture. The export does not name the pictures: a
    column "task" of index.csv does, or they are named after the tasks (17.jpg, task-17.jpg).
    """
    masks = _newest_masks(folder, folder.stat().st_mtime_ns)
    pictures = {
        path.stem: path
        for paths in pictures_below(found.root).by_name.values()
        for path in paths
        if not NAME.match(path.name)
    }
    tasks = _tasks_by_stem(found, list(pictures))
    shown = {task: pictures[stem] for stem, task in tasks.items() if stem in pictures}
    lost = [f"task {task}" for task in masks if task not in shown]
    if lost:
        found.faults.append(
            f"brush masks do not say which picture they belong to: {listed(lost)}. Put the JSON"
            f" export of the same project into {found.root}, or give index.csv the columns stem"
            " and task, or name the pictures after the tasks, such as 17.jpg"
        )
    spare = [path.name for task, path in shown.items() if task not in masks]
    if spare:
        found.warnings.append(f"pictures without a brush mask, ignored: {listed(sorted(spare))}")
    labels = {label for of_task in masks.values() for label, _ in of_task}
    found.classes = class_order(found, sorted(labels))
    found.read_mask = partial(_read_mask, found.classes)
    pairs = {shown[task]: f"{folder}#task {task}" for task in masks if task in shown}
    found.by_split = by_splits(found, pairs)


def _tasks_by_stem(found: Found, stems: list[str]) -> dict[str, int]:
    """The task that each picture shows, as index.csv or its name says."""
    given = {stem: stem.removeprefix("task-") for stem in stems}
    try:
        if (found.root / "index.csv").is_file():
            given |= read_column(found.root, "task")
    except InputError as error:
        if "no column" not in str(error):
            found.faults.append(str(error))
    return {stem: int(task) for stem, task in given.items() if task.isdecimal() and task.isascii()}


@lru_cache(maxsize=4)
def _newest_masks(folder: Path, _changed_ns: int) -> dict[int, list[tuple[str, Path]]]:
    """The (label, file) of each task's newest annotation, in the order of labels and numbers."""
    by_task: dict[int, dict[int, list[tuple[str, int, Path]]]] = defaultdict(dict)
    for path in folder.iterdir():
        if name := NAME.match(path.name):
            annotations = by_task[int(name["task"])]
            files = annotations.setdefault(int(name["annotation"]), [])
            files.append((name["label"], int(name["number"]), path))
    return {
        task: [(label, path) for label, _, path in sorted(annotations[max(annotations)])]
        for task, annotations in sorted(by_task.items())
    }


def _read_mask(classes: tuple[str, ...], sample: Sample) -> Array:
    """The brushes of a sample's task as class indices, later files over earlier ones. Raises
    InputError.
    """
    name, _, task = sample.mask.rpartition("#task ")
    folder = Path(name)
    hw = picture_hw(sample.image)
    mask = np.zeros(hw, np.uint8)
    for label, path in _newest_masks(folder, folder.stat().st_mtime_ns).get(int(task), ()):
        try:
            mask[_covered(path, hw)] = class_number(classes, label)
        except (OSError, ValueError, InputError) as error:
            raise InputError(f"{path}: {error}") from error
    return mask


def _covered(path: Path, hw: HW) -> Covered:
    if path.suffix == ".png":
        return decode_bitmap(path.read_bytes(), hw)
    # Mapped, a header that lies about the size is an error and no allocation.
    values = np.load(path, mmap_mode="r", allow_pickle=False)
    if values.shape != hw or values.dtype != np.uint8:
        raise InputError(f"it holds {values.dtype} {values.shape}; the picture is uint8 {hw}")
    return strong(np.asarray(values))
