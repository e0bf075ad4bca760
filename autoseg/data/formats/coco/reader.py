"""Find the files of COCO in a folder, one per split, and pair their entries with pictures."""

from __future__ import annotations

from collections import defaultdict
from functools import partial
from pathlib import Path

from autoseg.core.errors import InputError
from autoseg.data.formats.coco.annotations import CocoFile, read_coco
from autoseg.data.formats.coco.masks import read_mask
from autoseg.data.formats.common.json_files import export_files, head
from autoseg.data.formats.common.labels import class_order
from autoseg.data.formats.common.pairing import named_splits, split_of
from autoseg.data.formats.common.picture_index import PictureIndex, index_pictures, path_parts
from autoseg.data.layout import Layout, listed

# The keys of a file stand at either end of it.
_END_BYTES = 65536
_KEYS = ("images", "annotations", "categories", "file_name", "category_id", "image_id")
_MIN_KEYS = 3


def recognize(root: Path) -> str | None:
    """The reason to read `root` in this format; None if it is of another."""
    files = _coco_files(root)
    return f"{files[0].relative_to(root).as_posix()} is a file of COCO" if files else None


def find(root: Path) -> Layout:
    """Find the picture of each entry; entries that cannot be used become faults."""
    layout = Layout(root, values=bytes(range(256)))
    pictures = index_pictures(root)
    splits: dict[str, list[tuple[Path, str]]] = defaultdict(list)
    names: dict[str, None] = {}
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
        split = split_of(path.stem) or split_of(path.parent.name)
        splits[split] += _pairs(layout, path, coco, pictures, used)
    if not used and not layout.faults:
        layout.faults.append(f"there is no file of COCO with pictures in {root}")
    # Every pixel of a panoptic mask has a class, or is void: there is no background.
    layout.classes = tuple(names) if panoptic and names else class_order(layout, names)
    layout.read_mask = partial(read_mask, layout.classes)
    layout.by_split = named_splits(layout, splits)
    return layout


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
    held = head(path, _END_BYTES)
    if not held.startswith(b"{"):
        return False
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - _END_BYTES))
            held += file.read(_END_BYTES)
    except OSError:
        return False
    return sum(f'"{key}"'.encode() in held for key in _KEYS) >= _MIN_KEYS


def _pairs(
    layout: Layout, path: Path, coco: CocoFile, pictures: PictureIndex, used: dict[Path, str]
) -> list[tuple[Path, str]]:
    """A file's pictures, each with `file#id`. Pictures in the folder of its split come first."""
    own = path.parent.name
    folder = path.stem.rpartition("_")[2] if own == "annotations" else own
    # Panoptic masks lie in the folder that has the file's name.
    place = path.with_suffix("") if coco.segments else path
    pairs: list[tuple[Path, str]] = []
    missing: list[str] = []
    for number, entry in coco.pictures.items():
        name = str(entry["file_name"])
        try:
            picture = pictures.find("/".join((folder, *path_parts(name))))
            if picture is None:
                missing.append(name)
                continue
            if picture in used:
                raise InputError(f"it is listed in {used[picture]} too; keep one")
            used[picture] = path.name
            pairs.append((picture, f"{place}#{number}"))
        except InputError as error:
            layout.faults.append(f"{path.name}, picture {number} ({name:.80}): {error}")
    if missing:
        layout.faults.append(
            f"{path.name} names pictures that are not below {layout.root}: {listed(missing)}"
        )
    layout.faults += [f"{path.name}: {fault}" for fault in coco.faults]
    layout.warnings += [f"{path.name}: {warning}" for warning in coco.warnings]
    return pairs
