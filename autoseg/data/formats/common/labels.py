"""Class names and class indices of annotation files."""

from __future__ import annotations

from collections.abc import Iterable

from autoseg.core.records import IGNORE_INDEX
from autoseg.data.formats.common.files import lines
from autoseg.data.layout import Layout, listed

BACKGROUND = "background"
_NAME_FILES = ("classes.txt", "class_names.txt")
# The first lines of labelme's own lists: no class, and the background.
_LABELME_IGNORE, _LABELME_BACKGROUND = "__ignore__", "_background_"


def class_names(layout: Layout) -> tuple[str, ...]:
    """The lines of classes.txt, or of labelme's class_names.txt; empty if there is neither. Errors
    in it become faults.
    """
    files = (layout.root / name for name in _NAME_FILES)
    path = next((path for path in files if path.is_file()), None)
    if path is None:
        return ()
    known = len(layout.faults)
    given = lines(layout, path, comments=True)
    if len(layout.faults) > known:
        return ()
    if given[:1] == [_LABELME_IGNORE]:
        del given[0]
    names = tuple(BACKGROUND if name == _LABELME_BACKGROUND else name for name in given)
    if not 2 <= len(names) <= IGNORE_INDEX:
        layout.faults.append(
            f"{path.name} must name 2 to 255 classes, one a line, the background's first if there"
            f" is one; it names {len(names)}"
        )
        return ()
    if len(set(names)) < len(names):
        layout.faults.append(f"{path.name} names a class twice")
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
