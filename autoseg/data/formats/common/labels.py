"""Class names and class indices of annotation files."""

from __future__ import annotations

from collections.abc import Iterable

from autoseg.core.records import IGNORE_INDEX
from autoseg.data.layout import Layout, listed

BACKGROUND = "background"


def class_names(layout: Layout) -> tuple[str, ...]:
    """The lines of classes.txt; empty if there is none. Errors in it become faults."""
    path = layout.root / "classes.txt"
    if not path.is_file():
        return ()
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        layout.faults.append(f"classes.txt cannot be read: {error}")
        return ()
    names = tuple(line.strip() for line in text.splitlines() if line.strip())
    if not 2 <= len(names) <= IGNORE_INDEX:
        layout.faults.append(
            "classes.txt must name 2 to 255 classes, one a line, the background's first if there"
            f" is one; it names {len(names)}"
        )
        return ()
    if len(set(names)) < len(names):
        layout.faults.append("classes.txt names a class twice")
    return names


def class_order(layout: Layout, labels: Iterable[str]) -> tuple[str, ...]:
    """The classes by index: the lines of classes.txt if it exists, else the background and the
    labels in the given order. A label that classes.txt lacks becomes a fault.
    """
    wanted = [label for label in labels if label.casefold() != BACKGROUND]
    if names := class_names(layout):
        missing = [label for label in wanted if label not in names]
        if missing:
            layout.faults.append(f"labels that classes.txt does not name: {listed(missing)}")
        return names
    if len(wanted) >= IGNORE_INDEX:
        layout.faults.append(f"there may be at most 254 labels, got {len(wanted)}")
        return ()
    return (BACKGROUND, *wanted)


def class_index(classes: tuple[str, ...], label: str) -> int:
    """The index of a label; 255 (ignore) for a label without a class, which is a fault already."""
    if label in classes:
        return classes.index(label)
    return 0 if label.casefold() == BACKGROUND else IGNORE_INDEX
