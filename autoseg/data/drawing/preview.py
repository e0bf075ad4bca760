"""A contact sheet of a data set: pictures with their masks over them, as they are or as training
sees them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from colorsys import hsv_to_rgb
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from autoseg.core.errors import InputError
from autoseg.core.units import HW
from autoseg.data.dataset import SPLITS, Array, Dataset, Sample
from autoseg.data.drawing.captions import FAINT, HATCHED, INK, PAGE, font, legend, short
from autoseg.data.drawing.overlay import Colour, overlay
from autoseg.data.resize import resize_frame, resize_mask
from autoseg.data.subset import stratified_order

MOST, MAX_AUGMENTED = 400, 40
DRAWS, MAX_PIXELS_A_SIDE = 5, 1024
# Far apart for most eyes, rare in pictures first; later classes get steps of the colour circle.
PALETTE = (
    (240, 50, 230), (60, 180, 75), (67, 99, 216), (255, 225, 25), (245, 130, 48),
    (66, 212, 244), (145, 30, 180), (230, 25, 75), (191, 239, 69), (0, 128, 128),
    (250, 190, 212), (154, 99, 36), (170, 255, 195), (128, 0, 0), (0, 0, 117),
    (220, 190, 255), (128, 128, 0), (255, 216, 177), (255, 250, 200), (169, 169, 169),
)  # fmt: skip
_GAP, _LINE, _MARGIN = 8, 17, 12
_SHEET_WIDTH, _TILE_AREA, _TILE_SIDE = 1320, 320 * 200, 440


@dataclass(frozen=True)
class Tile:
    """A picture uint8 ``[h, w, 3]`` with its mask drawn over it, and what stands below it."""

    picture: Array
    name: str


def contact_sheet(
    dataset: Dataset,
    split: str,
    count: int,
    seed: int,
    augmented_hw: HW | None = None,
    augment: str | None = None,
) -> Image.Image:
    """`count` pictures of a split, or all if it has fewer, evenly over its strata.

    With `augmented_hw` each is a row: the picture at that size, and five draws of what training
    makes of it, by the user's own augmentation where `augment` names one. Raises InputError for an
    unknown or empty split, a count out of bounds, and files that cannot be read.
    """
    most = MOST if augmented_hw is None else MAX_AUGMENTED
    if not 1 <= count <= most:
        raise InputError(f"--count must be between 1 and {most} here, got {count}")
    samples = _chosen(dataset, split, count, seed)
    whole = len(dataset.splits[split])
    title = f"{dataset.name}: {len(samples)} of {whole} pictures of {split}"
    colours = class_colours(dataset.classes)
    if augmented_hw is None:
        rows = _rows(dataset, samples, colours)
    else:
        title += f", at {augmented_hw[1]}x{augmented_hw[0]}, as they are and as training sees them"
        rows = _augmented_rows(dataset, samples, colours, augmented_hw, (seed, augment))
    return _page(title, dataset.classes, colours, rows)


def write_sheet(sheet: Image.Image, path: Path) -> None:
    """Save a sheet as the file's suffix says. Raises InputError where that cannot be done."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        sheet.save(path)
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be written: {error}; try preview.png") from error


def class_colours(classes: Sequence[str]) -> list[Colour | None]:
    """An RGB colour for each class; None for a background, whose tint would only veil pictures."""
    background = classes[0].strip().casefold() in ("background", "_background_", "none")
    return [
        None if background and index == 0 else _colour(index - background)
        for index in range(len(classes))
    ]


