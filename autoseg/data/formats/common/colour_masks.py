"""Read masks that show classes by colour, and the tables of these colours."""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
from PIL import Image

from autoseg.core.errors import InputError
from autoseg.core.records import IGNORE_INDEX
from autoseg.data.dataset import Array, Sample
from autoseg.data.formats.common.files import file_named, lines
from autoseg.data.layout import Layout, listed
from autoseg.data.pictures import decode_mask, mode_of, naming, open_picture, read_bytes, under

Colour = tuple[int, int, int]
# Stored values beyond the table's: a colour that is not in it, and the colour of borders.
UNKNOWN, BORDER = 253, 254
MAX_CLASSES = 253
# A few stray pixels at borders are ignored, with a warning; more indicate a wrong table.
MAX_UNKNOWN_SHARE = 0.01
_MAX_BLOCK_PIXELS = 2**20
# Tables of colours by the names that tools and data sets give them.
TABLES = ("labelmap.txt", "label_colors.txt", "class_dict.csv", "class_dict_seg.csv")
# Classes that mean no class, in tables of CamVid and of Datumaro.
IGNORED = ("void", "ignored")
_NUMBER = r"\s*(\d+)\s*"
# A name may hold colons: the last part that is a colour ends it.
_NAME_AND_COLOUR = re.compile(rf"(.+):{_NUMBER},{_NUMBER},{_NUMBER}(?::[^:]*){{0,2}}")
_COLOUR_AND_NAME = re.compile(r"(\d+)\s+(\d+)\s+(\d+)\s+(.+)")
_NAME_ALONE = re.compile(r"(.+?):{0,3}")
_CODE = np.array([2**16, 2**8, 1], np.uint32)  # makes one number of a colour


@dataclass(frozen=True)
class ColourTable:
    """Names and colours by stored value; `source` is the file they are from, for messages.

    In a palette file the indices are the stored values where `palette_indices` is set, else the
    palette's colours count. One channel holds stored values, unless all are grey levels of the
    table. Pixels of the colour `border` are ignored.
    """

    names: tuple[str, ...]
    colours: tuple[Colour, ...]
    source: str
    border: Colour | None = None
    palette_indices: bool = False


def read_coloured(table: ColourTable, sample: Sample) -> Array:
    """A mask as uint8 ``[H, W]`` of stored values: see `ColourTable`. Raises InputError."""
    return naming(sample.mask, _decode, table, read_bytes(sample.mask))


