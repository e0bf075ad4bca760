"""Pair pictures with masks, by names, lists, or the paths in annotation files, and find splits."""

from __future__ import annotations

import os
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

from autoseg.core.errors import InputError
from autoseg.core.text import one_form
from autoseg.data.dataset import SPLITS, Array, Sample
from autoseg.data.formats.common.affixes import without_affixes
from autoseg.data.formats.common.files import class_order, visible_files
from autoseg.data.layout import Layout, Splits, listed
from autoseg.data.pictures import SUFFIXES

Files = Mapping[str, Path]
Pair = tuple[Path, str]  # a picture, and the reference of its mask
ReadLabelled = Callable[[tuple[str, ...], Sample], Array]  # with the classes by index
# The splits by the names that labelling tools give them.
SPLIT_NAMES = {
    **dict.fromkeys(("train", "training", "trainset"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "validate", "valset", "dev"), "val"),
    **dict.fromkeys(("test", "testing", "testset"), "test"),
}
KNOWN_SPLITS = "train (training), val (valid, validation, dev) and test (testing)"
# Label Studio's addresses hold the file in a query: /data/local-files/?d=…, /storage-data/…
# ?filepath=…
_SERVED = ("/data/", "/storage-data/")
_QUERIES = ("d", "filepath")
_UPLOAD_PREFIX = re.compile(r"^([0-9a-f]{8}-)+")


def pairs(layout: Layout, images: Files, masks: Files, where: str) -> list[Sample]:
    """Pairs by name; a picture or mask without partner becomes a fault with the place `where`.

    Where all masks have one more text before or behind the names of their pictures, as in
    ``car_mask.png``, it is left out, with a warning.
    """
    masks = without_affixes(layout, images, masks, where)
    for kind, have, other, lack in (
        ("picture", images, "mask", masks),
        ("mask", masks, "picture", images),
    ):
        if alone := [name for name in have if name not in lack]:
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
        names = list(dict.fromkeys(map(one_form, listed_names)))
        if names and not any(name in masks for name in names):
            told = f"none of its {len(names)} pictures has a mask"
            layout.warnings.append(f"{split}: {told}: left out")
            continue
        for kind, there in (("picture", images), ("mask", masks)):
            if absent := [name for name in names if name not in there]:
                layout.faults.append(f"{split}: listed names without a {kind}: {listed(absent)}")
        complete = (name for name in names if name in images and name in masks)
        splits[split] = [_sample(name, images, masks) for name in complete]
    return splits


def _sample(name: str, images: Files, masks: Files) -> Sample:
    return Sample(name, name, str(images[name]), str(masks[name]))


def group_by_name(layout: Layout, pattern: str) -> None:
    """Give each sample the group in its stem, if the pattern finds one there."""
    for split, samples in layout.by_split.items():
        found = [(sample, re.search(pattern, sample.stem)) for sample in samples]
        layout.by_split[split] = [replace(s, group=of[1]) if of else s for s, of in found]


