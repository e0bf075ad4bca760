"""The plain layout: images/ and masks/ with the same stems, in split folders or not."""

from __future__ import annotations

from pathlib import Path

from autoseg.data.dataset import SPLITS, Sample
from autoseg.data.layout import Found, listed
from autoseg.data.pictures import SUFFIXES
from autoseg.records import IGNORE_INDEX


def recognize(root: Path) -> str | None:
    """Why `root` is of this format, in words; None if it is not."""
    if (root / "images").is_dir() and (root / "masks").is_dir():
        return "it holds images/ and masks/"
    return None


def find(root: Path) -> Found:
    """Pair pictures and masks by stem, in split folders or in one folder; what does not fit
    becomes a fault.
    """
    found = Found(root)
    if not root.is_dir():
        found.faults.append(f"no such folder: {root}")
        return found
    found.classes = class_names(found)
    missing = [name for name in ("images", "masks") if not (root / name).is_dir()]
    if missing:
        empty = "an empty folder" if not any(root.iterdir()) else "missing"
        found.faults += [
            f"{empty}: {root} must hold images/ and masks/; there is no {name}/"
            for name in missing
        ]
        return found
    folders = sorted(
        {p.name for kind in ("images", "masks") for p in (root / kind).iterdir() if p.is_dir()}
    )
    shown = [name for name in folders if not name.startswith(".")]
    found.faults += [
        f"unknown folder {name!r} in images/ or masks/: the splits are named train, val and test"
        for name in shown
        if name not in SPLITS
    ]
    for split in [s for s in SPLITS if s in shown] or [""]:
        found.by_split[split] = _pairs(found, split)
    if not any(found.by_split.values()) and not found.faults:
        found.faults.append(
            f"an empty folder: no pictures ({', '.join(SUFFIXES)}) in {root / 'images'}"
        )
    return found


def _pairs(found: Found, split: str) -> list[Sample]:
    images = _files(found, "images", split)
    masks = _files(found, "masks", split)
    for kind, have, lack in (("mask", images, masks), ("image", masks, images)):
        folder = Path(kind + "s", split).as_posix()
        found.faults += [
            f"{path.relative_to(found.root).as_posix()} has no {kind} {folder}/{stem}.*"
            for stem, path in have.items()
            if stem not in lack
        ]
    return [
        Sample(stem, stem, str(images[stem]), str(masks[stem])) for stem in images if stem in masks
    ]


def _files(found: Found, kind: str, split: str) -> dict[str, Path]:
    """Picture files by stem, in the order of their names."""
    folder = found.root / kind / split
    if not folder.is_dir():
        found.faults.append(f"missing folder {Path(kind, split).as_posix()}/")
        return {}
    by_stem: dict[str, Path] = {}
    others: list[str] = []
    for path in sorted(p for p in folder.iterdir() if p.is_file() and p.name[0] != "."):
        if path.suffix.lower() not in SUFFIXES:
            others.append(path.name)
        elif path.stem in by_stem:
            found.faults.append(
                f"{folder.relative_to(found.root).as_posix()}: {by_stem[path.stem].name} and"
                f" {path.name} have one stem; keep one of them"
            )
        else:
            by_stem[path.stem] = path
    if others:
        found.warnings.append(
            f"{Path(kind, split).as_posix()}: not pictures, ignored: {listed(others)}"
        )
    return by_stem


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
