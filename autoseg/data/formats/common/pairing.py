"""Pair pictures with masks, by file name or by lists, and sort the pairs into splits."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path

from autoseg.data.dataset import Sample
from autoseg.data.layout import Layout, listed

# The splits by the names that labelling tools give them.
SPLIT_NAMES = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}


def pairs(
    layout: Layout, images: Mapping[str, Path], masks: Mapping[str, Path], where: str
) -> list[Sample]:
    """Pairs by name; a picture or mask without partner becomes a fault with the place `where`."""
    for kind, have, other, lack in (
        ("picture", images, "mask", masks),
        ("mask", masks, "picture", images),
    ):
        alone = [name for name in have if name not in lack]
        if alone:
            layout.faults.append(f"{where}: {kind}s without a {other}: {listed(alone)}")
    return paired(images, masks)


def paired(images: Mapping[str, Path], masks: Mapping[str, Path]) -> list[Sample]:
    """A sample for each picture that has a mask with its name."""
    return [_sample(name, images, masks) for name in images if name in masks]


def by_lists(
    layout: Layout,
    lists: Mapping[str, Iterable[str]],
    images: Mapping[str, Path],
    masks: Mapping[str, Path],
) -> dict[str, list[Sample]]:
    """The pairs by split, as lists of names give them.

    A split without any mask is left out with a warning, as public data sets keep the labels of
    their test split secret; otherwise a name without its picture or mask is a fault.
    """
    splits: dict[str, list[Sample]] = {}
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


def _sample(name: str, images: Mapping[str, Path], masks: Mapping[str, Path]) -> Sample:
    return Sample(name, name, str(images[name]), str(masks[name]))


def by_folders(layout: Layout, pairs: Mapping[Path, str]) -> dict[str, list[Sample]]:
    """Samples by the split after which a folder above the picture is named (train, valid …)."""
    splits: dict[str, list[tuple[Path, str]]] = defaultdict(list)
    for picture, mask in pairs.items():
        folder = picture.relative_to(layout.root).parent.as_posix()
        splits[split_of(folder)].append((picture, mask))
    return named_splits(layout, splits)


def named_splits(
    layout: Layout, splits: dict[str, list[tuple[Path, str]]]
) -> dict[str, list[Sample]]:
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


def _with_stems(root: Path, pairs: list[tuple[Path, str]]) -> list[Sample]:
    """Samples of (picture, mask), sorted; pictures that share a stem get paths as stems."""
    used = Counter(picture.stem for picture, _ in pairs)
    samples = []
    for picture, mask in sorted(pairs):
        stem = picture.stem
        if used[stem] > 1:
            stem = picture.relative_to(root).with_suffix("").as_posix()
        samples.append(Sample(stem, stem, str(picture), mask))
    return samples
