"""Cityscapes: leftImg8bit/SPLIT/CITY/*_leftImg8bit.png and gtFine/SPLIT/CITY/*_gtFine_*.png.

Source: github.com/mcordts/cityscapesScripts, README ("Dataset Structure") and helpers/labels.py:
34 label ids, of which 19 are trained and evaluated as train ids 0 to 18; the rest is 255. The
labels of the test split are not public: its files hold ego vehicle and borders only.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from autoseg.core.errors import InputError
from autoseg.core.records import IGNORE_INDEX
from autoseg.data.dataset import Sample
from autoseg.data.formats.common.files import picture_files, subfolders
from autoseg.data.formats.common.pairing import group_by_name, pairs, split_folders
from autoseg.data.layout import Layout, class_values
from autoseg.data.pictures import read_mask

NAMES = (
    "road", "sidewalk", "building", "wall", "fence", "pole", "traffic light", "traffic sign",
    "vegetation", "terrain", "sky", "person", "rider", "car", "truck", "bus", "train",
    "motorcycle", "bicycle",
)  # fmt: skip
TRAINED_IDS = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)
LABEL_IDS = 34
_PICTURE, _IDS, _TRAIN_IDS = "_leftImg8bit", "_gtFine_labelIds", "_gtFine_labelTrainIds"
_SEQUENCE = r"^(.+_\d{6})_\d{6}$"
_MASKS_CHECKED = 3


def recognize(root: Path) -> str | None:
    folders = [_folder(root, name) for name in ("leftImg8bit", "gtFine")]
    return "it holds leftImg8bit/ and gtFine/" if all(folders) else None


def find(root: Path) -> Layout:
    """Pair pictures and label ids (or train ids, if only these exist) by city, sequence and frame;
    each sequence of a city is a group.
    """
    layout = Layout(root, classes=NAMES)
    images, labels = _folder(root, "leftImg8bit"), _folder(root, "gtFine")
    if images is None or labels is None:
        layout.faults.append("there is no leftImg8bit/ and gtFine/, as Cityscapes has them")
        return layout
    folders = split_folders(layout, (*subfolders(images), *subfolders(labels)), images.name)
    by_split = {split: _masks(layout, labels / name) for split, name in folders.items()}
    all_names = [name for masks in by_split.values() for name in masks]
    kind = _IDS if any(name.endswith(_IDS) for name in all_names) else _TRAIN_IDS
    layout.values = _values(kind)
    for split, masks in by_split.items():
        there = _named(picture_files(layout, images / folders[split]), _PICTURE)
        layout.by_split[split] = pairs(layout, there, _named(masks, kind), split)
    group_by_name(layout, _SEQUENCE)
    if _is_dummy(layout, layout.by_split.get("test", [])):
        del layout.by_split["test"]
        why = "its masks hold ignored pixels only, as the public ones do"
        layout.warnings.append(f"test: {why}: left out")
    return layout


def _folder(root: Path, name: str) -> Path | None:
    """The folder; it lies one level deeper where each archive was unpacked into its own folder."""
    if (root / name).is_dir():
        return root / name
    deeper = [path for path in root.glob(f"{name}*/{name}") if path.is_dir()]
    return deeper[0] if len(deeper) == 1 else None


def _masks(layout: Layout, folder: Path) -> dict[str, Path]:
    # Polygons (JSON), colours and instances lie in the same folder: they are no fault.
    masks = picture_files(Layout(layout.root), folder)
    return {n: path for n, path in masks.items() if n.endswith((_IDS, _TRAIN_IDS))}


def _named(files: dict[str, Path], ending: str) -> dict[str, Path]:
    """Files by ``city_sequence_frame``; those of another ending are left out."""
    return {
        Path(name).name.removesuffix(ending): path
        for name, path in files.items()
        if name.endswith(ending)
    }


def _values(kind: str) -> bytes:
    if kind == _TRAIN_IDS:
        return bytes(range(256))
    ignored = dict.fromkeys((*range(LABEL_IDS), IGNORE_INDEX), IGNORE_INDEX)
    trained = {label_id: train_id for train_id, label_id in enumerate(TRAINED_IDS)}
    return class_values(ignored | trained, len(NAMES))


def _is_dummy(layout: Layout, samples: list[Sample]) -> bool:
    """Whether the first masks hold ignored pixels only."""
    table = np.frombuffer(layout.values or b"", np.uint8)
    try:
        masks = [read_mask(sample) for sample in samples[:_MASKS_CHECKED]]
    except InputError:  # the inspection of all files reports it
        return False
    return bool(masks) and all((table[mask] == IGNORE_INDEX).all() for mask in masks)
