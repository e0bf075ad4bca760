"""Parcels of the synthetic scenes: solid boxes with cardboard faces, print and damage."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from autoseg.data.synthetic import belts
from autoseg.data.synthetic.belts import HEIGHT_PX, WIDTH_PX, Camera, Draw, Floats, Picture, Rng

Colour = tuple[int, int, int]
Size = tuple[float, float, float]  # length, width, height, in world units
AT_LEAST_HALF = [0] * 128 + [255] * 128  # of a pixel: the table of a coverage 0..255
# Corners are numbered bit by bit (x, y, z); faces as seen from outside, top first.
FACES = ((4, 5, 7, 6), (0, 1, 5, 4), (1, 3, 7, 5), (3, 2, 6, 7), (2, 0, 4, 6))
_UNIT = np.array([[x, y, z] for z in (0, 1) for y in (-0.5, 0.5) for x in (-0.5, 0.5)])
_CARDBOARD: tuple[Colour, ...] = (
    (190, 148, 104), (206, 166, 122), (176, 132, 88), (214, 184, 146), (232, 230, 224),
    (240, 240, 236), (206, 160, 110), (222, 178, 70), (186, 84, 62),
)  # fmt: skip
_ACCENTS: tuple[Colour, ...] = (
    (200, 40, 40), (30, 90, 170), (20, 140, 90), (235, 150, 30), (30, 30, 34), (110, 50, 140),
)  # fmt: skip


@dataclass(frozen=True)
class Box:
    """A parcel: corners in world units ``[8, 3]``, size and look."""

    corners: Floats
    size: Size
    colour: Colour
    accent: Colour
    light: tuple[float, ...]


def make_box(rng: Rng, size: Size, pose: Floats) -> Box:
    """A box of `size` at `pose` (x, y, z, turn in radians), its corners a little crushed."""
    cos, sin = np.cos(pose[3]), np.sin(pose[3])
    corners = _UNIT * np.array(size)
    crushed = 0.02 if rng.random() < 0.7 else 0.06
    corners = corners + rng.uniform(-crushed, crushed, (8, 3)) * min(size[0], size[1])
    corners[:4, 2] = 0
    turned = corners @ np.array([[cos, sin, 0], [-sin, cos, 0], [0, 0, 1.0]]) + pose[:3]
    wear = rng.integers(-14, 15, 3)
    base = _CARDBOARD[int(rng.integers(len(_CARDBOARD) if rng.random() < 0.6 else 6))]
    red, green, blue = (int(np.clip(c + w, 20, 250)) for c, w in zip(base, wear, strict=True))
    light = (1.0, *(float(value) for value in rng.uniform(0.62, 0.9, 4)))
    accent = _ACCENTS[int(rng.integers(len(_ACCENTS)))]
    return Box(turned, size, (red, green, blue), accent, light)


def put_box(rng: Rng, scene: Picture, truth: Picture, camera: Camera, box: Box) -> None:
    """Draw a box on the scene; pixels that it covers by half or more become 1 in the truth."""
    points = camera.project(box.corners)
    left, upper = (int(v) for v in np.maximum(np.floor(points.min(0)) - 1, 0))
    right, lower = (int(v) for v in np.minimum(np.ceil(points.max(0)) + 2, (WIDTH_PX, HEIGHT_PX)))
    if right - left < 3 or lower - upper < 3:
        return
    points = points - (left, upper)
    size = (right - left, lower - upper)
    patch = Image.new("RGB", size, _toned(box.colour, 0.8))
    visible = [number for number, face in enumerate(FACES) if _faces_camera(points[list(face)])]
    for number in visible:
        _paste_face(rng, patch, points[list(FACES[number])], box, number)
    cover = coverage(size, [points[list(FACES[number])] for number in visible])
    scene.paste(patch, (left, upper), cover)
    truth.paste(1, (left, upper), cover.point(AT_LEAST_HALF))


def coverage(size: tuple[int, int], polygons: list[Floats]) -> Picture:
    """The part of each pixel that polygons cover, 0..255 (drawn four times finer, averaged)."""
    fine = Image.new("L", (size[0] * 4, size[1] * 4), 0)
    draw = ImageDraw.Draw(fine)
    for polygon in polygons:
        draw.polygon([(x * 4, y * 4) for x, y in polygon.tolist()], fill=255)
    return fine.reduce(4)


def _faces_camera(quad: Floats) -> bool:
    """Whether a quad's outside faces the camera: its corners then run clockwise with y down."""
    x, y = quad[:, 0], quad[:, 1]
    return float(x @ np.roll(y, -1) - y @ np.roll(x, -1)) < 0


def _paste_face(rng: Rng, patch: Picture, quad: Floats, box: Box, number: int) -> None:
    length, width, height = box.size
    side = 0 if number == 0 else 2 - number % 2
    extent = ((length, width), (length, height), (width, height))[side]
    size = (max(int(extent[0]), 4), max(int(extent[1]), 4))
    face = draw_face(rng, box, size, number)
    inner = np.array([(0, size[1]), size, (size[0], 0), (0, 0)], np.float64)
    low = np.maximum(np.floor(quad.min(0)), 0).astype(int).tolist()
    high = np.minimum(np.ceil(quad.max(0)) + 1, patch.size).astype(int).tolist()
    area = (max(high[0] - low[0], 1), max(high[1] - low[1], 1))
    tone = _toned(box.colour, box.light[number])
    shown = belts.seen(face, area, _perspective(quad - low, inner), tone)
    mask = Image.new("1", area, 0)
    ImageDraw.Draw(mask).polygon([(x, y) for x, y in (quad - low).tolist()], fill=1, outline=1)
    patch.paste(shown, (low[0], low[1]), mask)


