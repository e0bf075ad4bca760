"""MMSegmentation: img_dir/ and ann_dir/, with a folder for each split or lists in splits/; or
images/ and annotations/ with training/ and validation/, as its tools convert DRIVE and others.

Source: github.com/open-mmlab/mmsegmentation 1.2, mmseg/datasets: basesegdataset.py, and the
suffixes of pictures and masks in the other files there; tools/dataset_converters.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from autoseg.data.formats.common.colour_masks import use_table
from autoseg.data.formats.common.files import (
    class_names,
    files_with,
    holds,
    lacks,
    lines,
    picture_files,
    subfolders,
)
from autoseg.data.formats.common.pairing import KNOWN_SPLITS, SPLIT_NAMES, by_lists, pairs
from autoseg.data.layout import Layout, listed
from autoseg.data.pictures import under

_USUAL, _CONVERTED = ("img_dir", "ann_dir"), ("images", "annotations")
_CONVERTED_SPLITS = ("training", "validation")
_NO_SUFFIXES = ("", "")
# `img_suffix` and `seg_map_suffix` without file types: the more specific ones first.
_SUFFIXES = (
    ("_leftImg8bit", "_gtFine_labelTrainIds"),
    ("_leftImg8bit", "_labelTrainIds"),
    ("_rgb_anon", "_gt_labelTrainIds"),
    ("", "_labelTrainIds"),
    ("", "_instance_color_RGB"),
    ("", "_1stHO"),
    ("", "_manual1"),
    ("", ".ah"),
    _NO_SUFFIXES,
)
_ZERO = (
    "0 is a class, as with reduce_zero_label=False (the files do not say which of the two holds);"
    " if your configuration sets reduce_zero_label=True, drop it with --remap (`ignore: [0]`)"
)


def recognize(root: Path) -> str | None:
    return holds(root, *_USUAL) or _holds_converted(root)


def _holds_converted(root: Path) -> str | None:
    folders = [f"{kind}/{split}" for kind in _CONVERTED for split in _CONVERTED_SPLITS]
    why = holds(root, *folders)
    return why if why and picture_files(Layout(root), root / folders[-1]) else None


def find(root: Path) -> Layout:
    """Pair pictures and masks of each split; files without a partner become faults."""
    layout = Layout(root)
    kinds = _CONVERTED if _holds_converted(root) else _USUAL
    if lacks(layout, kinds, "MMSegmentation"):
        return layout
    names = sorted({name for kind in kinds for name in subfolders(root / kind)})
    splits = [name for name in names if name.lower() in SPLIT_NAMES]
    others = [name for name in names if name not in splits]
    if splits and others:
        layout.faults.append(
            f"folders beside those of splits: {listed(others)}; splits are named {KNOWN_SPLITS}"
        )
    for name in splits:
        images, masks = _files(layout, kinds, name)
        split = SPLIT_NAMES[name.lower()]
        if images and not masks:
            layout.warnings.append(
                f"{name}: none of its {len(images)} pictures has a mask: left out"
            )
        else:
            layout.by_split.setdefault(split, []).extend(pairs(layout, images, masks, name))
    if not splits:
        _by_lists(layout, kinds)
    layout.classes = class_names(layout)
    if not use_table(layout):
        layout.notes[0] = _ZERO
    return layout


def _by_lists(layout: Layout, kinds: tuple[str, str]) -> None:
    """Sort pictures without split folders by the lists in splits/, if there are any."""
    images, masks = _files(layout, kinds, "")
    lists = {
        SPLIT_NAMES[path.stem.lower()]: lines(layout, path)
        for path in files_with(layout.root / "splits", ".txt")
        if path.stem.lower() in SPLIT_NAMES
    }
    if lists:
        layout.by_split = by_lists(layout, lists, images, masks)
    else:
        layout.by_split[""] = pairs(layout, images, masks, kinds[0])


def _files(
    layout: Layout, kinds: tuple[str, str], split: str
) -> tuple[dict[str, Path], dict[str, Path]]:
    """Pictures and masks by names without the suffixes of the convention that pairs most."""
    images, masks = (picture_files(layout, layout.root / kind / split) for kind in kinds)
    found = {
        ends: _cut(images, ends[0]).keys() & _cut(masks, ends[1]).keys() for ends in _SUFFIXES
    }
    best = max(_SUFFIXES, key=lambda ends: len(found[ends]))
    of_picture, of_mask = best if found[best] else _NO_SUFFIXES
    used = _cut(masks, of_mask)
    others = [under(layout.root, str(masks[name])) for name in masks if not name.endswith(of_mask)]
    if others:
        layout.warnings.append(
            f"masks that do not end with {of_mask} are not used: {listed(others)}"
        )
    return _cut(images, of_picture), used


def _cut(files: Mapping[str, Path], ending: str) -> dict[str, Path]:
    """The files whose names have an ending, by names without it."""
    return {n.removesuffix(ending): path for n, path in files.items() if n.endswith(ending)}
