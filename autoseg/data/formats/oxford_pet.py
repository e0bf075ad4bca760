"""Oxford-IIIT Pet: images/NAME.jpg, annotations/trimaps/NAME.png, and lists of the splits.

Source: www.robots.ox.ac.uk/~vgg/data/pets and its annotations/README: 1 = foreground (the pet),
2 = background, 3 = not classified (a border that is a few pixels wide).
"""

from __future__ import annotations

from pathlib import Path

from autoseg.core.records import IGNORE_INDEX
from autoseg.data.dataset import BACKGROUND
from autoseg.data.formats.common.files import holds, lacks, lines, picture_files
from autoseg.data.formats.common.pairing import by_lists, pairs
from autoseg.data.layout import Layout, class_values

_PICTURES, _TRIMAPS = "images", "annotations/trimaps"
_LISTS = {"train": "annotations/trainval.txt", "test": "annotations/test.txt"}
_CLASSES = (BACKGROUND, "pet")
_PET, _BACKGROUND, _BORDER = 1, 2, 3


def recognize(root: Path) -> str | None:
    return holds(root, _PICTURES, _TRIMAPS)


def find(root: Path) -> Layout:
    """Pair pictures and trimaps by the lists; without trainval.txt, by name."""
    values = class_values({_PET: 1, _BACKGROUND: 0, _BORDER: IGNORE_INDEX}, len(_CLASSES))
    layout = Layout(root, classes=_CLASSES, values=values)
    if lacks(layout, (_PICTURES, _TRIMAPS), "Oxford-IIIT Pet"):
        return layout
    images = picture_files(layout, root / _PICTURES)
    trimaps = picture_files(layout, root / _TRIMAPS)
    # A line is "NAME CLASS-ID SPECIES BREED-ID".
    lists = {
        split: [line.split()[0] for line in lines(layout, root / path)]
        for split, path in _LISTS.items()
        if (root / path).is_file()
    }
    if "train" in lists:
        layout.by_split = by_lists(layout, lists, images, trimaps)
    else:
        layout.by_split[""] = pairs(layout, images, trimaps, _TRIMAPS)
    return layout