def _toned(colour: Colour, tone: float) -> Colour:
    red, green, blue = (min(255, int(part * tone)) for part in colour)
    return red, green, blue


def _perspective(quad: Floats, inner: Floats) -> tuple[float, ...]:
    """Pillow's 8 coefficients from the picture's `quad` to the texture's `inner` points."""
    system = np.zeros((8, 8))
    system[:4, :2], system[:4, 2] = quad, 1
    system[4:, 3:5], system[4:, 5] = quad, 1
    system[:4, 6:], system[4:, 6:] = -quad * inner[:, :1], -quad * inner[:, 1:]
    return tuple(float(v) for v in np.linalg.solve(system, np.concatenate(inner.T)))


def draw_face(rng: Rng, box: Box, size: tuple[int, int], number: int) -> Picture:
    """One side of a parcel, seen from the front: cardboard, print, a label, tape, damage."""
    face = Image.new("RGB", size, box.colour)
    draw = ImageDraw.Draw(face)
    chance = rng.random(8)
    if chance[0] < 0.25:
        _band(rng, draw, size, box.accent)
    if number == 0 and chance[1] < 0.55:
        _tape(rng, draw, size, box.colour)
    if chance[2] < 0.3:
        _logo(rng, draw, size, box.accent)
    if chance[3] < (0.65 if number == 0 else 0.35):
        _label(rng, draw, size)
    if chance[4] < 0.35:
        area = (size[0] // 12, size[1] // 2, size[0] * 2 // 3, size[1] - 3)
        _text(rng, draw, area, (40, 38, 36))
    if chance[5] < 0.22:
        _dent(rng, draw, size, box.colour)
    if chance[6] < 0.15:
        _tear(rng, draw, size)
    draw.rectangle([0, 0, size[0] - 1, size[1] - 1], outline=_toned(box.colour, 0.82))
    return Image.blend(Image.new("RGB", size), face, box.light[number])


def _band(rng: Rng, draw: Draw, size: tuple[int, int], colour: Colour) -> None:
    start = int(size[0] * rng.uniform(0, 0.8))
    draw.rectangle([start, 0, start + int(size[0] * rng.uniform(0.1, 0.3)), size[1]], fill=colour)


def _tape(rng: Rng, draw: Draw, size: tuple[int, int], colour: Colour) -> None:
    middle, half = size[1] // 2, max(2, size[1] // 12)
    tone = _toned(colour, float(rng.uniform(0.8, 1.2)))
    draw.rectangle([0, middle - half, size[0], middle + half], fill=tone)
    draw.line([(0, middle), (size[0], middle)], fill=_toned(tone, 0.8))


def _logo(rng: Rng, draw: Draw, size: tuple[int, int], colour: Colour) -> None:
    reach = max(3, min(size) // 4)
    x, y = (int(rng.integers(side)) for side in size)
    if rng.random() < 0.5:
        draw.ellipse([x - reach, y - reach, x + reach, y + reach], outline=colour, width=3)
    corners = [(x, y - reach), (x + reach, y + reach // 2), (x - reach, y + reach // 2)]
    draw.polygon(corners, fill=colour)


def _label(rng: Rng, draw: Draw, size: tuple[int, int]) -> None:
    width, height = (int(side * rng.uniform(0.3, 0.55)) for side in size)
    if width < 12 or height < 8:
        return
    x = int(rng.integers(0, size[0] - width))
    y = int(rng.integers(0, size[1] - height))
    draw.rectangle([x, y, x + width, y + height], fill=(244, 243, 238), outline=(190, 188, 180))
    bars = x + 2
    while bars < x + width - 3:
        thick = int(rng.integers(1, 4))
        draw.rectangle([bars, y + 2, bars + thick - 1, y + height // 2 - 1], fill=(25, 25, 28))
        bars += thick + int(rng.integers(1, 4))
    _text(rng, draw, (x + 2, y + height // 2 + 2, x + width - 2, y + height - 2), (60, 60, 64))


def _text(rng: Rng, draw: Draw, area: tuple[int, int, int, int], ink: Colour) -> None:
    """Lines of word-sized dashes: print without a font file, so that it is equal everywhere."""
    for y in range(area[1], area[3] - 1, 5):
        x = area[0]
        while x < area[2] - 4 and rng.random() < 0.9:
            word = int(rng.integers(4, 14))
            draw.rectangle([x, y, min(x + word, area[2]), y + 1], fill=ink)
            x += word + 3


def _dent(rng: Rng, draw: Draw, size: tuple[int, int], colour: Colour) -> None:
    x, y = (int(rng.integers(side)) for side in size)
    wide, high = (max(3, int(side * rng.uniform(0.06, 0.2))) for side in size)
    for shrink, tone in ((1.0, 0.78), (0.75, 0.66), (0.4, 0.9)):
        fill = _toned(colour, tone)
        w, h = int(wide * shrink), int(high * shrink)
        draw.ellipse([x - w, y - h, x + w, y + h], fill=fill)


def _tear(rng: Rng, draw: Draw, size: tuple[int, int]) -> None:
    x, y = int(rng.integers(0, size[0])), int(rng.choice((0, size[1])))
    reach = max(4, min(size) // 4)
    steps = rng.integers(-reach, reach + 1, (5, 2)) + (x, y)
    draw.polygon([(int(a), int(b)) for a, b in steps], fill=(92, 72, 52), outline=(214, 196, 166))
