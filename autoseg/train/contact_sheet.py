"""Contact sheets of a candidate: a few val pictures with truth, prediction and errors beside them.

The first pictures of val are shown, which are a fair subset, so that the sheets of candidates
compare. Errors have colours that colour-blind eyes tell apart (Okabe and Ito 2008): orange and
blue. A sheet is for people: nothing depends on it, so a fault is logged and no more.
"""

from __future__ import annotations

import io
import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from autoseg.core.records import IGNORE_INDEX, Candidate, Score
from autoseg.core.units import HW
from autoseg.data.dataset import Array, Dataset
from autoseg.data.drawing.overlay import Colour, overlay
from autoseg.data.drawing.palette import class_colours
from autoseg.data.drawing.sheet import FAINT, HATCHED, INK, PAGE, font, legend, short
from autoseg.data.resize import resize_frame, resize_mask
from autoseg.train.metrics import Counts, class_iou, iou

log = logging.getLogger(__name__)

AT_SCORE, AT_CONFIRMATION = 4, 8
MAX_BYTES = 120_000
QUALITIES = (88, 80, 72, 64, 54, 44, 34)
EXTRA, MISSED = (255, 150, 0), (40, 150, 255)
HEADS = ("picture", "truth", "prediction", "errors")
MAX_CLASSES, MAX_KEPT = 24, 64
_TILE_W, _TILE_H, _GAP, _MARGIN = 208, 270, 6, 14
_WIDTH = len(HEADS) * (_TILE_W + _GAP) - _GAP + 2 * _MARGIN
_TITLE, _TEXT, _SMALL = 25, 19, 17


@dataclass(frozen=True)
class Shown:
    """A picture uint8 ``[h, w, 3]`` and its truth uint8 ``[h, w]`` at a tile's size."""

    name: str
    picture: Array
    truth: Array


@dataclass(frozen=True)
class Row:
    """One picture on a sheet, with what a network makes of it at the tile's size."""

    shown: Shown
    prediction: Array
    words: str


# A worker trains many candidates, and decoding takes longer than all the drawing.
_kept: dict[tuple[str, str, int], Shown] = {}


def noted(maps: Iterable[Array], into: list[Array], count: int) -> Iterator[Array]:
    """Passes class maps on, and keeps the first of them."""
    for class_map in maps:
        if len(into) < count:
            into.append(class_map)
        yield class_map


def write_sheet(
    path: Path,
    dataset: Dataset,
    candidate: Candidate,
    score: Score,
    maps: Sequence[Array],
    counts: Counts,
) -> None:
    """A candidate's sheet of the first pictures of val, from class maps uint8 ``[h, w]`` of any
    size and the confusion ``[n, C, C]`` of each picture.
    """
    try:
        rows = [
            _row(_shown(dataset, score.split, place), class_map, table)
            for place, (class_map, table) in enumerate(zip(maps, counts, strict=False))
        ]
        page = sheet(_title(candidate, score), str(candidate), dataset.classes, rows)
        _write(path, _jpeg(page))
    except Exception as error:  # whatever it is, it must not cost a training
        log.warning("%s: its contact sheet was not written (%s)", candidate.key, error)


def sheet(title: str, below: str, classes: Sequence[str], rows: Sequence[Row]) -> Image.Image:
    """The page: a title, a line or two of small print, one row for each picture, and a legend."""
    colours, inside = class_colours(classes), _WIDTH - 2 * _MARGIN
    lines = _wrapped(below, inside, _SMALL)
    top = _MARGIN + _TITLE + 9 + len(lines) * (_SMALL + 5) + 8
    key = legend(_entries(classes, colours, rows), inside, _SMALL)
    heights = [row.shown.truth.shape[0] + _TEXT + 16 for row in rows]
    height = top + _TEXT + 4 + sum(heights) + key.height + _MARGIN
    page = Image.new("RGB", (_WIDTH, height), PAGE)
    draw = ImageDraw.Draw(page)
    draw.text((_MARGIN, _MARGIN - 4), short(title, inside, _TITLE), INK, font(_TITLE))
    for number, line in enumerate(lines):
        at = _MARGIN + _TITLE + 6 + number * (_SMALL + 5)
        draw.text((_MARGIN, at), line, FAINT, font(_SMALL))
    for column, head in enumerate(HEADS):
        draw.text((_left(column), top), head, INK, font(_TEXT))
    top += _TEXT + 6
    for row, row_height in zip(rows, heights, strict=True):
        _draw_row(page, draw, row, classes, colours, top)
        top += row_height
    page.paste(key, (_MARGIN, top))
    return page


def errors(picture: Array, truth: Array, prediction: Array, classes: int) -> Array:
    """A pale picture uint8 ``[h, w, 3]`` with what is wrong in full colour.

    For two classes what is predicted and not there is EXTRA, what is there and not predicted
    MISSED, and what is right of the second class lighter; for more, all that is wrong is EXTRA.
    Ignored pixels are hatched.
    """
    grey = picture @ np.array([0.299, 0.587, 0.114])
    pale: Array = np.repeat((60 + 0.45 * grey)[..., None], 3, 2).astype(np.uint8)
    counted, wrong = truth != IGNORE_INDEX, prediction != truth
    kinds = np.zeros(truth.shape, np.uint8)
    if classes == 2:
        kinds[(truth == 1) & (prediction == 1)] = 1
        pale[kinds == 1] = 255 - (255 - pale[kinds == 1]) // 2
    pale[counted & wrong] = EXTRA
    if classes == 2:
        pale[counted & wrong & (truth == 1)] = MISSED
    return overlay(pale, np.where(counted, 0, IGNORE_INDEX).astype(np.uint8), (None,))