def _decode(table: ColourTable, data: bytes) -> Array:
    picture = open_picture(data)
    if picture.mode in ("P", "PA", "L") and _by_colour(table, picture):
        picture = picture.convert("RGB")
    if picture.mode not in ("RGB", "RGBA"):
        return decode_mask(data)
    pixels, alpha = np.asarray(picture)[..., :3], np.asarray(picture)[..., 3:]
    stored = np.empty(pixels.shape[:2], np.uint8)
    known = _lookup(table.colours, table.border)
    step = max(1, _MAX_BLOCK_PIXELS // max(1, pixels.shape[1]))
    for top in range(0, len(pixels), step):
        stored[top : top + step] = known[pixels[top : top + step] @ _CODE]
    if alpha.size:  # where nothing is painted, the colour that is stored does not count
        stored[(alpha[..., 0] == 0) & (stored == UNKNOWN)] = known[0]
    _check_unknown(table, pixels, stored)
    return stored


def _by_colour(table: ColourTable, picture: Image.Image) -> bool:
    """Whether the colours of a file with one channel count, and not its values: always those of a
    palette, unless `palette_indices` is set. Then, and for grey levels, only where all are in the
    table (a palette that a program for smaller files sorted, black and white stored as grey).
    """
    if picture.mode != "L" and not table.palette_indices:
        return True
    colours = {*table.colours, *([table.border] if table.border else [])}
    shown = {colour for _, colour in picture.convert("RGB").getcolors(256) or ()}
    # A palette that shows two values alike does not tell its classes apart.
    return shown <= colours and len(shown) == len(picture.getcolors(256) or ())


@lru_cache(maxsize=2)
def _lookup(colours: tuple[Colour, ...], border: Colour | None) -> Array:
    """The stored value of each of the 2**24 colours."""
    known = np.full(2**24, UNKNOWN, np.uint8)
    known[np.array(colours, np.uint32) @ _CODE] = np.arange(len(colours))
    if border is not None:
        known[np.array(border, np.uint32) @ _CODE] = BORDER
    return known


def _check_unknown(table: ColourTable, pixels: Array, stored: Array) -> None:
    unknown = stored == UNKNOWN
    share = np.count_nonzero(unknown) / max(1, stored.size)
    if share > MAX_UNKNOWN_SHARE:
        some = np.unique(pixels[unknown][:1000], axis=0).tolist()
        shown = listed([str(tuple(colour)) for colour in some])
        rule = f"of the pixels have colours that are not in {table.source}"
        raise InputError(f"{100 * share:.2g} % {rule}: {shown}")


def set_classes(layout: Layout, table: ColourTable, ignored: Iterable[str] = ()) -> None:
    """Let a layout read its masks by a table; classes named in `ignored` become 255."""
    left_out = {name.lower() for name in ignored}
    kept = [name for name in table.names if name.lower() not in left_out]
    layout.classes = tuple(kept)
    by_place = [kept.index(n) if n in kept else IGNORE_INDEX for n in table.names]
    # A value beyond the table becomes no class, so that the inspection reports it.
    beyond = [len(table.names)] * (MAX_CLASSES - len(table.names))
    layout.values = bytes([*by_place, *beyond, *[IGNORE_INDEX] * (256 - MAX_CLASSES)])
    layout.read_mask = partial(read_coloured, table)
    layout.notes[UNKNOWN] = f"pixels of colours that are not in {table.source} are ignored"


def find_table(folder: Path) -> Path | None:
    """The table of colours in a folder, by its name."""
    return file_named(folder, TABLES)


def use_table(layout: Layout) -> bool:
    """Let a layout read its masks by the table of colours in its folder; classes that are named
    void become 255, with a warning. False if there is no table, or if the layout has class names
    already and its first mask shows no colours.
    """
    path = find_table(layout.root)
    if path is None or (layout.classes and not _shows_colours(layout)):
        return False
    if table := colour_table(layout, path):
        set_classes(layout, table, IGNORED)
        if ignored := [name for name in table.names if name not in layout.classes]:
            layout.warnings.append(f"{path.name}: pixels of {listed(ignored)} are ignored")
    return True


def _shows_colours(layout: Layout) -> bool:
    try:
        modes = [mode_of(read_bytes(sample.mask)) for sample in layout.samples[:1]]
    except InputError:  # the inspection of all files reports it
        modes = []
    return modes in (["RGB"], ["RGBA"])


def colour_table(layout: Layout, path: Path) -> ColourTable | None:
    """Read label_colors.txt (``R G B name``), class_dict.csv (``name,r,g,b``) or labelmap.txt
    (``name:R,G,B:parts:actions``); errors become faults.

    If no name has a colour, the colours are those of VOC's palette. A name may hold ":" and begin
    with "#": such a line is a comment only if it has no colour.
    """
    is_csv = path.suffix.lower() == ".csv"
    shown = under(layout.root, str(path))
    rows: list[tuple[str, Colour | None]] = []
    wrong: list[str] = []
    for number, line in enumerate(lines(layout, path, comments=True)):
        if is_csv and number == 0 and not any(character.isdigit() for character in line):
            continue
        try:
            rows.append(_row(line, is_csv))
        except (ValueError, csv.Error):
            wrong += [] if line.startswith("#") else [repr(line[:60])]
    names = [name for name, _ in rows]
    given = [colour for _, colour in rows if colour is not None]
    colours = given or [palette_colour(place) for place in range(len(names))]
    faults = []
    if wrong or len(colours) < len(names):
        wrong += [repr(name) for name, colour in rows if colour is None and given]
        faults.append(f"{shown}: lines without a name and a colour: {listed(wrong)}")
    for what, values in (("name", names), ("colour", [str(colour) for colour in colours])):
        twice = sorted(value for value, count in Counter(values).items() if count > 1)
        if twice:
            faults.append(f"{shown}: a {what} occurs twice: {listed(twice)}")
    if not 2 <= len(rows) <= MAX_CLASSES:
        faults.append(f"{shown} must name 2 to {MAX_CLASSES} classes, it names {len(rows)}")
    layout.faults += faults
    return None if faults else ColourTable(tuple(names), tuple(colours), shown)


def _row(line: str, is_csv: bool) -> tuple[str, Colour | None]:
    if is_csv:
        name, *colour = next(csv.reader([line]))[:4]
    elif matched := _NAME_AND_COLOUR.fullmatch(line):
        name, *colour = matched.groups()
    elif matched := _COLOUR_AND_NAME.fullmatch(line):
        *colour, name = matched.groups()
    elif line.startswith("#") or not (matched := _NAME_ALONE.fullmatch(line)):
        raise ValueError(line)
    else:
        return matched[1].strip(), None
    return name.strip(), _colour(colour)


def _colour(parts: list[str]) -> Colour:
    red, green, blue = (int(part) for part in parts)
    if not all(0 <= part < 256 for part in (red, green, blue)):
        raise ValueError(parts)
    return red, green, blue


def palette_colour(index: int) -> Colour:
    """A colour of VOC's palette: the bits of the index, three by three, from the top of each
    channel (VOClabelcolormap.m of the VOC development kit).
    """
    red, green, blue = (
        sum((index >> (3 * bit + channel) & 1) << (7 - bit) for bit in range(8))
        for channel in range(3)
    )
    return red, green, blue
