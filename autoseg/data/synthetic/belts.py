"""Conveyor belts of the synthetic parcels: grey textures seen from above, and the camera.

World coordinates: x along the belt, y across it, z up from its surface.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from autoseg.data.dataset import Array

WIDTH_PX, HEIGHT_PX = 640, 360
TEXTURE_PX = 1152
# Patterns of belts, each in two widths.
PATTERNS, BELT_VARIANTS = 6, 2
Floats = npt.NDArray[np.float64]
Rng = np.random.Generator
Picture = Image.Image
Draw = ImageDraw.ImageDraw


@dataclass(frozen=True)
class Camera:
    """A pinhole camera aimed at the belt's middle; angles in radians, distance in world units.

    `zoom` is in pixels per world unit at the picture's centre.
    """

    elevation: float
    yaw: float
    distance: float
    zoom: float

    @cached_property
    def _axes(self) -> tuple[Floats, Floats]:
        """Rows right, down, forward; and the camera's position."""
        cos_yaw, sin_yaw = math.cos(self.yaw), math.sin(self.yaw)
        cos_up, sin_up = math.cos(self.elevation), math.sin(self.elevation)
        forward = np.array([-sin_yaw * cos_up, cos_yaw * cos_up, -sin_up])
        up = np.array([-sin_yaw * sin_up, cos_yaw * sin_up, cos_up])
        right = np.array([cos_yaw, sin_yaw, 0.0])
        return np.stack([right, -up, forward]), -self.distance * forward

    def project(self, points: Floats) -> Floats:
        """World points ``[N, 3]`` to picture points ``[N, 2]``."""
        axes, place = self._axes
        seen = (points - place) @ axes.T
        scale = self.distance * self.zoom / seen[:, 2]
        return np.stack([seen[:, 0] * scale + WIDTH_PX / 2, seen[:, 1] * scale + HEIGHT_PX / 2], 1)

    def depth(self, point: Floats) -> float:
        """The distance of a world point along the line of sight."""
        axes, place = self._axes
        return float((point - place) @ axes[2])

    def plane_to_texture(self) -> tuple[float, ...]:
        """Pillow's 8 coefficients from a picture point to a point of the belt's texture."""
        axes, place = self._axes
        focal = self.distance * self.zoom
        lens = np.array([[focal, 0, WIDTH_PX / 2], [0, focal, HEIGHT_PX / 2], [0, 0, 1.0]])
        to_picture = lens @ np.stack([axes[:, 0], axes[:, 1], -axes @ place], 1)
        to_texture = np.array([[1, 0, TEXTURE_PX / 2], [0, 1, TEXTURE_PX / 2], [0, 0, 1.0]])
        whole = to_texture @ np.linalg.inv(to_picture)
        return tuple(float(value) for value in (whole / whole[2, 2]).ravel()[:8])


def belt_picture(camera: Camera, kind: int, shift: int) -> Picture:
    """The camera's grey picture of the empty belt; `shift` moves the belt along, in pixels."""
    texture = np.roll(belt_texture(kind), shift, axis=1)
    view = camera.plane_to_texture()
    return seen(Image.fromarray(texture), (WIDTH_PX, HEIGHT_PX), view, 60)


def seen(
    texture: Picture, size: tuple[int, int], view: tuple[float, ...], fill: int | tuple[int, ...]
) -> Picture:
    """A texture in perspective: `view` are Pillow's 8 coefficients to points of the texture."""
    smooth = Image.Resampling.BILINEAR
    return texture.transform(size, Image.Transform.PERSPECTIVE, view, smooth, fillcolor=fill)


