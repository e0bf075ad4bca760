"""RailSem19: jpgs/rs19_val/*.jpg, uint8/rs19_val/*.png and rs19-config.json.

Source: Zendel et al., "RailSem19: A Dataset for Semantic Rail Scene Understanding" (CVPR workshops
2019), and the data set's own rs19-config.json, whose `labels` name the classes in the order of
their values; 255 is ignored. There is one folder, without splits.
"""

from __future__ import annotations

import json
from pathlib import Path

from autoseg.core.records import IGNORE_INDEX
from autoseg.data.formats.pairing import lacks, lines, pairs, pictures_below
from autoseg.data.layout import Found

NAMES = (
    "road", "sidewalk", "construction", "tram-track", "fence", "pole", "traffic-light",
    "traffic-sign", "vegetation", "terrain", "sky", "human", "rail-track", "car", "truck",
    "trackbed", "on-rails", "rail-raised", "rail-embedded",
)  # fmt: skip
_PICTURES, _MASKS, _CONFIG = "jpgs/rs19_val", "uint8/rs19_val", "rs19-config.json"


def recognize(root: Path) -> str | None:
    """Why `root` is of this format, in words; None if it is not."""
    if (root / _PICTURES).is_dir() and (root / _MASKS).is_dir():
        return f"it holds {_PICTURES}/ and {_MASKS}/"
    return None


def find(root: Path) -> Found:
    """Pair pictures and masks by stem; the names are those of rs19-config.json, if it is there."""
    found = Found(root)
    if lacks(found, (_PICTURES, _MASKS), "RailSem19"):
        return found
    images = pictures_below(found, root / _PICTURES)
    masks = pictures_below(found, root / _MASKS)
    found.by_split[""] = pairs(found, images, masks, "rs19_val")
    found.classes = _names(found)
    return found


def _names(found: Found) -> tuple[str, ...]:
    path = found.root / _CONFIG
    if not path.is_file():
        return NAMES
    faults = len(found.faults)
    try:
        names = tuple(
            label["name"] for label in json.loads("\n".join(lines(found, path)))["labels"]
        )
    except (ValueError, KeyError, TypeError, RecursionError):
        names = ()
    if 2 <= len(set(names)) == len(names) <= IGNORE_INDEX and all(
        isinstance(n, str) for n in names
    ):
        return names
    if len(found.faults) == faults:
        found.faults.append(f"{_CONFIG} must name each class once, under labels: name")
    return NAMES
