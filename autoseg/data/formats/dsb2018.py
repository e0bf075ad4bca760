"""A folder for each picture, and in it a mask for each object: STAGE/ID/images/ID.png and
STAGE/ID/masks/*.png, as in the Data Science Bowl 2018.

Source: kaggle.com/c/data-science-bowl-2018/data; stage1_test has no masks.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np

from autoseg.core.errors import InputError
from autoseg.data.dataset import BACKGROUND, OBJECT, Array, Sample
from autoseg.data.formats.common import shapes
from autoseg.data.formats.common.files import class_names, file_named
from autoseg.data.formats.common.pairing import Pair, named_splits, split_of
from autoseg.data.layout import Layout, listed
from autoseg.data.pictures import SUFFIXES, decode_mask, naming, read_bytes

# Folders of a stage that are tried, to recognize the format.
_MAX_FOLDERS_TRIED = 10


def recognize(root: Path) -> str | None:
    for stage in _stages(root)[:_MAX_FOLDERS_TRIED]:
        for folder in islice(_folders(stage), _MAX_FOLDERS_TRIED):
            if (folder / "masks").is_dir() and (picture := _picture(folder)):
                name = picture.relative_to(root).as_posix()
                return f"it holds a folder for each picture ({name}), with a mask for each object"
    return None


def find(root: Path) -> Layout:
    """Pair each picture with the folder of its objects' masks; pictures without one are left out
    with a warning.
    """
    layout = Layout(root, values=bytes(range(256)), read_mask=read_objects)
    splits: dict[str, list[Pair]] = defaultdict(list)
    bare: list[str] = []
    for stage in _stages(root):
        for folder in _folders(stage):
            picture, masks = _picture(folder), folder / "masks"
            if picture is not None and any(_mask_files(masks)):
                splits[split_of(stage.name)].append((picture, str(masks)))
            elif picture is not None:
                bare.append(picture.relative_to(root).as_posix())
    if bare:
        layout.warnings.append(f"pictures without masks, left out: {listed(bare)}")
    if not splits:
        layout.faults.append(
            "there is no folder with images/ and masks/ for each picture, as the Data Science"
            " Bowl 2018 has them"
        )
    layout.classes = class_names(layout) or (BACKGROUND, OBJECT)
    layout.by_split = named_splits(layout, splits)
    return layout


def read_objects(sample: Sample) -> Array:
    """The objects of a picture as uint8 ``[H, W]``, 1 where any of them is. Raises InputError."""
    height, width = shapes.picture_hw(sample.image)
    mask = np.zeros((height, width), np.uint8)
    for path in _mask_files(Path(sample.mask)):
        values = naming(str(path), decode_mask, read_bytes(str(path)))
        if values.shape != mask.shape:
            stated = f"{values.shape[1]}x{values.shape[0]}"
            raise InputError(f"{path} is {stated}, its picture {width}x{height}")
        mask[shapes.from_half(values)] = 1
    return mask


def _stages(root: Path) -> list[Path]:
    """The folder itself, or the folders of its stages."""
    below = list(_folders(root))
    return [root] if any(_picture(path) for path in below[:_MAX_FOLDERS_TRIED]) else below


def _folders(place: Path) -> Iterator[Path]:
    if not place.is_dir():
        return
    with os.scandir(place) as entries:
        names = sorted(e.name for e in entries if e.is_dir() and not e.name.startswith("."))
    yield from (place / name for name in names)


def _picture(folder: Path) -> Path | None:
    """The one picture ID/images/ID.* of a folder ID."""
    names = (f"{folder.name.lower()}{suffix}" for suffix in SUFFIXES)
    return file_named(folder / "images", names)


def _mask_files(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    visible = (path for path in folder.iterdir() if path.name[0] != ".")
    return sorted(path for path in visible if path.suffix.lower() in SUFFIXES)
