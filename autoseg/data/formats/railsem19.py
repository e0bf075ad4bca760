"""RailSem19: jpgs/rs19_val/*.jpg, uint8/rs19_val/*.png and rs19-config.json.

Source: Zendel et al., "RailSem19: A Dataset for Semantic Rail Scene Understanding" (CVPR workshops
2019), and the data set's own rs19-config.json, whose `labels` name the classes in the order of
their values; 255 is ignored. There is one folder, without splits.
"""

from __future__ import annotations

import json
from pathlib import Path

from autoseg.core.records import IGNORE_INDEX
from autoseg.data.formats.common.files import holds, lacks, picture_files, read_text
from autoseg.data.formats.common.pairing import pairs
from autoseg.data.layout import Layout

NAMES = (
    "road", "sidewalk", "construction", "tram-track", "fence", "pole", "traffic-light",
    "traffic-sign", "vegetation", "terrain", "sky", "human", "rail-track", "car", "truck",
    "trackbed", "on-rails", "rail-raised", "rail-embedded",
)  # fmt: skip
_PICTURES, _MASKS, _CONFIG = "jpgs/rs19_val", "uint8/rs19_val", "rs19-config.json"


def recognize(root: Path) -> str | None:
    return holds(root, _PICTURES, _MASKS)


def find(root: Path) -> Layout:
    """Pair pictures and masks by stem; class names are those of rs19-config.json, if it exists."""
    layout = Layout(root)
    if lacks(layout, (_PICTURES, _MASKS), "RailSem19"):
        return layout
    images = picture_files(layout, root / _PICTURES)
    masks = picture_files(layout, root / _MASKS)
    layout.by_split[""] = pairs(layout, images, masks, "rs19_val")
    layout.classes = _names(layout)
    return layout


def _names(layout: Layout) -> tuple[str, ...]:
    path = layout.root / _CONFIG
    if not path.is_file() or (text := read_text(layout, path)) is None:
        return NAMES
    try:
        names = tuple(label["name"] for label in json.loads(text)["labels"])
        if 2 <= len(set(names)) == len(names) <= IGNORE_INDEX and {*map(type, names)} == {str}:
            return names
    except (ValueError, KeyError, TypeError, RecursionError):
        pass
    layout.faults.append(f"{_CONFIG} must name each class once, under labels: name")
    return NAMES
