"""Distractors: paper, marks, tools and cables on the belt, workers beside it, objects in front of
parcels, and shadows.
"""

from __future__ import annotations

import cv2
import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageFilter

from autoseg.data.synthetic.belts import HEIGHT_PX, WIDTH_PX, Camera, Floats, Picture, Rng
from autoseg.data.synthetic.boxes import AT_LEAST_HALF, Colour, coverage

_STEEL: tuple[Colour, ...] = ((150, 154, 160), (96, 100, 106), (190, 190, 186))
_CABLES: tuple[Colour, ...] = ((24, 24, 26), (196, 84, 30), (40, 70, 130), (180, 178, 60))
_VESTS: tuple[Colour, ...] = ((40, 74, 130), (30, 44, 70), (60, 120, 80), (52, 54, 60))
_HELMETS: tuple[Colour, ...] = ((36, 78, 150), (30, 32, 36), (70, 84, 92))
_SKIN: tuple[Colour, ...] = ((224, 176, 146), (176, 122, 88), (112, 74, 52), (70, 110, 160))


def draw_on_belt(rng: Rng, picture: Picture, camera: Camera, half: int) -> None:
    """Draw distractors that parcels may cover: painted frames, paper, tools, cables, workers."""
    for _ in range(int(rng.integers(0, 3))):
        at = np.array([rng.uniform(-190, 190), rng.uniform(-half, half), 0.0])
        kind = rng.random()
        if kind < 0.15:
            _painted_frame(rng, picture, camera, at)
        elif kind < 0.45:
            _paper(rng, picture, camera, at)
        elif kind < 0.8:
            _tool(rng, picture, camera, at)
        else:
            _cable(rng, picture, camera, at)
    if rng.random() < 0.35:
        _worker(rng, picture, camera, half)


def draw_in_front(rng: Rng, picture: Picture, truth: Picture, camera: Camera, half: int) -> None:
    """Draw an arm that reaches in, or a bar across the belt; both are background in the truth."""
    kind = rng.random()
    if kind < 0.04:
        _arm(rng, picture, truth)
    elif kind < 0.08:
        x = float(rng.uniform(-160, 160))
        lean = float(rng.uniform(-40, 40))
        ends = np.array([[x, -half - 30, 60], [x + lean, half + 30, 60]])
        line = camera.project(ends)
        _stamp(picture, [ribbon(line, float(rng.uniform(4, 12)))], _pick(rng, _STEEL), truth)