def belt_half_width(kind: int) -> int:
    """Half the belt's width, in world units."""
    return (112, 124, 136, 118, 150, 128)[kind % PATTERNS] + 10 * (kind // PATTERNS)


@lru_cache(maxsize=PATTERNS * BELT_VARIANTS)
def belt_texture(kind: int) -> Array:
    """A grey belt between rails, uint8 ``[1152, 1152]``; the same on any machine."""
    rng = np.random.default_rng([77, kind])
    floor = _clouds(rng, 64, 70, 26)
    half = belt_half_width(kind)
    top, bottom = TEXTURE_PX // 2 - half, TEXTURE_PX // 2 + half
    belt = (_rubber, _bricks, _rollers, _chevrons, _slats, _mesh)[kind % PATTERNS](rng, 2 * half)
    texture = Image.fromarray(floor)
    texture.paste(Image.fromarray(belt), (0, top))
    draw = ImageDraw.Draw(texture)
    for edge, outward in ((top, -1), (bottom, 1)):
        _rail(draw, edge, outward, hazard=kind >= PATTERNS)
    return np.asarray(texture)


def _rail(draw: Draw, edge: int, outward: int, *, hazard: bool) -> None:
    for offset, width, grey in ((4, 9, 40), (14, 11, 165), (19, 3, 225), (26, 9, 110)):
        y = edge + outward * offset
        draw.line([(0, y), (TEXTURE_PX, y)], fill=grey, width=width)
    for x in range(24, TEXTURE_PX, 96):
        y = edge + outward * 14
        draw.ellipse([x - 3, y - 3, x + 3, y + 3], fill=70)
        if hazard:
            stripe = [(x, y - 5), (x + 30, y - 5), (x + 20, y + 5), (x - 10, y + 5)]
            draw.polygon(stripe, fill=25)


def _clouds(rng: Rng, cell: int, middle: int, spread: int) -> Array:
    """Soft blotches with a little grain, uint8 ``[TEXTURE_PX, TEXTURE_PX]``."""
    count = TEXTURE_PX // cell
    coarse = rng.integers(middle - spread, middle + spread, (count, count), dtype=np.uint8)
    soft = Image.fromarray(coarse).resize((TEXTURE_PX, TEXTURE_PX), Image.Resampling.BICUBIC)
    grain = rng.integers(-7, 8, (TEXTURE_PX, TEXTURE_PX), dtype=np.int16)
    return np.asarray(np.clip(np.asarray(soft, np.int16) + grain, 0, 255), np.uint8)


def _canvas(rng: Rng, height: int, middle: int, spread: int) -> tuple[Picture, Draw]:
    picture = Image.fromarray(_clouds(rng, 48, middle, spread)[:height])
    return picture, ImageDraw.Draw(picture)


def _rubber(rng: Rng, height: int) -> Array:
    picture, draw = _canvas(rng, height, 88, 14)
    for _ in range(70):
        x, y, length = rng.integers((0, 0, 30), (TEXTURE_PX, height, 300))
        draw.line([(x, y), (x + length, y + rng.integers(-3, 4))], fill=int(rng.integers(70, 125)))
    draw.line([(300, 0), (300 + height // 3, height)], fill=45, width=3)
    return np.asarray(picture)


def _bricks(rng: Rng, height: int) -> Array:
    picture, draw = _canvas(rng, height, 150, 12)
    for row, y in enumerate(range(0, height, 36)):
        draw.line([(0, y), (TEXTURE_PX, y)], fill=60, width=4)
        for x in range((row % 2) * 24, TEXTURE_PX, 48):
            cell = [(x + 6, y + 8), (x + 34, y + 8), (x + 38, y + 31), (x + 2, y + 31)]
            draw.line([*cell, cell[0]], fill=205, width=2)
            draw.line([(x + 42, y + 3), (x + 42, y + 33)], fill=45, width=4)
    return np.asarray(picture)


def _rollers(rng: Rng, height: int) -> Array:
    period = 32
    x = np.arange(TEXTURE_PX) % period
    round_bar = 215 - ((x - 13) ** 2 * 0.75).astype(np.int64)
    bar = np.where(x < 27, np.clip(round_bar, 60, 255), 28).astype(np.int16)
    grain = rng.integers(-8, 9, (height, TEXTURE_PX), dtype=np.int16)
    wear = rng.integers(-14, 15, (height, TEXTURE_PX // period), dtype=np.int16)
    worn = np.repeat(wear[height // 2], period)
    return np.asarray(np.clip(bar + grain + worn, 0, 255), np.uint8)


def _chevrons(rng: Rng, height: int) -> Array:
    y, x = np.mgrid[0:height, 0:TEXTURE_PX]
    phase = (x + np.abs(y - height // 2)) % 48
    ridge = np.where(phase < 6, 52, np.where(phase < 9, -30, 0)).astype(np.int16)
    cloud = _clouds(rng, 48, 100, 12)[:height].astype(np.int16)
    return np.asarray(np.clip(cloud + ridge, 0, 255), np.uint8)


def _slats(rng: Rng, height: int) -> Array:
    picture, draw = _canvas(rng, height, 128, 16)
    for x in range(0, TEXTURE_PX, 72):
        draw.line([(x, 0), (x, height)], fill=30, width=5)
        draw.line([(x + 5, 0), (x + 5, height)], fill=190, width=2)
        for y in range(18, height, 64):
            draw.ellipse([x + 32, y, x + 40, y + 8], fill=70)
            draw.line([(x + 33, y + 4), (x + 39, y + 4)], fill=170)
    return np.asarray(picture)


def _mesh(rng: Rng, height: int) -> Array:
    picture, draw = _canvas(rng, height, 58, 10)
    for x in range(0, TEXTURE_PX, 16):
        draw.line([(x, 0), (x, height)], fill=150, width=3)
        draw.line([(x + 1, 0), (x + 1, height)], fill=190)
    for y in range(0, height, 24):
        draw.line([(0, y), (TEXTURE_PX, y)], fill=125, width=4)
    return np.asarray(picture)
