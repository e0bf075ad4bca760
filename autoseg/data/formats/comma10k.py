"""comma10k: imgs/ and masks/, whose masks show five classes by colour.

Source: github.com/commaai/comma10k, README ("Categories of internal segnet"; pictures whose names
end with "9.png" are for validation).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from autoseg.core.errors import InputError
from autoseg.data.formats.common.colour_masks import ColourTable, find_table, set_classes
from autoseg.data.formats.common.files import holds, lacks, picture_files, visible_files
from autoseg.data.formats.common.pairing import pairs
from autoseg.data.layout import Layout
from autoseg.data.pictures import read_picture

COLOURS = {
    "road": (64, 32, 32), "lane markings": (255, 0, 0), "undrivable": (128, 128, 96),
    "movable": (0, 255, 102), "my car": (204, 0, 255),
}  # fmt: skip
_PICTURES, _MASKS = "imgs", "masks"
_OTHERS = ("imgs2", "imgsd")
_IN_VAL = "9"


def recognize(root: Path) -> str | None:
    if not holds(root, _PICTURES, _MASKS) or find_table(root):
        return None
    first = next((p for p in visible_files(root / _MASKS) if p.suffix.lower() == ".png"), None)
    if first is None or not _has_colours(first):
        return None
    return f"it holds {_PICTURES}/ and {_MASKS}/ in the colours of comma10k"


def find(root: Path) -> Layout:
    """Pair pictures and masks; files without a partner become faults."""
    layout = Layout(root)
    if lacks(layout, (_PICTURES, _MASKS), "comma10k"):
        return layout
    images, masks = (picture_files(layout, root / folder) for folder in (_PICTURES, _MASKS))
    samples = pairs(layout, images, masks, _PICTURES)
    val = [sample for sample in samples if sample.stem.endswith(_IN_VAL)]
    train = [sample for sample in samples if not sample.stem.endswith(_IN_VAL)]
    layout.by_split = {"train": train, "val": val} if val else {"": train}
    if others := [f"{name}/" for name in _OTHERS if (root / name).is_dir()]:
        layout.warnings.append(f"pictures of other cameras are not read: {', '.join(others)}")
    set_classes(
        layout, ColourTable(tuple(COLOURS), tuple(COLOURS.values()), "the colours of comma10k")
    )
    return layout


def _has_colours(mask: Path) -> bool:
    """Whether a mask has two colours or more, and all are those of comma10k."""
    try:
        pixels = read_picture(mask)
    except InputError:  # the inspection of all files reports it
        return False
    found = set(map(tuple, np.unique(pixels.reshape(-1, 3), axis=0).tolist()))
    return len(found) > 1 and found <= set(COLOURS.values())
