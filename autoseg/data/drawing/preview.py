"""A preview of a data set: pictures with their masks over them, as they are or augmented."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from autoseg.core.errors import InputError
from autoseg.core.units import HW
from autoseg.data.dataset import SPLITS, Array, Dataset, Sample
from autoseg.data.drawing.overlay import Colours, class_colours, overlay
from autoseg.data.drawing.sheet import FAINT, HATCHED, INK, PAGE, font, legend, shorten, tile
from autoseg.data.resize import resize_frame, resize_mask
from autoseg.data.stratification import stratified_order

MAX_PICTURES, MAX_AUGMENTED_PICTURES = 400, 40
DRAWS, MAX_SIDE_PX = 5, 1024
# In pixels.
_GAP, _LINE, _MARGIN = 8, 17, 12
_SHEET_WIDTH, _MIN_PAGE_WIDTH, _TILE_AREA, _MAX_TILE_SIDE = 1320, 480, 320 * 200, 440
_MAX_ENLARGEMENT = 16.0
# A picture uint8 ``[h, w, 3]`` with its mask drawn over it, and its caption.
Tile = tuple[Array, str]
Rows = list[list[Tile]]


def draw_preview(
    dataset: Dataset,
    split: str,
    count: int,
    seed: int,
    augmented_hw: HW | None = None,
    *,
    augment: str | None = None,
) -> Image.Image:
    """`count` pictures of a split, or all if it has fewer, evenly over its strata.

    With `augmented_hw` each is a row: the picture at that size, and five augmented draws of it, by
    the user's own augmentation if `augment` names one. Raises InputError for an unknown or empty
    split, a count out of bounds, and files that cannot be read.
    """
    max_count = MAX_PICTURES if augmented_hw is None else MAX_AUGMENTED_PICTURES
    if not 1 <= count <= max_count:
        raise InputError(f"--count must be between 1 and {max_count} here, got {count}")
    samples = _chosen(dataset, split, count, seed)
    title = f"{dataset.name}: {len(samples)} of {len(dataset.splits[split])} pictures of {split}"
    colours = class_colours(dataset.classes)
    if augmented_hw is None:
        rows = _rows(dataset, samples, colours)
    else:
        title += f", at {augmented_hw[1]}x{augmented_hw[0]}, as they are and as training sees them"
        rows = _augmented_rows(dataset, samples, colours, augmented_hw, (seed, augment))
    return _page(title, dataset.classes, colours, rows)


def save_preview(sheet: Image.Image, path: Path) -> None:
    """Save a preview in the file format of its suffix. Raises InputError if that fails."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        sheet.save(path)
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be written: {error}; try preview.png") from error


def _chosen(dataset: Dataset, split: str, count: int, seed: int) -> list[Sample]:
    if split not in SPLITS:
        raise InputError(f"--split is one of {', '.join(SPLITS)}, got {split!r}")
    samples = dataset.splits[split]
    if not samples:
        raise InputError(f"the data {dataset.name!r} has no pictures in the split {split!r}")
    chosen = [samples[place] for place in stratified_order(samples, seed)[:count]]
    return sorted(chosen, key=lambda sample: sample.stem)


def _rows(dataset: Dataset, samples: list[Sample], colours: Colours) -> Rows:
    tiles: list[Tile] = []
    for sample in samples:
        picture, mask = dataset.read(sample)
        tiles.append((_drawn(picture, mask, colours, _tile_hw(mask.shape)), sample.stem))
    widest = max(picture.shape[1] for picture, _ in tiles)
    columns = round(_SHEET_WIDTH / widest)
    return [tiles[start : start + columns] for start in range(0, len(tiles), columns)]


def _tile_hw(hw: tuple[int, ...]) -> HW:
    """The size of a tile for a picture of any size: about the same area, with bounded sides."""
    height, width = hw
    area = math.sqrt(_TILE_AREA / (height * width))
    scale = min(area, _MAX_TILE_SIDE / height, _MAX_TILE_SIDE / width, _MAX_ENLARGEMENT)
    return max(1, round(height * scale)), max(1, round(width * scale))


def _drawn(picture: Array, mask: Array, colours: Colours, hw: HW) -> Array:
    return overlay(tile(picture, hw), resize_mask(mask, hw), colours)


def _augmented_rows(
    dataset: Dataset, samples: list[Sample], colours: Colours, hw: HW, how: tuple[int, str | None]
) -> Rows:
    from autoseg.data.augment import Augmenter
    from autoseg.data.user_augmentation import OwnAugmenter, load_augmentation

    if max(hw) > MAX_SIDE_PX:
        raise InputError(f"--resolution must be at most {MAX_SIDE_PX} a side, got {max(hw)}")
    pairs = [dataset.read(sample) for sample in samples]
    frames = np.stack([resize_frame(picture, hw, 3) for picture, _ in pairs])
    masks = np.stack([resize_mask(mask, hw) for _, mask in pairs])
    tile_hw = _tile_hw(hw)
    rows = [
        [(_drawn(frame, mask, colours, tile_hw), sample.stem)]
        for frame, mask, sample in zip(frames, masks, samples, strict=True)
    ]
    seed, own = how
    augmenter = OwnAugmenter(load_augmentation(own), seed) if own else Augmenter(hw, 3, seed)
    for draw in range(DRAWS):
        augmenter.start_epoch(draw)
        for row, frame, mask in zip(rows, *augmenter.batch(frames, masks), strict=True):
            row.append((_drawn(frame, mask, colours, tile_hw), f"draw {draw + 1}"))
    return rows


def _page(title: str, classes: Sequence[str], colours: Colours, rows: Rows) -> Image.Image:
    cell_w = max(picture.shape[1] for row in rows for picture, _ in row)
    heights = [max(picture.shape[0] for picture, _ in row) for row in rows]
    width = max(len(row) for row in rows) * (cell_w + _GAP) - _GAP
    width = max(width, _MIN_PAGE_WIDTH) + 2 * _MARGIN
    named = zip(classes, colours, strict=True)
    entries = [(name if shown else f"{name} (not tinted)", shown) for name, shown in named]
    key = legend([*entries, ("ignored", HATCHED)], width - 2 * _MARGIN)
    top = _MARGIN + _LINE + 9 + key.height + _GAP
    height = top + sum(heights) + len(rows) * (_LINE + _GAP) + _MARGIN - _GAP
    page = Image.new("RGB", (width, height), PAGE)
    draw = ImageDraw.Draw(page)
    draw.text((_MARGIN, _MARGIN - 2), shorten(title, width - 2 * _MARGIN, 15), INK, font(15))
    page.paste(key, (_MARGIN, _MARGIN + _LINE + 9))
    for row, tallest in zip(rows, heights, strict=True):
        for column, (picture, caption) in enumerate(row):
            left = _MARGIN + column * (cell_w + _GAP)
            page.paste(Image.fromarray(picture), (left, top))
            below = (left, top + picture.shape[0] + 1)
            draw.text(below, shorten(caption, cell_w, 12), FAINT, font(12))
        top += tallest + _LINE + _GAP
    return page
