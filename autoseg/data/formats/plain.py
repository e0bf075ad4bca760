"""The plain layout: images/ (or imgs/) and masks/ with the same stems, in split folders or not; or
split folders with images/ and masks/ in each. A table of colours beside them (class_dict.csv,
labelmap.txt, label_colors.txt) gives the classes of masks that show colours.
"""

from __future__ import annotations

from pathlib import Path

from autoseg.data.dataset import SPLITS, Sample
from autoseg.data.formats.common.colour_masks import use_table
from autoseg.data.formats.common.files import class_names, holds, picture_files
from autoseg.data.formats.common.pairing import paired
from autoseg.data.layout import Layout
from autoseg.data.pictures import SUFFIXES

_IMAGES, _MASKS = ("images", "imgs"), "masks"


def recognize(root: Path) -> str | None:
    train = (f"train/{name}" for name in _folders(root / "train"))
    return holds(root, *_folders(root)) or holds(root, *train)


def find(root: Path) -> Layout:
    """Pair pictures and masks by stem; files without a partner become faults."""
    layout = _paired_layout(root)
    use_table(layout)
    return layout


def _folders(folder: Path) -> tuple[str, str]:
    """The names of the folders of pictures and of masks."""
    images = next((name for name in _IMAGES if (folder / name).is_dir()), _IMAGES[0])
    return images, _MASKS


def _paired_layout(root: Path) -> Layout:
    layout = Layout(root)
    if not root.is_dir():
        layout.faults.append(f"no such folder: {root}")
        return layout
    layout.classes = class_names(layout)
    if not holds(root, *_folders(root)) and holds(root / "train", *_folders(root / "train")):
        for split in (s for s in SPLITS if (root / s).is_dir()):
            folders = (f"{split}/{name}" for name in _folders(root / split))
            layout.by_split[split] = _pairs(layout, *folders)
        return layout
    if missing := [name for name in _folders(root) if not (root / name).is_dir()]:
        empty = "an empty folder" if not any(root.iterdir()) else "missing"
        rule = f"{empty}: {root} must hold images/ and masks/; there is no"
        layout.faults += [f"{rule} {name}/" for name in missing]
        return layout
    for split in _splits(layout) or [""]:
        layout.by_split[split] = _pairs(
            layout, *(Path(k, split).as_posix() for k in _folders(root))
        )
    if not layout.samples and not layout.faults:
        kinds = ", ".join(SUFFIXES)
        layout.faults.append(f"an empty folder: no pictures ({kinds}) in {root / 'images'}")
    return layout


def _splits(layout: Layout) -> list[str]:
    """The split folders in either folder; others become faults."""
    kinds = (layout.root / name for name in _folders(layout.root))
    folders = {path.name for kind in kinds for path in kind.iterdir() if path.is_dir()}
    shown = sorted(name for name in folders if not name.startswith("."))
    rule = "the splits are named train, val and test"
    strange = [name for name in shown if name not in SPLITS]
    layout.faults += [f"unknown folder {name!r} in images/ or masks/: {rule}" for name in strange]
    return [split for split in SPLITS if split in shown]


def _pairs(layout: Layout, image_folder: str, mask_folder: str) -> list[Sample]:
    images = _files(layout, image_folder)
    masks = _files(layout, mask_folder)
    for kind, have, lack, folder in (
        ("mask", images, masks, mask_folder),
        ("image", masks, images, image_folder),
    ):
        layout.faults += [
            f"{path.relative_to(layout.root).as_posix()} has no {kind} {folder}/{stem}.*"
            for stem, path in have.items()
            if stem not in lack
        ]
    return paired(images, masks)


def _files(layout: Layout, name: str) -> dict[str, Path]:
    if not (layout.root / name).is_dir():
        layout.faults.append(f"missing folder {name}/")
        return {}
    return picture_files(layout, layout.root / name, deep=False)
