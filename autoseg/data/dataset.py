"""Data sets: samples in splits, class names, a content digest, and a reader of pairs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Tuple  # noqa: UP035 (Python 3.8 in a bundle)

import numpy as np
import numpy.typing as npt

from autoseg.core.units import HW

Array = npt.NDArray[np.uint8]
SPLITS = ("train", "val", "test")
BACKGROUND = "background"
OBJECT = "object"  # the name of the only other class, where none is given
# The grey levels (low, high) of pictures of 16 bits that become 0 to 255.
GreyRange = Tuple[int, int]  # noqa: UP006
FULL_RANGE = (0, 65535)  # the upper 8 bits


@dataclass(frozen=True)
class Sample:
    """One picture and its mask (paths, or other references that the data set's `read` takes).

    Pictures of one `group` show the same thing: they stay in one split, and intervals are taken
    over groups. `content` is a digest of picture and mask at their inspection, `stratum` the
    rarest class in the mask, `hw` the size in pixels; they are empty without an inspection.
    """

    stem: str
    group: str
    image: str
    mask: str
    content: str = ""
    stratum: str = ""
    hw: HW = (0, 0)


@dataclass(frozen=True)
class Reading:
    """The user's options for reading a folder; None is detected, or not used.

    `format` is a name of `formats.FORMATS`, `remap` a YAML file that merges or drops classes,
    `split_column` and `group_column` are columns of index.csv, `group_pattern` is a regular
    expression on the picture's name, and `seed` is used to split a folder without splits.
    """

    format: str | None = None
    remap: str | None = None
    split_column: str | None = None
    group_column: str | None = None
    group_pattern: str | None = None
    seed: int = 0


Read = Callable[[Sample], tuple[Array, Array]]
Samples = Mapping[str, tuple[Sample, ...]]  # by split


@dataclass(frozen=True)
class Dataset:
    """Samples by split, and the function that reads one pair.

    A pair is a picture uint8 ``[H, W, 3]`` RGB and a mask uint8 ``[H, W]`` of class indices,
    255 = ignore.

    The first n samples of a split are a stratified subset for every n. `classes` are names by
    index (two or more), `val_classes` the indices of those in the truth of val (empty: all).
    `digest` changes with any content. `grey_range` is that of pictures of 16 bits. A data set can
    be pickled.
    """

    name: str
    classes: tuple[str, ...]
    splits: Samples
    digest: str
    read: Read
    val_classes: tuple[int, ...] = ()
    grey_range: GreyRange = FULL_RANGE

    @property
    def outputs(self) -> int:
        """Channels of a network's logits: one for two classes (a sigmoid), else one per class."""
        return 1 if len(self.classes) == 2 else len(self.classes)

    @property
    def scored(self) -> tuple[int, ...]:
        """The classes of which the IoU is the mean, on every split; see `scored_classes`."""
        return scored_classes(self.classes, self.val_classes)

    @property
    def iou_of(self) -> str:
        """Which IoU that is, for reports; see `iou_of`."""
        return iou_of(self.classes, self.val_classes)


def background_of(names: Iterable[str]) -> str | None:
    """The one name that means the background: "background", else it in another case. Of two that
    differ in case, as CVAT allows them, the other is a class of its own.
    """
    found = [name for name in names if name.casefold() == BACKGROUND]
    return BACKGROUND if BACKGROUND in found else next(iter(found), None)


def scored_classes(classes: Sequence[str], val_classes: Sequence[int] = ()) -> tuple[int, ...]:
    """The indices of the classes of which the IoU is the mean: the foreground alone where the
    truth of val holds exactly it and the background, else all classes that val's truth holds
    (without `val_classes`, all). Names that no pixel of val has change nothing.

    The background is the class of this name, else the first.
    """
    there = tuple(val_classes) or tuple(range(len(classes)))
    named = background_of(classes)
    background = 0 if named is None else classes.index(named)
    if len(there) == 2 and background in there:
        return tuple(one for one in there if one != background)
    return there


def iou_of(classes: Sequence[str], val_classes: Sequence[int] = ()) -> str:
    """Of which classes the IoU is, as a text: "crate, the foreground"."""
    scored = scored_classes(classes, val_classes)
    if len(scored) == 1:
        kind = "only class that val holds" if len(val_classes) == 1 else "foreground"
        return f"{classes[scored[0]]}, the {kind}"
    if len(scored) == len(classes):
        return f"{len(classes)} classes, their mean"
    return f"{len(scored)} of {len(classes)} classes, their mean: val holds no others"
