"""The plain layout: images/ and masks/ (or imgs/, mask/ …) with the same names, in split folders
or not; split folders with images/ and masks/ in each; or split folders with the masks in a folder
beside each (train/ and train_masks/, as in Kaggle's Carvana). A table of colours beside them
(class_dict.csv, labelmap.txt, label_colors.txt) gives the classes of masks that show colours.

Sources of the names: github.com/milesial/Pytorch-UNet (imgs/, masks/ of names with ``_mask``),
kaggle.com/c/carvana-image-masking-challenge (GIF masks).
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import islice
from pathlib import Path

from autoseg.data.dataset import Sample
from autoseg.data.formats.common.colour_masks import use_table
from autoseg.data.formats.common.files import class_names, picture_files, subfolders, visible_files
from autoseg.data.formats.common.pairing import KNOWN_SPLITS, SPLIT_NAMES, pairs, split_of
from autoseg.data.layout import Layout, listed
from autoseg.data.pictures import SUFFIXES

_IMAGES = ("images", "imgs", "image", "img", "pictures")
_MASKS = ("masks", "mask")
_LABELS = ("labels", "label")  # if they hold pictures: other tools write text or JSON there
_BEHIND = "_masks"
# In DRIVE and HRF the vessels; their mask/ is the field of view.
_MANUAL = ("1st_manual", "manual1")
_FILES_TRIED = 20
Place = tuple[str, str, str]  # a split's folder, or "", and the folders of pictures and masks


def recognize(root: Path) -> str | None:
    if not (places := _places(root)):
        return None
    _, images, masks = next((p for p in places if p[0] == "train"), places[0])
    flat = _folders(root)
    return "it holds {}/ and {}/".format(*(flat or (images, masks)))


def find(root: Path) -> Layout:
    """Pair pictures and masks by name; files without a partner become faults."""
    layout = Layout(root)
    if not root.is_dir():
        layout.faults.append(f"no such folder: {root}")
        return layout
    layout.classes = class_names(layout)
    if not (places := _places(root)):
        rule = "an empty folder" if not any(root.iterdir()) else "missing"
        there = {name.casefold() for name in subfolders(root)}
        absent = [k[0] for k in (_IMAGES, _MASKS) if not there & {*k}]
        no = "/ and no ".join(absent or _MASKS[:1])
        layout.faults.append(f"{rule}: {root} must hold images/ and masks/; there is no {no}/")
        return layout
    _read_places(layout, places)
    if not layout.samples and not layout.faults:
        kinds = ", ".join(SUFFIXES)
        layout.faults.append(f"an empty folder: no pictures ({kinds}) in {root / places[0][1]}")
    use_table(layout)
    return layout


def _places(root: Path) -> list[Place]:
    """The folders of each split, or of the whole; none if the layout is another."""
    names = subfolders(root)
    if kinds := _folders(root):
        images, masks = kinds
        inside = _inside(root, kinds)
        if any(map(split_of, inside)):  # train2017/, too: a fault names it
            return [(name, f"{images}/{name}", f"{masks}/{name}") for name in inside]
        return [("", images, masks)]
    inner = {name: kinds for name in names if (kinds := _folders(root / name))}
    if any(name.lower() in SPLIT_NAMES for name in inner):
        bare = [n for n in names if n.lower() in SPLIT_NAMES and n not in inner]
        inner |= dict.fromkeys(bare, (_IMAGES[0], _MASKS[0]))
        if manual := next((kinds[1] for kinds in inner.values() if kinds[1] in _MANUAL), None):
            inner = {name: (images, manual) for name, (images, _) in inner.items()}
        return [
            (name, f"{name}/{kinds[0]}", f"{name}/{kinds[1]}") for name, kinds in inner.items()
        ]
    return _beside(root, names)


def _inside(root: Path, kinds: tuple[str, str]) -> list[str]:
    """The names of the folders in those of pictures and masks."""
    return sorted({name for kind in kinds for name in subfolders(root / kind)})


def _beside(root: Path, names: list[str]) -> list[Place]:
    """The folders of splits named by two words, as train_images/ and train_masks/, or by one for
    the pictures, as train/ and train_masks/.
    """
    found: dict[str, dict[bool, str]] = defaultdict(dict)  # by split, and whether it holds masks
    for name in names:
        words = re.split("[_ -]+", name.lower())
        rest = [word for word in words if word not in (*_IMAGES, *_MASKS, *_LABELS)]
        is_masks = any(word in (*_MASKS, *_LABELS) for word in words)
        if len(rest) == 1 and (not is_masks or _holds_pictures(root / name)):
            found[rest[0]][is_masks] = name
    if not any(split in SPLIT_NAMES and len(of) == 2 for split, of in found.items()):
        return []
    return [
        (split, of.get(False, split), of.get(True, f"{split}{_BEHIND}"))
        for split, of in found.items()
        if len(of) == 2 or split in SPLIT_NAMES
    ]


def _folders(folder: Path) -> tuple[str, str] | None:
    """The names of the folders of pictures and of masks; None without both."""
    there = {name.casefold(): name for name in subfolders(folder)}
    labels = [name for name in _LABELS if _holds_pictures(folder / there.get(name, name))]
    kinds = (_IMAGES, (*_MANUAL, *_MASKS, *labels))
    found = [next((there[name] for name in kind if name in there), None) for kind in kinds]
    return (found[0], found[1]) if found[0] and found[1] else None


def _holds_pictures(folder: Path) -> bool:
    paths = islice(visible_files(folder), _FILES_TRIED)
    return any(path.suffix.lower() in SUFFIXES for path in paths)


def _read_places(layout: Layout, places: Sequence[Place]) -> None:
    """Add the pairs of each split; folders that are no split, or one twice, become faults."""
    by_split: dict[str, list[Place]] = defaultdict(list)
    strange: list[str] = []
    for place in places:
        if place[0] and place[0].lower() not in SPLIT_NAMES:
            strange.append(repr(place[0]))
        else:
            by_split[SPLIT_NAMES.get(place[0].lower(), "")].append(place)
    if strange:
        rule = f"folders that are no split: {listed(strange)}: splits are named {KNOWN_SPLITS}"
        layout.faults.append(rule)
    for split, same in by_split.items():
        if len(same) > 1:
            names = " and ".join(repr(name) for name, _, _ in same)
            layout.faults.append(f"folders {names} are both {split}: keep one of them")
        for _, images, masks in same[:1]:
            if (samples := _pairs(layout, split, images, masks)) is not None:
                layout.by_split[split] = samples
    if "" in by_split and (inside := _inside(layout.root, places[0][1:])):
        told = f"the folders in {places[0][1]}/ are no splits and are read together"
        names = listed([f"{name}/" for name in inside])
        layout.warnings.append(f"{told}: {names}; splits are named {KNOWN_SPLITS}")
    _note_spare(layout, places)
    if "" not in by_split:
        _note_stray(layout, {Path(images).parent for _, images, _ in places})


def _note_spare(layout: Layout, places: Sequence[Place]) -> None:
    """Folders named as splits, or as those of masks, that are not read are a warning."""
    used = {Path(folder) for place in places for folder in place[1:]}
    used |= {above for folder in used for above in folder.parents}
    spare = [Path(name) for name in subfolders(layout.root) if name.lower() in SPLIT_NAMES]
    for folder in sorted({Path(masks).parent for _, _, masks in places}):
        names = subfolders(layout.root / folder)
        kinds = [name for name in names if name.lower() in (*_MANUAL, *_MASKS, *_LABELS)]
        spare += [folder / n for n in kinds if _holds_pictures(layout.root / folder / n)]
    if left := [f"{folder.as_posix()}/" for folder in spare if folder not in used]:
        layout.warnings.append(f"beside {places[0][1]}/, not read: {listed(left)}")


def _note_stray(layout: Layout, folders: Iterable[Path]) -> None:
    """Pictures beside the folders of splits are in no split: a fault."""
    found = Layout(layout.root)
    for folder in sorted(folders):
        if stray := picture_files(found, layout.root / folder, deep=False):
            where = f"{folder.as_posix()}/" if folder.name else "the data folder"
            names = listed(list(stray))
            told = f"{where} holds pictures beside the folders of splits: {names}"
            layout.faults.append(f"{told}: move them into a split, or away")


def _pairs(layout: Layout, split: str, images: str, masks: str) -> list[Sample] | None:
    """The pairs of two folders; None for a test split without masks, which is left out."""
    if not (layout.root / images).is_dir():
        layout.faults.append(f"missing folder {images}/")
        return None
    pictures = picture_files(layout, layout.root / images)
    there = (layout.root / masks).is_dir()
    labels = picture_files(layout, layout.root / masks) if there else {}
    if split == "test" and pictures and not labels:
        told = f"test: none of the {len(pictures)} pictures in {images}/ has a mask in {masks}/"
        layout.warnings.append(f"{told}: left out")
        return None
    if not there:
        layout.faults.append(f"missing folder {masks}/")
        return None
    return pairs(layout, pictures, labels, f"{images} and {masks}")