def set_labelled(
    layout: Layout, pairs: Mapping[Path, str], labels: Iterable[str], read_mask: ReadLabelled
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
        if len(splits) == 2:
            name, count = next((split, len(of)) for split, of in splits.items() if split)
            told = f"{name} alone is named as a split, and {len(splits[''])} pictures are in none"
            layout.warnings.append(f"{told}: these and its {count} are split anew")
        return {"": _with_stems(layout.root, [pair for of in splits.values() for pair in of])}
    if lost := [picture.name for picture, _ in splits.pop("", ())]:
        layout.faults.append(f"in no folder of a split, as others are: {listed(sorted(lost))}")
    return {split: _with_stems(layout.root, pairs) for split, pairs in splits.items()}


def split_folders(layout: Layout, names: Iterable[str], where: str) -> dict[str, str]:
    """The folder of each split among the names in the folder `where`. Others are left out with a
    warning; two of one split become a fault.
    """
    by_split: dict[str, str] = {}
    others: list[str] = []
    for name in sorted(set(names)):
        split = SPLIT_NAMES.get(name.lower())
        if split is None:
            others.append(f"{name}/")
        elif split in by_split:
            both = f"folders {by_split[split]!r} and {name!r} in {where}"
            layout.faults.append(f"{both} are both {split}: keep one of them")
        else:
            by_split[split] = name
    if others:
        rule = f"splits are named {KNOWN_SPLITS}"
        layout.warnings.append(
            f"{where}: folders that are no split, ignored: {listed(others)}; {rule}"
        )
    return {split: by_split[split] for split in SPLITS if split in by_split}


def split_of(name: str) -> str:
    """The split that a file or folder is named after (valid/…, instances_train2017), else "".

    A folder with just the name of a split counts before one that has it among other words.
    """
    parts = re.split(r"[/\\]", name.lower())
    words = [*re.findall("[a-z]+", name.lower()), *parts]
    return next((SPLIT_NAMES[word] for word in reversed(words) if word in SPLIT_NAMES), "")


def _with_stems(root: Path, pairs: list[Pair]) -> list[Sample]:
    """Samples of (picture, mask), sorted; pictures that share a stem get paths as stems."""
    used = Counter(one_form(picture.stem) for picture, _ in pairs)
    samples = []
    for picture, mask in sorted(pairs):
        stem = one_form(picture.stem)
        if used[stem] > 1:
            stem = one_form(picture.relative_to(root).with_suffix("").as_posix())
        samples.append(Sample(stem, stem, str(picture), mask))
    return samples


class PictureIndex:
    """The pictures below a folder, by file name and by the name that an upload makes of it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.paths = [p for p in visible_files(root) if p.name.lower().endswith(SUFFIXES)]
        self._by_name: dict[str, list[Path]] = defaultdict(list)
        self._by_upload: dict[str, list[Path]] = defaultdict(list)
        for path in self.paths:
            name = _file_key(path.name)
            self._by_name[name].append(path)
            self._by_upload[_upload_name(name)].append(path)

    def find(self, reference: object, near: Path | None = None) -> Path | None:
        """The picture of a path or address: by its file name (its suffix in any case), then by the
        folders before it, then by its distance from the folder `near`. None if there is none.

        Raises InputError where several pictures match equally well.
        """
        parts = tuple(map(one_form, path_parts(reference)))
        if not parts:
            raise InputError(f"it names no picture, got {reference!r:.80}")
        name = _file_key(parts[-1])
        found = self._by_name.get(name) or self._uploaded(name)
        folders = () if near is None else near.parts
        ends = parts[-2::-1]
        matches = [
            (
                _common(_above(p), ends),
                _common(p.parts[:-1], folders),
                one_form(p.name) == parts[-1],
            )
            for p in found
        ]
        best = [p for p, match in zip(found, matches, strict=True) if match == max(matches)]
        if len(best) > 1:
            names = " and ".join(path.relative_to(self.root).as_posix() for path in best[:2])
            raise InputError(f"its picture {parts[-1]!r:.80} may be {names}")
        return best[0] if best else None

    def _uploaded(self, name: str) -> list[Path]:
        """The files that are an upload of a name, or that the name is an upload of: of two that
        begin with other digits (20240101-a.jpg and 20240102-a.jpg) neither is.
        """
        plain = _without_signs(name)
        others = self._by_upload.get(_upload_name(name), [])
        return [p for p in others if _ends_alike(_without_signs(_file_key(p.name)), plain)]


def _ends_alike(one: str, other: str) -> bool:
    return one.endswith(other) or other.endswith(one)


def _file_key(name: str) -> str:
    """A file name in one Unicode form, with its suffix in lower case."""
    stem, dot, suffix = one_form(name).rpartition(".")
    return f"{stem}{dot}{suffix.lower()}" if dot else suffix


def _above(path: Path) -> tuple[str, ...]:
    """The folders of a file in one Unicode form, the nearest first."""
    return tuple(map(one_form, path.parts[-2::-1]))


def path_parts(reference: object) -> tuple[str, ...]:
    """Folders and file name at the end of a path or address; empty if it is neither."""
    if not isinstance(reference, str):
        return ()
    path = reference
    if "://" in reference or reference.startswith(_SERVED):
        try:
            address = urlsplit(reference)
            query = parse_qs(address.query)
        except ValueError:
            return ()
        held = next((query[key][-1] for key in _QUERIES if key in query), None)
        path = unquote(address.path) if held is None else held
    return tuple(part for part in path.replace("\\", "/").split("/") if part not in ("", "."))


def _upload_name(name: str) -> str:
    """The name that Label Studio makes of an uploaded file: without the 8 digits before it (twice
    where its own file was uploaded), spaces as underscores, no other signs.
    """
    return _UPLOAD_PREFIX.sub("", _without_signs(name))


def _without_signs(name: str) -> str:
    return re.sub(r"[^\w.-]", "", name.replace(" ", "_"))


def _common(one: tuple[str, ...], other: tuple[str, ...]) -> int:
    """The number of equal parts at the beginning of two paths."""
    return len(os.path.commonprefix([one, other]))
