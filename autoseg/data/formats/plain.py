"""The plain layout: images/ and masks/ with the same stems, in split folders or not; or split
folders with images/ and masks/ in each.
"""

from __future__ import annotations

from pathlib import Path

from autoseg.core.records import IGNORE_INDEX
from autoseg.data.dataset import SPLITS, Sample
from autoseg.data.formats.pairing import pictures_below
from autoseg.data.layout import Found
from autoseg.data.pictures import SUFFIXES

_KINDS = ("images", "masks")


def recognize(root: Path) -> str | None:
    """Why `root` is of this format, in words; None if it is not."""
    if _has_both(root):
        return "it holds images/ and masks/"
    if _has_both(root / "train"):
        return "it holds train/images/ and train/masks/"
    return None


def _has_both(folder: Path) -> bool:
    return (folder / "images").is_dir() and (folder / "masks").is_dir()


def find(root: Path) -> Found:
    """Pair pictures and masks by stem, in split folders or in one folder; what does not fit
    becomes a fault.
    """
    found = Found(root)
    if not root.is_dir():
        found.faults.append(f"no such folder: {root}")
        return found
    found.classes = class_names(found)
    if not _has_both(root) and _has_both(root / "train"):
        for split in (s for s in SPLITS if (root / s).is_dir()):
            found.by_split[split] = _pairs(found, f"{split}/images", f"{split}/masks")
        return found
    missing = [name for name in ("images", "masks") if not (root / name).is_dir()]
    if missing:
        empty = "an empty folder" if not any(root.iterdir()) else "missing"
        found.faults += [
            f"{empty}: {root} must hold images/ and masks/; there is no {name}/"
            for name in missing
        ]
        return found
    for split in _splits(found) or [""]:
        found.by_split[split] = _pairs(found, *(Path(k, split).as_posix() for k in _KINDS))
    if not any(found.by_split.values()) and not found.faults:
        found.faults.append(
            f"an empty folder: no pictures ({', '.join(SUFFIXES)}) in {root / 'images'}"
        )
    return found


def _splits(found: Found) -> list[str]:
    """The split folders in either folder; others become faults."""
    folders = sorted(
        {p.name for kind in _KINDS for p in (found.root / kind).iterdir() if p.is_dir()}
    )
    shown = [name for name in folders if not name.startswith(".")]
    found.faults += [
        f"unknown folder {name!r} in images/ or masks/: the splits are named train, val and test"
        for name in shown
        if name not in SPLITS
    ]
    return [split for split in SPLITS if split in shown]


def _pairs(found: Found, image_folder: str, mask_folder: str) -> list[Sample]:
    images = _files(found, image_folder)
    masks = _files(found, mask_folder)
    for kind, have, lack, folder in (
        ("mask", images, masks, mask_folder),
        ("image", masks, images, image_folder),
    ):
        found.faults += [
            f"{path.relative_to(found.root).as_posix()} has no {kind} {folder}/{stem}.*"
            for stem, path in have.items()
            if stem not in lack
        ]
    return [
        Sample(stem, stem, str(images[stem]), str(masks[stem])) for stem in images if stem in masks
    ]


def _files(found: Found, name: str) -> dict[str, Path]:
    if not (found.root / name).is_dir():
        found.faults.append(f"missing folder {name}/")
        return {}
    return pictures_below(found, found.root / name, deep=False)


def class_names(found: Found) -> tuple[str, ...]:
    """The lines of classes.txt; empty where there is none. What is wrong becomes a fault."""
    path = found.root / "classes.txt"
    if not path.is_file():
        return ()
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        found.faults.append(f"classes.txt cannot be read: {error}")
        return ()
    names = tuple(line.strip() for line in text.splitlines() if line.strip())
    if not 2 <= len(names) <= IGNORE_INDEX:
        found.faults.append(
            f"classes.txt must name 2 to 255 classes, one a line, the background's first if there"
            f" is one; it names {len(names)}"
        )
        return ()
    if len(set(names)) < len(names):
        found.faults.append("classes.txt names a class twice")
    return names
