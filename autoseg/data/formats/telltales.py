"""Say what a folder holds that no format reads: the files found, whose they are, and a way out.

The one table of names that tell a format which is not read, or not read as it lies there.
"""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from fnmatch import fnmatch
from pathlib import Path

from autoseg.data.layout import listed
from autoseg.data.pictures import SUFFIXES

_EXPORT = "export it as COCO, YOLO or PASCAL VOC masks"
_SLICES = "save its slices as PNG, in images/ and masks/"
_PAIRS = "save its pictures and masks as PNG, in images/ and masks/"
_BOXES = "boxes, not outlines: export masks or polygons"
# Patterns of names in lower case, and what to do. The first that fits a name counts.
TELLTALES = {
    "data.yaml": "of YOLO: the folders that it names must exist, or images/ and labels/ beside it",
    "dataset.yaml": "of YOLO: its folders must exist, or images/ and labels/ beside it",
    "dataset.json": "of nnU-Net: there must be imagesTr/ and labelsTr/ beside it",
    "dataset_info.json": f"of Hugging Face's datasets: {_PAIRS}",
    "_classes.csv": "of Roboflow's classification: export Semantic Segmentation Masks or COCO",
    "_annotations.csv": f"{_BOXES} (Roboflow: Semantic Segmentation Masks or COCO)",
    "_annotations.txt": f"{_BOXES} (Roboflow: Semantic Segmentation Masks or COCO)",
    "_annotations.createml.json": f"{_BOXES} (Roboflow: Semantic Segmentation Masks or COCO)",
    "annotations.xml": "of CVAT: export Segmentation mask 1.1 or COCO 1.0",
    "samples.json": f"of FiftyOne: {_EXPORT}",
    "meta.json": "of Supervisely: there must be DATASET/img/ and DATASET/ann/ beside it",
    "class_dict*.csv": "colours of masks: there must be images/ and masks/ beside it",
    "labelmap.txt": "colours of masks: there must be SegmentationClass/ or masks/ beside it",
    "*.xml": f"{_BOXES}, or is of a tool that is not read",
    "*.ndjson": f"of Labelbox: {_EXPORT}",
    "*.jsonl": f"a list of another tool: {_PAIRS}",
    "*.parquet": f"a table of Hugging Face's datasets: {_PAIRS}",
    "*.arrow": f"a table of Hugging Face's datasets: {_PAIRS}",
    "*.tfrecord*": f"of TensorFlow: {_PAIRS}",
    "*.mdb": f"a database (LMDB): {_PAIRS}",
    "*.lmdb": f"a database (LMDB): {_PAIRS}",
    "*.h5": f"a file of HDF5: {_PAIRS}",
    "*.hdf5": f"a file of HDF5: {_PAIRS}",
    "*.np[yz]": f"an array of numpy: {_PAIRS}",
    "*.mat": f"of MATLAB: {_PAIRS}",
    "*.nii*": f"a volume (NIfTI): {_SLICES}",
    "*.dcm": f"of DICOM: {_SLICES}",
    "*.mha": f"a volume (MetaImage): {_SLICES}",
    "*.nrrd": f"a volume (NRRD): {_SLICES}",
    "*.zip": "an archive: give it in the place of the folder, or unpack it",
    "*.tar": "an archive: unpack it",
    "*.tar.*": "an archive: unpack it",
    "*.tgz": "an archive: unpack it",
    "*.7z": "an archive: unpack it",
    "*.rar": "an archive: unpack it",
    "*.svg": f"a drawing: {_PAIRS}",
    "*.psd": f"of Photoshop: {_PAIRS}",
    "*.json": "of no labelling tool that is read, or lacks its pictures",
    "*.txt": "of no labelling tool that is read, or lacks its pictures",
    "*.csv": "no table of runs or classes that is read, or lacks its pictures",
}
_READ = (
    "Read are pictures in images/ with masks of the same names in masks/, NAME_mask.png beside"
    " NAME.jpg, and the formats of labelling tools in docs/data.md"
)
# What masks beside their pictures are named, where it is not `_mask`.
_BESIDE = ("_seg", "_label", "_labels", "_gt", "_segmentation", "_masks", "-mask", "_annotation")
_RENAME = "masks beside their pictures: rename them NAME_mask.png, or move them to masks/"
_MAX_LEVELS, _MAX_FILES, _MAX_FOLDERS_SHOWN, _MAX_KINDS = 3, 20_000, 6, 4
Names = dict[str, list[str]]  # by folder


def found(root: Path) -> str:
    """What a folder holds and what may be meant, as the end of a sentence; "" if it is empty."""
    names = _names(root)
    if not any(names.values()):
        return ""
    shown = [f"{folder}: {_kinds(files)}" for folder, files in names.items() if files]
    more = f" and {len(shown) - _MAX_FOLDERS_SHOWN} more folders"
    more = more if len(shown) > _MAX_FOLDERS_SHOWN else ""
    there = "; ".join(shown[:_MAX_FOLDERS_SHOWN])
    return f". Found in {there}{more}{_meant(names)}. {_READ}"


def _names(root: Path) -> Names:
    """The names of the visible files in a folder and two levels below, by folder; not all of a
    large tree.
    """
    by_folder: Names = {}
    count = 0
    for folder, folders, files in os.walk(root):
        place = Path(folder).relative_to(root)
        deep = len(place.parts) >= _MAX_LEVELS - 1
        folders[:] = [] if deep else sorted(f for f in folders if not f.startswith("."))
        visible = sorted(name for name in files if not name.startswith("."))
        by_folder[f"{place.as_posix()}/"] = visible
        count += len(files)
        if count > _MAX_FILES:
            break
    return by_folder


def _kinds(files: list[str]) -> str:
    counts = Counter(Path(name).suffix.lower() or "without suffix" for name in files)
    kinds = [f"{count} {suffix}" for suffix, count in counts.most_common(_MAX_KINDS)]
    return ", ".join(kinds) + (" …" if len(counts) > _MAX_KINDS else "")


def _meant(names: Names) -> str:
    by_rule: dict[str, list[str]] = defaultdict(list)
    for folder, files in names.items():
        for name in files:
            if rule := _rule(name):
                by_rule[rule].append(f"{folder}{name}".removeprefix("./"))
        if ending := _ending(files):
            by_rule[_RENAME].append(f"NAME{ending}.png in {folder}")
    return "".join(f". {listed(files)}: {rule}" for rule, files in by_rule.items())


def _rule(name: str) -> str | None:
    lower = name.lower()
    return next((rule for pattern, rule in TELLTALES.items() if fnmatch(lower, pattern)), None)


def _ending(files: list[str]) -> str | None:
    """What the names of masks have behind those of the pictures beside them."""
    stems = {Path(name).stem for name in files if name.lower().endswith(SUFFIXES)}
    endings = (end for end in _BESIDE for stem in stems if f"{stem}{end}" in stems)
    return next(endings, None)
