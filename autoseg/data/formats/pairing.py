"""What several readers share: picture files by name, the lists of splits, and text files."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from autoseg.data.dataset import Sample
from autoseg.data.layout import Found, listed
from autoseg.data.pictures import SUFFIXES, under

# What labelling tools call the splits.
SPLIT_NAMES = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}
# Lists of a million names fit; more is no list, and is not read into memory.
MAX_TEXT_BYTES = 64 * 2**20


def pictures_below(found: Found, folder: Path, *, deep: bool = True) -> dict[str, Path]:
    """Picture files by their path below `folder` without its suffix, sorted; with `deep` those in
    folders below it too.

    Two files of one name and links that lead nowhere become faults, other files a warning. Links
    to folders are not followed.
    """
    by_name: dict[str, Path] = {}
    others: list[str] = []
    for path in _files(folder, deep=deep):
        name = path.relative_to(folder).with_suffix("").as_posix()
        if path.suffix.lower() not in SUFFIXES:
            others.append(path.name)
        elif not path.is_file():
            found.faults.append(f"{under(found.root, str(path))} is no file that can be read")
        elif name in by_name:
            found.faults.append(
                f"{under(found.root, str(folder))}: {by_name[name].name} and {path.name} have one"
                " stem; keep one of them"
            )
        else:
            by_name[name] = path
    if others:
        found.warnings.append(
            f"{under(found.root, str(folder))}: not pictures, ignored: {listed(others)}"
        )
    return by_name


def _files(folder: Path, *, deep: bool) -> Iterable[Path]:
    """What is no folder, sorted, without what begins with a dot."""
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(f for f in folders if deep and not f.startswith("."))
        yield from (Path(place, name) for name in sorted(names) if not name.startswith("."))


def by_lists(
    found: Found,
    lists: Mapping[str, Iterable[str]],
    images: Mapping[str, Path],
    masks: Mapping[str, Path],
) -> dict[str, list[Sample]]:
    """The pairs that lists of names give, by split.

    A split without any mask is left out with a warning, as public sets keep the labels of their
    test split; otherwise a name without its picture or mask is a fault.
    """
    splits: dict[str, list[Sample]] = {}
    for split, listed_names in lists.items():
        names = list(dict.fromkeys(listed_names))
        if names and not any(name in masks for name in names):
            found.warnings.append(
                f"{split}: none of its {len(names)} pictures has a mask: left out"
            )
            continue
        for kind, there in (("picture", images), ("mask", masks)):
            absent = [name for name in names if name not in there]
            if absent:
                found.faults.append(f"{split}: listed names without a {kind}: {listed(absent)}")
        splits[split] = [
            Sample(name, name, str(images[name]), str(masks[name]))
            for name in names
            if name in images and name in masks
        ]
    return splits


def pairs(
    found: Found, images: Mapping[str, Path], masks: Mapping[str, Path], where: str
) -> list[Sample]:
    """The pairs of one name; what has no other half becomes a fault that says `where`."""
    for kind, have, other, lack in (
        ("picture", images, "mask", masks),
        ("mask", masks, "picture", images),
    ):
        alone = [name for name in have if name not in lack]
        if alone:
            found.faults.append(f"{where}: {kind}s without a {other}: {listed(alone)}")
    return [Sample(n, n, str(images[n]), str(masks[n])) for n in images if n in masks]


def lines(found: Found, path: Path) -> list[str]:
    """The lines of a text file, stripped, without empty ones and comments (#); what is wrong
    becomes a fault.
    """
    name = under(found.root, str(path))
    try:
        if path.stat().st_size > MAX_TEXT_BYTES:
            found.faults.append(f"{name} is over {MAX_TEXT_BYTES // 2**20} MiB: that is no list")
            return []
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        found.faults.append(f"{name} cannot be read: {error}")
        return []
    stripped = (line.strip() for line in text.splitlines())
    return [line for line in stripped if line and not line.startswith("#")]


def lacks(found: Found, folders: Iterable[str], whose: str) -> bool:
    """Whether a folder of a format is missing, which is one fault."""
    missing = [name for name in folders if not (found.root / name).is_dir()]
    if missing:
        them = "it" if len(missing) == 1 else "them"
        no = "/ and no ".join(missing)
        found.faults.append(f"there is no {no}/, as {whose} has {them}")
    return bool(missing)