def _colour(place: int) -> Colour:
    if place < len(PALETTE):
        return PALETTE[place]
    step = place - len(PALETTE)
    values = hsv_to_rgb(step * 0.618034 % 1, (0.55, 0.85)[step % 2], (0.95, 0.65)[step // 2 % 2])
    return round(values[0] * 255), round(values[1] * 255), round(values[2] * 255)


def _chosen(dataset: Dataset, split: str, count: int, seed: int) -> list[Sample]:
    if split not in SPLITS:
        raise InputError(f"--split is one of {', '.join(SPLITS)}, got {split!r}")
    samples = dataset.splits[split]
    if not samples:
        raise InputError(f"the data {dataset.name!r} has no pictures in the split {split!r}")
    chosen = [samples[place] for place in stratified_order(samples, seed)[:count]]
    return sorted(chosen, key=lambda sample: sample.stem)


def _rows(
    dataset: Dataset, samples: Sequence[Sample], colours: Sequence[Colour | None]
) -> list[list[Tile]]:
    tiles: list[Tile] = []
    for sample in samples:
        picture, mask = dataset.read(sample)
        tiles.append(Tile(_drawn(picture, mask, colours, _fitted(mask.shape)), sample.stem))
    widest = max(tile.picture.shape[1] for tile in tiles)
    columns = round(_SHEET_WIDTH / widest)
    return [tiles[start : start + columns] for start in range(0, len(tiles), columns)]


def _fitted(hw: tuple[int, ...]) -> HW:
    """The size of a tile for a picture of any: about one area, none too long."""
    height, width = hw
    area = math.sqrt(_TILE_AREA / (height * width))
    scale = min(area, _TILE_SIDE / height, _TILE_SIDE / width, 16.0)
    return max(1, round(height * scale)), max(1, round(width * scale))


def _drawn(picture: Array, mask: Array, colours: Sequence[Colour | None], hw: HW) -> Array:
    """The overlay at a tile's size; what is enlarged keeps its pixels visible."""
    if hw[0] > picture.shape[0]:
        enlarged = Image.fromarray(picture).resize((hw[1], hw[0]), Image.Resampling.NEAREST)
        return overlay(np.asarray(enlarged), resize_mask(mask, hw), colours)
    return overlay(resize_frame(picture, hw, 3), resize_mask(mask, hw), colours)


def _augmented_rows(
    dataset: Dataset,
    samples: Sequence[Sample],
    colours: Sequence[Colour | None],
    hw: HW,
    drawn: tuple[int, str | None],
) -> list[list[Tile]]:
    from autoseg.data.augment import Augmenter
    from autoseg.data.augmentation import OwnAugmenter, load_augmentation

    if max(hw) > MAX_PIXELS_A_SIDE:
        raise InputError(f"--resolution must be at most {MAX_PIXELS_A_SIDE} a side, got {max(hw)}")
    pairs = [dataset.read(sample) for sample in samples]
    frames = np.stack([resize_frame(picture, hw, 3) for picture, _ in pairs])
    masks = np.stack([resize_mask(mask, hw) for _, mask in pairs])
    shown = _fitted(hw)
    rows = [
        [Tile(_drawn(frame, mask, colours, shown), sample.stem)]
        for frame, mask, sample in zip(frames, masks, samples, strict=True)
    ]
    seed, own = drawn
    augmenter = OwnAugmenter(load_augmentation(own), seed) if own else Augmenter(hw, 3, seed)
    for draw in range(DRAWS):
        augmenter.start_epoch(draw)
        for row, frame, mask in zip(rows, *augmenter.batch(frames, masks), strict=True):
            row.append(Tile(_drawn(frame, mask, colours, shown), f"draw {draw + 1}"))
    return rows


def _page(
    title: str, classes: Sequence[str], colours: Sequence[Colour | None], rows: list[list[Tile]]
) -> Image.Image:
    cell_w = max(tile.picture.shape[1] for row in rows for tile in row)
    heights = [max(tile.picture.shape[0] for tile in row) for row in rows]
    width = max(len(row) for row in rows) * (cell_w + _GAP) - _GAP
    width = max(width, 480) + 2 * _MARGIN
    key = legend(_named(classes, colours), width - 2 * _MARGIN)
    top = _MARGIN + _LINE + 9 + key.height + _GAP
    height = top + sum(heights) + len(rows) * (_LINE + _GAP) + _MARGIN - _GAP
    page = Image.new("RGB", (width, height), PAGE)
    draw = ImageDraw.Draw(page)
    draw.text((_MARGIN, _MARGIN - 2), short(title, width - 2 * _MARGIN, 15), INK, font(15))
    page.paste(key, (_MARGIN, _MARGIN + _LINE + 9))
    for row, tallest in zip(rows, heights, strict=True):
        for column, tile in enumerate(row):
            left = _MARGIN + column * (cell_w + _GAP)
            page.paste(Image.fromarray(tile.picture), (left, top))
            below = (left, top + tile.picture.shape[0] + 1)
            draw.text(below, short(tile.name, cell_w, 12), FAINT, font(12))
        top += tallest + _LINE + _GAP
    return page


def _named(
    classes: Sequence[str], colours: Sequence[Colour | None]
) -> list[tuple[str, Colour | None]]:
    """What the legend says of each class."""
    named = [
        (name if shown else f"{name} (not tinted)", shown)
        for name, shown in zip(classes, colours, strict=True)
    ]
    return [*named, ("ignored", HATCHED)]
