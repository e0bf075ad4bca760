"""IoU from class maps: confusion matrices, per-class and mean IoU, bootstrap; numpy only.

A confusion matrix is int64 ``[classes, classes]``: rows are the truth, columns the prediction. IoU
is a fraction 0..1, taken from one matrix over a whole split, each picture at its original size;
pixels of truth 255 are not counted.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from autoseg.core.errors import InputError
from autoseg.core.records import IGNORE_INDEX
from autoseg.data.resize import resize_mask

DRAWS = 100  # resamples of a bootstrap that are computed at a time

Map = npt.NDArray[np.uint8]
Counts = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


def confusion(prediction: Map, truth: Map, classes: int) -> Counts:
    """Count the pixels of each (truth, prediction) pair; both maps are uint8 ``[H, W]``.

    255 in the truth is skipped. Raises InputError for different sizes, and for a value that is no
    class index.
    """
    if prediction.shape != truth.shape:
        raise InputError(
            f"prediction and truth must have one size, got {prediction.shape} and {truth.shape}"
        )
    if prediction.size and int(prediction.max()) >= classes:
        raise InputError(
            f"a prediction must be below {classes} (the number of classes), got {prediction.max()}"
        )
    # One histogram with a row for each uint8 truth: faster than masking 255 out.
    cells = truth.astype(np.uint16) * np.uint16(classes) + prediction
    counts = np.bincount(cells.ravel(), minlength=(IGNORE_INDEX + 1) * classes)
    return counted(counts.reshape(IGNORE_INDEX + 1, classes), classes)


def counted(table: npt.NDArray[np.integer], classes: int) -> Counts:
    """The rows of classes from the counts ``[256, C]`` of every value that a truth may have.

    Raises InputError for a value that is no class index and not 255.
    """
    if table[classes:IGNORE_INDEX].any():
        illegal = classes + int(np.flatnonzero(table[classes:IGNORE_INDEX].any(axis=1))[0])
        raise InputError(
            f"a mask value must be below {classes} (the number of classes) or 255, got {illegal}"
        )
    return table[:classes].astype(np.int64)


def class_iou(confusion: Counts) -> tuple[float | None, ...]:
    """IoU of each class; None for a class that occurs in neither truth nor prediction."""
    ious, union = _ious(confusion)
    return tuple(float(one) if area else None for one, area in zip(ious, union, strict=True))


def iou(confusion: Counts, scored: Sequence[int]) -> float:
    """The mean IoU of the classes `scored` (`Dataset.scored`) that truth or prediction hold: one
    is the foreground's IoU.

    0 where there is nothing to compare: pictures that show nothing must not meet a floor.
    """
    return float(_mean_ious(confusion[None], scored)[0])


def pixel_accuracy(confusion: Counts) -> float:
    """The fraction of counted pixels whose class is right; 0 where none was counted."""
    total = int(confusion.sum())
    return float(np.trace(confusion)) / total if total else 0.0


def bootstrap_iou(
    confusions: Counts,
    groups: Sequence[str],
    scored: Sequence[int],
    *,
    seed: int = 0,
    n: int = 2000,
) -> Floats:
    """IoU of the classes `scored` in `n` resamples of whole groups, float64 ``[n]``.

    `confusions` are ``[N, C, C]`` and `groups` N names. Raises InputError for no pictures, or
    another number of groups than pictures. Source: cluster bootstrap (Davison and Hinkley, 1997,
    section 3.8).
    """
    if len(confusions) == 0 or len(groups) != len(confusions):
        raise InputError(
            f"a bootstrap needs one group a picture, got {len(groups)} for {len(confusions)}"
        )
    names, which = np.unique(np.asarray(groups), return_inverse=True)
    by_group = np.zeros((len(names), *confusions.shape[1:]), np.int64)
    np.add.at(by_group, which, confusions)
    rng = np.random.default_rng(seed)
    # float64 counts are exact up to 2**53 pixels and let the product run in BLAS.
    flat = by_group.reshape(len(names), -1).astype(np.float64)
    shares = np.full(len(names), 1 / len(names))
    resampled = []
    for start in range(0, n, DRAWS):  # all at once would be gigabytes for 100,000 pictures
        draws = rng.multinomial(len(names), shares, size=min(DRAWS, n - start))
        resampled.append(draws.astype(np.float64) @ flat)
    tables = np.concatenate(resampled).reshape(n, *confusions.shape[1:])
    return _mean_ious(tables, scored)


def ci95(samples: Floats) -> tuple[float, float]:
    """The 2.5 and 97.5 percentiles of bootstrap samples."""
    low, high = np.quantile(samples, (0.025, 0.975))
    return float(low), float(high)


def score_pictures(class_maps: Iterable[Map], truths: Sequence[Map], classes: int) -> Counts:
    """One confusion matrix a picture, int64 ``[N, C, C]``, at each truth's original size.

    Class maps are uint8 ``[H, W]`` of any size; each is resized by nearest neighbour. Raises
    InputError for another number of maps than truths.
    """
    tables = [
        confusion(resize_mask(class_map, truth.shape), truth, classes)
        for class_map, truth in zip(class_maps, truths, strict=False)
    ]
    if len(tables) != len(truths):
        raise InputError(f"scoring needs a class map a truth, got {len(tables)} of {len(truths)}")
    return np.stack(tables) if tables else np.zeros((0, classes, classes), np.int64)


def _ious(confusion: npt.NDArray[Any]) -> tuple[Floats, Floats]:
    """IoU and union of each class, from the last two axes: float64 ``[..., C]`` each."""
    table = confusion.astype(np.float64)
    hits = np.diagonal(table, axis1=-2, axis2=-1)
    union = table.sum(-1) + table.sum(-2) - hits
    return hits / np.maximum(union, 1), union


def _mean_ious(confusions: npt.NDArray[Any], scored: Sequence[int]) -> Floats:
    ious, union = (np.take(each, scored, axis=-1) for each in _ious(confusions))
    occurring = np.asarray((union > 0).sum(-1), np.float64)
    return np.asarray(ious.sum(-1) / np.maximum(occurring, 1))