def _draw_row(
    page: Image.Image,
    draw: ImageDraw.ImageDraw,
    row: Row,
    classes: Sequence[str],
    colours: Sequence[Colour | None],
    top: int,
) -> None:
    picture, truth = row.shown.picture, row.shown.truth
    tiles = (
        picture,
        overlay(picture, truth, colours),
        overlay(picture, row.prediction, colours),
        errors(picture, truth, row.prediction, len(classes)),
    )
    for column, tile in enumerate(tiles):
        aside = (_TILE_W - tile.shape[1]) // 2
        page.paste(Image.fromarray(tile), (_left(column) + aside, top))
    below, inside = top + truth.shape[0] + 2, _WIDTH - 2 * _MARGIN
    words = short(row.words, inside // 2, _TEXT)
    taken = font(_TEXT).getlength(words)
    name = short(row.shown.name, inside - int(taken) - 20, _SMALL)
    draw.text((_MARGIN, below + 1), name, FAINT, font(_SMALL))
    draw.text((_WIDTH - _MARGIN - taken, below), words, INK, font(_TEXT))


def _left(column: int) -> int:
    return _MARGIN + column * (_TILE_W + _GAP)


def _entries(
    classes: Sequence[str], colours: Sequence[Colour | None], rows: Sequence[Row]
) -> list[tuple[str, Colour | None]]:
    """The classes that are seen, the largest first, and what the colours of errors mean."""
    seen = [each.ravel() for row in rows for each in (row.shown.truth, row.prediction)]
    pixels = np.bincount(np.concatenate(seen), minlength=IGNORE_INDEX + 1)
    tinted = [i for i, colour in enumerate(colours) if colour is not None and pixels[i]]
    tinted.sort(key=lambda index: -pixels[index])
    entries = [(classes[i], colours[i]) for i in tinted[:MAX_CLASSES]]
    if len(tinted) > MAX_CLASSES:
        entries.append((f"and {len(tinted) - MAX_CLASSES} more", None))
    if len(classes) == 2:
        entries += [("false positive", EXTRA), ("false negative (missed)", MISSED)]
    else:
        entries.append(("wrong class", EXTRA))
    return [*entries, *([("ignored", HATCHED)] if pixels[IGNORE_INDEX] else [])]


def _title(candidate: Candidate, score: Score) -> str:
    low, high = score.iou_ci95
    kind = {"torch": "", "onnx": ", exported", "board": ", as the board sees it"}[score.source]
    epoch = f"epoch {score.epoch}{' (decayed)' if score.decayed and not kind else ''}{kind}"
    return f"{candidate.key}   IoU {score.iou:.4f} ({low:.3f} to {high:.3f})   {epoch}"


def _row(shown: Shown, class_map: Array, counts: Counts) -> Row:
    height, width = shown.truth.shape
    return Row(shown, resize_mask(class_map, (height, width)), _words(counts))


def _words(counts: Counts) -> str:
    """The IoU of one picture."""
    if len(counts) == 2 and class_iou(counts)[1] is None:
        return "nothing there, nothing found"
    return f"IoU {iou(counts):.3f}"


def _shown(dataset: Dataset, split: str, place: int) -> Shown:
    key = (dataset.digest, split, place)
    if key not in _kept:
        if len(_kept) >= MAX_KEPT:
            _kept.clear()
        sample = dataset.splits[split][place]
        picture, mask = dataset.read(sample)
        hw = _fitted(mask.shape)
        _kept[key] = Shown(sample.stem, _at(picture, hw), resize_mask(mask, hw))
    return _kept[key]


def _fitted(hw: tuple[int, ...]) -> HW:
    scale = min(_TILE_H / hw[0], _TILE_W / hw[1])
    return max(1, round(hw[0] * scale)), max(1, round(hw[1] * scale))


def _at(picture: Array, hw: HW) -> Array:
    """At a tile's size; what is enlarged keeps its pixels visible."""
    if hw[0] <= picture.shape[0]:
        return resize_frame(picture, hw, 3)
    enlarged = Image.fromarray(picture).resize((hw[1], hw[0]), Image.Resampling.NEAREST)
    return np.asarray(enlarged)


def _wrapped(text: str, width: int, size: int) -> list[str]:
    """At most two lines, broken between words."""
    words, lines = text.split(), [""]
    for word in words:
        longer = f"{lines[-1]}   {word}".strip()
        if len(lines) < 2 and font(size).getlength(longer) > width:
            lines.append(word)
        else:
            lines[-1] = longer
    return [short(line, width, size) for line in lines if line]


def _jpeg(page: Image.Image) -> bytes:
    """The best quality that is small enough."""
    while True:
        for quality in QUALITIES:
            file = io.BytesIO()
            page.save(file, "JPEG", quality=quality)
            if file.tell() < MAX_BYTES:
                return file.getvalue()
        page = page.resize((page.width * 3 // 4, page.height * 3 // 4))


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(exist_ok=True)
    temporary = path.with_name(f"{path.name}.tmp")
    temporary.write_bytes(data)
    temporary.replace(path)
