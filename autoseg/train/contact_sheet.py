"""Contact sheets of a candidate: val pictures with truth, prediction and errors beside them.

The first pictures of val are shown, which are a stratified subset, so that the sheets of
candidates compare. Errors are orange and blue, which colour-blind readers can tell apart (Okabe
and Ito 2008). A sheet is for reading only: errors while drawing it are logged, not raised.
"""

from __future__ import annotations

import io
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from autoseg.core.records import IGNORE_INDEX, Candidate, Score
from autoseg.core.units import HW
from autoseg.data.dataset import Array, Dataset, scored_classes
from autoseg.data.drawing.overlay import Colour, class_colours, overlay
from autoseg.data.drawing.sheet import FAINT, HATCHED, INK, PAGE, font, legend, shorten, tile
from autoseg.data.resize import resize_mask
from autoseg.train.metrics import Counts, class_iou, iou

log = logging.getLogger(__name__)

MAX_ROWS_AT_SCORE, MAX_ROWS_AT_CONFIRMATION = 4, 8
MAX_SHEET_BYTES = 120_000
JPEG_QUALITIES = (88, 80, 72, 64, 54, 44, 34)
EXTRA, MISSED = (255, 150, 0), (40, 150, 255)
HEADS = ("picture", "truth", "prediction", "errors")
MAX_LEGEND_CLASSES, MAX_EXAMPLES_CACHED = 24, 64
# In pixels.
_TILE_W, _TILE_H, _GAP, _MARGIN = 208, 270, 6, 14
_WIDTH = len(HEADS) * (_TILE_W + _GAP) - _GAP + 2 * _MARGIN
_TITLE, _TEXT, _SMALL = 25, 19, 17


@dataclass(frozen=True, eq=False)
class Example:
    """A picture uint8 ``[h, w, 3]`` and its truth uint8 ``[h, w]`` at a tile's size."""

    name: str
    picture: Array
    truth: Array


@dataclass(frozen=True)
class Row:
    """One row of a sheet: an example, its prediction at the tile's size, and its IoU as text."""

    example: Example
    prediction: Array
    iou_text: str


# Many candidates are confirmed, and decoding takes longer than drawing.
_examples: dict[tuple[str, int], Example] = {}


def examples_of(dataset: Dataset, count: int) -> tuple[Example, ...]:
    """The first `count` pictures of val for a sheet; none where they cannot be read."""
    try:
        return tuple(_example(dataset, at) for at in range(len(dataset.splits["val"]))[:count])
    except Exception as error:  # no error here may stop a run
        log.warning("no contact sheets are drawn: their pictures cannot be read (%s)", error)
        return ()


def drawn(
    examples: Sequence[Example],
    dataset: Dataset,
    candidate: Candidate,
    score: Score,
    *,
    maps: Iterable[Array],
    counts: Counts,
) -> bytes | None:
    """A candidate's sheet as JPEG, from class maps uint8 ``[h, w]`` of any size and the confusion
    ``[n, C, C]`` of the first pictures of val; None without examples, or where drawing fails.
    """
    if not examples:
        return None
    try:
        rows = [
            _row(example, class_map, table, dataset.scored)
            for example, class_map, table in zip(examples, maps, counts, strict=False)
        ]
        return _jpeg(draw_sheet(_title(candidate, score), str(candidate), dataset.classes, rows))
    except Exception as error:  # no error here may stop a training
        log.warning("%s: its contact sheet was not drawn (%s)", candidate.key, error)
        return None


def draw_sheet(
    title: str, caption: str, classes: Sequence[str], rows: Sequence[Row]
) -> Image.Image:
    """A page: a title, a caption of one or two lines, a row for each picture, and a legend."""
    colours, inside = class_colours(classes), _WIDTH - 2 * _MARGIN
    lines = _wrapped(caption, inside, _SMALL)
    top = _MARGIN + _TITLE + 9 + len(lines) * (_SMALL + 5) + 8
    key = legend(_entries(classes, colours, rows), inside, _SMALL)
    heights = [row.example.truth.shape[0] + _TEXT + 16 for row in rows]
    height = top + _TEXT + 4 + sum(heights) + key.height + _MARGIN
    page = Image.new("RGB", (_WIDTH, height), PAGE)
    draw = ImageDraw.Draw(page)
    draw.text((_MARGIN, _MARGIN - 4), shorten(title, inside, _TITLE), INK, font(_TITLE))
    for number, line in enumerate(lines):
        at = _MARGIN + _TITLE + 6 + number * (_SMALL + 5)
        draw.text((_MARGIN, at), line, FAINT, font(_SMALL))
    for column, head in enumerate(HEADS):
        draw.text((_left(column), top), head, INK, font(_TEXT))
    top += _TEXT + 6
    for row, row_height in zip(rows, heights, strict=True):
        _draw_row(page, row, classes, colours, top)
        top += row_height
    page.paste(key, (_MARGIN, top))
    return page


