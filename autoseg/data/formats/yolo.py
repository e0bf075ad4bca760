"""YOLO data sets as Ultralytics reads them: data.yaml, pictures, and labels as text or as masks.

Sources: docs.ultralytics.com/datasets/segment (text with outlines) and /datasets/semantic (masks
in `masks_dir`); ultralytics 8.4, ultralytics/data/utils.py (img2label_paths) and dataset.py
(SemanticDataset). Roboflow, CVAT, Label Studio and X-AnyLabeling export the text.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import partial
from itertools import islice
from pathlib import Path, PurePath

import numpy as np

from autoseg.core.text import one_form
from autoseg.data.dataset import BACKGROUND, Array, Sample, background_of
from autoseg.data.formats.common import shapes
from autoseg.data.formats.common.files import file_named, files_with, head, lines, visible_files
from autoseg.data.formats.common.pairing import Pair, PictureIndex, named_splits
from autoseg.data.formats.yolo_labels import Contents, draw, examine_labels
from autoseg.data.formats.yolo_yaml import (
    MAX_NAMES,
    DataYaml,
    find_yaml,
    pictures_by_split,
    read_yaml,
)
from autoseg.data.layout import Layout, listed
from autoseg.data.pictures import naming, under

_LABELS = "labels"
_NAME_FILES = ("classes.txt", "obj.names")
_LABEL_LINE = re.compile(rb"\d+( [-+.\de]+){4,}\s*$", re.M)
# Label files looked at to recognize the format; those of pictures without objects are empty.
_MAX_FILES_TRIED = 20
# The end of a sample's `mask` where a picture has no label file, as pictures without objects may.
_NO_LABELS = "#no labels"
Pairs = dict[str, list[Pair]]


def recognize(root: Path) -> str | None:
    if path := find_yaml(root):
        return f"{path.name} names classes and splits, as YOLO's does"
    for images, labels in (("images", "labels"), ("train/images", "train/labels")):
        if (root / images).is_dir() and _holds_labels(root / labels):
            return f"it holds {images}/ and the text of YOLO in {labels}/"
    return None


def find(root: Path) -> Layout:
    """Pair the pictures that data.yaml names (all without it) with label files or masks."""
    layout = Layout(root)
    about = read_yaml(layout)
    if layout.faults:
        return layout
    folder = about.masks_folder or _other_masks(layout)
    index = PictureIndex(root)
    masks = [path for path in index.paths if _within(path.relative_to(root), folder)]
    pictures = pictures_by_split(layout, about, index, set(masks))
    if folder:
        pairs = _pairs(layout, pictures, masks, folder)
        _set_masks(layout, about)
    else:
        texts = files_with(root, ".txt", deep=True)
        pairs = _pairs(layout, pictures, texts, _LABELS)
        _set_labels(layout, about, pairs)
    layout.by_split = named_splits(layout, {split: of for split, of in pairs.items() if of})
    if not any(layout.by_split.values()) and not layout.faults:
        layout.faults.append(f"there is no picture with labels of YOLO in {root}")
    return layout


def _holds_labels(folder: Path) -> bool:
    files = (path for path in visible_files(folder) if path.suffix.lower() == ".txt")
    return any(_LABEL_LINE.match(head(path)) for path in islice(files, _MAX_FILES_TRIED))


def _other_masks(layout: Layout) -> str:
    """ "masks" if data.yaml gives no folder of masks and there is one of this name, else ""."""
    if find_yaml(layout.root) is None or not (layout.root / "masks").is_dir():
        return ""
    if (layout.root / "labels").is_dir():
        layout.warnings.append(
            "masks/ is read and labels/ is not, as Ultralytics' semantic task does"
        )
    return "masks"


def _within(place: PurePath, folder: str) -> bool:
    return bool(folder) and f"/{folder}/" in f"/{place.as_posix()}"


def _pairs(
    layout: Layout, pictures: Mapping[str, list[Path]], labels: Iterable[Path], folder: str
) -> Pairs:
    """Pictures with the label file or mask of each. A picture may lack its label file, as one
    without objects does, if others of its split have theirs; it may not lack its mask.
    """
    by_name = {_stem(path.relative_to(layout.root)): path for path in labels}
    pairs: Pairs = {}
    used: set[Path] = set()
    for split, paths in pictures.items():
        found = {path: _label(path.relative_to(layout.root), by_name, folder) for path in paths}
        there = {path: label for path, label in found.items() if label is not None}
        lacking = [path for path in paths if path not in there]
        used.update(there.values())
        pairs[split] = [(path, str(label)) for path, label in there.items()]
        if lacking and _may_lack(layout, split, lacking, folder, bool(there)):
            pairs[split] += [(path, f"{path}{_NO_LABELS}") for path in lacking]
    _note_unused(layout, by_name.values(), used)
    return pairs


def _stem(place: PurePath) -> str:
    return one_form(place.with_suffix("").as_posix())


def _label(place: PurePath, by_name: Mapping[str, Path], folder: str) -> Path | None:
    """The label file or mask of a picture: where `folder` stands in the place of the last images/
    in its path; else beside it, or below the folder.
    """
    *parents, _ = place.parts
    names = [_stem(place), f"{folder}/{_stem(place)}"]
    if "images" in parents:
        last = len(parents) - 1 - parents[::-1].index("images")
        names = [_stem(PurePath(*place.parts[:last], folder, *place.parts[last + 1 :]))]
    return next((by_name[name] for name in names if name in by_name), None)


def _may_lack(layout: Layout, split: str, lacking: list[Path], folder: str, others: bool) -> bool:
    """Say that pictures have no label; True if they are background. A test without any label is
    left out: its labels may be secret.
    """
    where = split or "the pictures"
    names = listed([under(layout.root, str(path)) for path in lacking])
    if split == "test" and not others:
        layout.warnings.append(f"test: none of its {len(lacking)} pictures has labels: left out")
        return False
    if folder == _LABELS and others:
        layout.warnings.append(
            f"{where}: {len(lacking)} pictures have no label file and are background, as for"
            f" Ultralytics: {names}"
        )
        return True
    what = "label file (.txt)" if folder == _LABELS else "mask"
    layout.faults.append(f"{where}: {len(lacking)} pictures have no {what} in {folder}/: {names}")
    return False


def _note_unused(layout: Layout, labels: Iterable[Path], used: set[Path]) -> None:
    folders = {path.parent for path in used}
    unused = [
        under(layout.root, str(path))
        for path in labels
        if path not in used and path.parent in folders and path.name not in _NAME_FILES
    ]
    if unused:
        layout.warnings.append(f"{len(unused)} labels have no picture: {listed(unused)}")


def _set_masks(layout: Layout, about: DataYaml) -> None:
    """Masks hold class ids; with one class 0 is the background and 1 the class."""
    layout.classes = about.names if len(about.names) != 1 else (BACKGROUND, *about.names)
    if about.mapping:
        layout.values = bytes(about.mapping.get(value, value) for value in range(256))


def _set_labels(layout: Layout, about: DataYaml, pairs: Pairs) -> None:
    """Read all label files, say what they hold beside outlines, and set the classes; pairs of
    files that are not YOLO's are removed.
    """
    files = sorted({label for of in pairs.values() for _, label in of})
    shown = {file: under(layout.root, file) for file in files if not file.endswith(_NO_LABELS)}
    contents = examine_labels({name: Path(file) for file, name in shown.items()})
    if contents.wrong:
        wrong = [f"{name}: {why}" for name, why in contents.wrong.items()]
        layout.faults.append(f"label files that are not YOLO's: {listed(wrong)}")
    boxes_only = _note_kinds(layout, contents)
    for split, of in pairs.items():
        pairs[split] = [pair for pair in of if shown.get(pair[1]) not in contents.wrong]
        if boxes_only:
            pairs[split] = []
    names = _names(layout, about, contents.ids)
    background = background_of(names) or BACKGROUND
    layout.classes = (background, *(name for name in names if name != background))
    layout.values = bytes(range(256))
    values = {number: layout.classes.index(name) for number, name in enumerate(names)}
    layout.read_mask = partial(_read_mask, values)


def _note_kinds(layout: Layout, contents: Contents) -> bool:
    """Warn of what is not drawn as an outline; True if there are boxes only, which is a fault."""
    count = contents.objects
    if count and len(contents.boxes) == count:
        layout.faults.append(
            f"all {count} labels are boxes (class x y width height), for detection: label outlines"
            f" (class x y x y x y …) to learn segmentation; see {_listed_once(contents.boxes)}"
        )
        return True
    for files, said in (
        (
            contents.boxes,
            f"of {count} labels are boxes without an outline: their pixels are ignored",
        ),
        (contents.flat, f"of {count} labels have no area: they are left out"),
        (contents.beyond, f"of {count} labels pass the edge of the picture: they are cut there"),
        (contents.empty, "label files are empty: their pictures are background"),
    ):
        if files:
            layout.warnings.append(f"{len(files)} {said}: {_listed_once(files)}")
    return False


def _listed_once(files: Iterable[str]) -> str:
    return listed(list(dict.fromkeys(files)))


def _names(layout: Layout, about: DataYaml, ids: Mapping[int, str]) -> tuple[str, ...]:
    """The class names by id, of data.yaml, else of a list, else made up; ids beyond them become a
    fault.
    """
    names, source = about.names, "data.yaml"
    if not names and (path := file_named(layout.root, _NAME_FILES)):
        names, source = tuple(lines(layout, path)), path.name
    highest = max(ids, default=0)
    if not names and highest < MAX_NAMES:
        layout.warnings.append("nothing names the classes: they are named by their ids")
        return tuple(f"class_{number}" for number in range(highest + 1))
    if len(names) > MAX_NAMES or len(set(names)) < len(names):
        layout.faults.append(
            f"{source} must name up to {MAX_NAMES} classes, each once; it has {len(names)} names"
        )
    beyond = [f"{number} in {ids[number]}" for number in sorted(ids) if number >= len(names)]
    if beyond:
        layout.faults.append(
            f"class ids that {source} does not name (it names 0 to {len(names) - 1}): "
            + listed(beyond)
        )
    return names


def _read_mask(values: dict[int, int], sample: Sample) -> Array:
    """A picture's labels as class indices. Raises InputError."""
    mask = np.zeros(shapes.picture_hw(sample.image), np.uint8)
    if sample.mask.endswith(_NO_LABELS):
        return mask
    return naming(sample.mask, draw, mask, Path(sample.mask), values)
