"""Pair pictures with masks, by file name or by lists, and sort the pairs into splits."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path

from autoseg.data.dataset import Array, Sample
from autoseg.data.formats.common.files import class_order
from autoseg.data.layout import Layout, Splits, listed

Files = Mapping[str, Path]
Pair = tuple[Path, str]  # a picture, and the reference of its mask
# The splits by the names that labelling tools give them.
SPLIT_NAMES = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}


def pairs(layout: Layout, images: Files, masks: Files, where: str) -> list[Sample]:
    """Pairs by name; a picture or mask without partner becomes a fault with the place `where`."""
    for kind, have, other, lack in (
        ("picture", images, "mask", masks),
        ("mask", masks, "picture", images),
    ):
        alone = [name for name in have if name not in lack]
        if alone:
            layout.faults.append(f"{where}: {kind}s without a {other}: {listed(alone)}")
    return paired(images, masks)


def paired(images: Files, masks: Files) -> list[Sample]:
    """A sample for each picture that has a mask with its name."""
    return [_sample(name, images, masks) for name in images if name in masks]


def by_lists(
    layout: Layout, lists: Mapping[str, Iterable[str]], images: Files, masks: Files
) -> Splits:
    """The pairs by split, as lists of names give them.

    A split without any mask is left out with a warning, as public data sets keep the labels of
    their test split secret; otherwise a name without its picture or mask is a fault.
    """
    splits: Splits = {}
    for split, listed_names in lists.items():
        names = list(dict.fromkeys(listed_names))
        if names and not any(name in masks for name in names):
            layout.warnings.append(
                f"{split}: none of its {len(names)} pictures has a mask: left out"
            )
            continue
        for kind, there in (("picture", images), ("mask", masks)):
            absent = [name for name in names if name not in there]
            if absent:
                layout.faults.append(f"{split}: listed names without a {kind}: {listed(absent)}")
        complete = (name for name in names if name in images and name in masks)
        splits[split] = [_sample(name, images, masks) for name in complete]
    return splits


def _sample(name: str, images: Files, masks: Files) -> Sample:
    return Sample(name, name, str(images[name]), str(masks[name]))


def set_labelled(
    layout: Layout,
    pairs: Mapping[Path, str],
    labels: Iterable[str],
    read_mask: Callable[[tuple[str, ...], Sample], Array],
) -> None:
    """Set the samples, the classes and the reader of masks where annotations name labels.

    A sample's split is the one after which a folder above its picture is named (train, valid …).
    """
    layout.classes = class_order(layout, sorted(labels))
    layout.read_mask = partial(read_mask, layout.classes)
    splits: dict[str, list[Pair]] = defaultdict(list)
    for picture, mask in pairs.items():
        folder = picture.relative_to(layout.root).parent.as_posix()
        splits[split_of(folder)].append((picture, mask))
    layout.by_split = named_splits(layout, splits)


def named_splits(layout: Layout, splits: dict[str, list[Pair]]) -> Splits:
    """Samples by split from pairs by split. One split alone counts as no split; pairs without a
    split beside pairs with one become a fault.
    """
    if len(splits.keys() - {""}) < 2:
        return {"": _with_stems(layout.root, [pair for of in splits.values() for pair in of])}
    if lost := [picture.name for picture, _ in splits.pop("", ())]:
        layout.faults.append(f"in no folder of a split, as others are: {listed(sorted(lost))}")
    return {split: _with_stems(layout.root, pairs) for split, pairs in splits.items()}


def split_of(name: str) -> str:
    """The split that a file or folder is named after (instances_train2017, valid/…), else ""."""
    words = re.findall("[a-z]+", name.lower())
    return next((SPLIT_NAMES[word] for word in reversed(words) if word in SPLIT_NAMES), "")


def _with_stems(root: Path, pairs: list[Pair]) -> list[Sample]:
    """Samples of (picture, mask), sorted; pictures that share a stem get paths as stems."""
    used = Counter(picture.stem for picture, _ in pairs)
    samples = []
    for picture, mask in sorted(pairs):
        stem = picture.stem
        if used[stem] > 1:
            stem = picture.relative_to(root).with_suffix("").as_posix()
        samples.append(Sample(stem, stem, str(picture), mask))
    return samples