def draw_shadows(picture: Picture, outlines: list[Floats], strength: int) -> Picture:
    """The picture with blurred shadows: the outlines' convex hulls, drawn at a quarter size."""
    shadow = Image.new("L", (WIDTH_PX // 4, HEIGHT_PX // 4), 255)
    draw = ImageDraw.Draw(shadow)
    for outline in outlines:
        hull = cv2.convexHull(outline.astype(np.float32), returnPoints=False).ravel()
        draw.polygon([(x / 4, y / 4) for x, y in outline[hull].tolist()], fill=255 - strength)
    shadow = shadow.filter(ImageFilter.BoxBlur(1.5))
    soft = shadow.resize((WIDTH_PX, HEIGHT_PX), Image.Resampling.BILINEAR)
    return ImageChops.multiply(picture, Image.merge("RGB", (soft, soft, soft)))


def ribbon(line: Floats, width: float) -> Floats:
    """A polygon of `width` pixels along a line of points ``[N, 2]``."""
    along = np.gradient(line, axis=0)
    length = np.hypot(along[:, 0], along[:, 1])[:, None]
    aside = along[:, ::-1] * (-1, 1) / np.maximum(length, 1e-6) * width / 2
    return np.concatenate([line + aside, (line - aside)[::-1]])


def _pick(rng: Rng, colours: tuple[Colour, ...]) -> Colour:
    return colours[int(rng.integers(len(colours)))]


def _stamp(
    picture: Picture, polygons: list[Floats], colour: Colour, truth: Picture | None = None
) -> None:
    """Fill polygons with soft edges; with a truth, the pixels they cover become background."""
    points = np.concatenate(polygons)
    low = np.maximum(np.floor(points.min(0)), 0).astype(int)
    high = np.minimum(np.ceil(points.max(0)) + 1, (WIDTH_PX, HEIGHT_PX)).astype(int)
    if (high - low < 2).any():
        return
    place = (int(low[0]), int(low[1]))
    size = (int(high[0] - low[0]), int(high[1] - low[1]))
    cover = coverage(size, [polygon - low for polygon in polygons])
    picture.paste(colour, place, cover)
    if truth is not None:
        truth.paste(0, place, cover.point(AT_LEAST_HALF))


def _flat(camera: Camera, at: Floats, size: tuple[float, float], turn: float) -> Floats:
    corners = np.array([(-0.5, -0.5), (0.5, -0.5), (0.5, 0.5), (-0.5, 0.5)]) * size
    cos, sin = np.cos(turn), np.sin(turn)
    on_belt = corners @ np.array([[cos, sin], [-sin, cos]]) + at[:2]
    return camera.project(np.column_stack([on_belt, np.zeros(4)]))


def _painted_frame(rng: Rng, picture: Picture, camera: Camera, at: Floats) -> None:
    """A frame as large as a parcel, painted on the belt: only its outline looks like one."""
    quad = _flat(camera, at, (float(rng.uniform(60, 150)), float(rng.uniform(40, 100))), 0.0)
    closed = np.concatenate([quad, quad[:1]])
    colour = _pick(rng, ((214, 180, 40), (226, 226, 222), (180, 50, 44)))
    for start in range(4):
        _stamp(picture, [ribbon(closed[start : start + 2], 4.0)], colour)


def _paper(rng: Rng, picture: Picture, camera: Camera, at: Floats) -> None:
    size = (float(rng.uniform(16, 34)), float(rng.uniform(10, 22)))
    turn = float(rng.uniform(-1.6, 1.6))
    _stamp(picture, [_flat(camera, at, size, turn)], (232, 231, 224))
    for line in (-0.25, 0.0, 0.25):
        shift = np.array([-np.sin(turn) * line * size[1], np.cos(turn) * line * size[1], 0])
        strip = _flat(camera, at + shift, (size[0] * 0.7, 1.6), turn)
        _stamp(picture, [strip], (70, 70, 76))


def _tool(rng: Rng, picture: Picture, camera: Camera, at: Floats) -> None:
    """A spanner: a shaft and two heads."""
    turn = float(rng.uniform(-1.6, 1.6))
    reach = float(rng.uniform(22, 50))
    along = np.array([np.cos(turn), np.sin(turn), 0.0]) * reach
    shaft = ribbon(camera.project(np.stack([at - along, at + along])), 6.0)
    heads = [_flat(camera, at + sign * along, (15.0, 13.0), turn + 0.5) for sign in (-1, 1)]
    _stamp(picture, [shaft, *heads], _pick(rng, _STEEL))


def _cable(rng: Rng, picture: Picture, camera: Camera, at: Floats) -> None:
    steps = np.linspace(-1, 1, 14)
    bend = rng.uniform(-60, 60, 3)
    across = bend[0] * steps + bend[1] * (steps**2 - 0.5) + bend[2] * (steps**3 - steps) * 2
    path = np.column_stack([steps * rng.uniform(60, 160), across, np.zeros(14)]) + at
    line = ribbon(camera.project(path), float(rng.uniform(2.5, 6)))
    _stamp(picture, [line], _pick(rng, _CABLES))


def _round(middle: Floats, radius: tuple[float, float], turn: float = 0.0) -> Floats:
    angle = np.linspace(0, 2 * np.pi, 18, endpoint=False) + turn
    return middle + np.column_stack([np.cos(angle), np.sin(angle)]) * radius


def _worker(rng: Rng, picture: Picture, camera: Camera, half: int) -> None:
    """A worker beside the belt: shoulders in a vest, a helmet."""
    side = float(rng.choice((-1, 1)))
    at = np.array([[rng.uniform(-160, 160), side * (half + rng.uniform(30, 55)), 0.0]])
    middle = camera.project(at)[0]
    _stamp(picture, [_round(middle, (62.0, 34.0))], _pick(rng, _VESTS))
    _stamp(picture, [_round(middle + (0, -4), (20.0, 23.0))], _pick(rng, _HELMETS))


def _arm(rng: Rng, picture: Picture, truth: Picture) -> None:
    """A sleeve from the picture's upper or lower edge, and a hand."""
    edge = float(rng.choice((-10.0, HEIGHT_PX + 10.0)))
    root = np.array([float(rng.uniform(60, WIDTH_PX - 60)), edge])
    inward = 1.0 if edge < 0 else -1.0
    hand = root + (float(rng.uniform(-70, 70)), inward * float(rng.uniform(70, 150)))
    _stamp(picture, [ribbon(np.stack([root, hand]), 34.0)], _pick(rng, _VESTS), truth)
    _stamp(picture, [_round(hand, (15.0, 18.0))], _pick(rng, _SKIN), truth)