def errors(picture: Array, truth: Array, prediction: Array, classes: Sequence[str]) -> Array:
    """A pale picture uint8 ``[h, w, 3]`` with the wrong pixels in full colour.

    For two classes the foreground's false positives are EXTRA, its false negatives MISSED, and its
    true positives lighter; for more classes, all wrong pixels are EXTRA. Ignored pixels are
    hatched.
    """
    foreground = scored_classes(classes)[0] if len(classes) == 2 else None
    grey = picture @ np.array([0.299, 0.587, 0.114])
    pale: Array = np.repeat((60 + 0.45 * grey)[..., None], 3, 2).astype(np.uint8)
    counted, wrong = truth != IGNORE_INDEX, prediction != truth
    if foreground is not None:
        hit = (truth == foreground) & (prediction == foreground)
        pale[hit] = 255 - (255 - pale[hit]) // 2
    pale[counted & wrong] = EXTRA
    if foreground is not None:
        pale[counted & wrong & (truth == foreground)] = MISSED
    return overlay(pale, np.where(counted, 0, IGNORE_INDEX).astype(np.uint8), (None,))


def _draw_row(
    page: Image.Image,
    row: Row,
    classes: Sequence[str],
    colours: Sequence[Colour | None],
    top: int,
) -> None:
    picture, truth = row.example.picture, row.example.truth
    tiles = (
        picture,
        overlay(picture, truth, colours),
        overlay(picture, row.prediction, colours),
        errors(picture, truth, row.prediction, classes),
    )
    draw = ImageDraw.Draw(page)
    for column, each in enumerate(tiles):
        aside = (_TILE_W - each.shape[1]) // 2
        page.paste(Image.fromarray(each), (_left(column) + aside, top))
    below, inside = top + truth.shape[0] + 2, _WIDTH - 2 * _MARGIN
    words = shorten(row.iou_text, inside // 2, _TEXT)
    taken = font(_TEXT).getlength(words)
    name = shorten(row.example.name, inside - int(taken) - 20, _SMALL)
    draw.text((_MARGIN, below + 1), name, FAINT, font(_SMALL))
    draw.text((_WIDTH - _MARGIN - taken, below), words, INK, font(_TEXT))


def _left(column: int) -> int:
    return _MARGIN + column * (_TILE_W + _GAP)


def _entries(
    classes: Sequence[str], colours: Sequence[Colour | None], rows: Sequence[Row]
) -> list[tuple[str, Colour | None]]:
    """The classes in the rows, the largest first, and the colours of errors."""
    seen = [each.ravel() for row in rows for each in (row.example.truth, row.prediction)]
    pixels = np.bincount(np.concatenate(seen), minlength=IGNORE_INDEX + 1)
    tinted = [i for i, colour in enumerate(colours) if colour is not None and pixels[i]]
    tinted.sort(key=lambda index: -pixels[index])
    entries = [(classes[i], colours[i]) for i in tinted[:MAX_LEGEND_CLASSES]]
    if len(tinted) > MAX_LEGEND_CLASSES:
        entries.append((f"and {len(tinted) - MAX_LEGEND_CLASSES} more", None))
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


def _row(example: Example, class_map: Array, counts: Counts, scored: Sequence[int]) -> Row:
    height, width = example.truth.shape
    return Row(example, resize_mask(class_map, (height, width)), _iou_text(counts, scored))


def _iou_text(counts: Counts, scored: Sequence[int]) -> str:
    """The IoU of one picture."""
    if len(scored) == 1 and class_iou(counts)[scored[0]] is None:
        return "nothing there, nothing found"
    return f"IoU {iou(counts, scored):.3f}"


def _example(dataset: Dataset, place: int) -> Example:
    key = (dataset.digest, place)
    if key not in _examples:
        if len(_examples) >= MAX_EXAMPLES_CACHED:
            _examples.clear()
        sample = dataset.splits["val"][place]
        picture, mask = dataset.read(sample)
        hw = _tile_hw(mask.shape)
        _examples[key] = Example(sample.stem, tile(picture, hw), resize_mask(mask, hw))
    return _examples[key]


def _tile_hw(hw: tuple[int, ...]) -> HW:
    scale = min(_TILE_H / hw[0], _TILE_W / hw[1])
    return max(1, round(hw[0] * scale)), max(1, round(hw[1] * scale))


def _wrapped(text: str, width: int, size: int) -> list[str]:
    """At most two lines, broken between words."""
    words, lines = text.split(), [""]
    for word in words:
        longer = f"{lines[-1]}   {word}".strip()
        if len(lines) < 2 and font(size).getlength(longer) > width:
            lines.append(word)
        else:
            lines[-1] = longer
    return [shorten(line, width, size) for line in lines if line]


def _jpeg(page: Image.Image) -> bytes:
    """The page in the best quality below the size limit, scaled down if necessary."""
    while True:
        for quality in JPEG_QUALITIES:
            file = io.BytesIO()
            page.save(file, "JPEG", quality=quality)
            if file.tell() < MAX_SHEET_BYTES:
                return file.getvalue()
        page = page.resize((page.width * 3 // 4, page.height * 3 // 4))
