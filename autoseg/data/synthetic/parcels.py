"""The synthetic parcels: conveyor-belt scenes made in memory, for a first run without a download.

A scene depends on (seed, number) alone. The camera looks from above or from the side; parcels have
print, labels, tape and damage; belts, rails, tools, cables, paper and workers are distractors;
light, blur and noise vary. The truth is the visible area of parcels.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache, partial
from types import MappingProxyType

import numpy as np
from PIL import Image, ImageChops, ImageFilter

from autoseg.core.serialize import digest
from autoseg.data.dataset import SPLITS, Array, Dataset, Sample
from autoseg.data.synthetic import belts, clutter
from autoseg.data.synthetic.belts import HEIGHT_PX, WIDTH_PX, Camera, Picture, Rng
from autoseg.data.synthetic.boxes import Box, Size, make_box, put_box

Spot = tuple[float, float, float]  # x, y and reach of a parcel on the belt
# Must change with every pixel: scores are stored under the data's digest.
VERSION = 1
CLASSES = ("background", "parcel")
COUNTS: Mapping[str, int] = MappingProxyType({"train": 240, "val": 80, "test": 80})
# Each split has its own range of scene numbers, so that its size does not change the others.
_FIRST_SCENE = {split: 100_000 * place for place, split in enumerate(SPLITS)}


def parcels(seed: int = 0, counts: Mapping[str, int] = COUNTS) -> Dataset:
    """The synthetic data set: 640x360 RGB, background and parcel, `counts` scenes a split."""
    splits = {split: tuple(_samples(split, counts[split])) for split in SPLITS}
    content = digest({"parcels": VERSION, "seed": seed, "counts": dict(counts)})
    return Dataset("parcels", CLASSES, splits, content, partial(read_scene, seed))


def _samples(split: str, count: int) -> Iterator[Sample]:
    for number in range(count):
        name, scene_number = f"{split}-{number:04d}", str(_FIRST_SCENE[split] + number)
        yield Sample(name, name, scene_number, scene_number, hw=(HEIGHT_PX, WIDTH_PX))


def read_scene(seed: int, sample: Sample) -> tuple[Array, Array]:
    """The scene of a sample: picture uint8 ``[360, 640, 3]`` and truth uint8 ``[360, 640]``."""
    return scene(seed, int(sample.image))


def scene(seed: int, number: int) -> tuple[Array, Array]:
    """Scene `number` under `seed`: uint8 picture ``[360, 640, 3]`` and truth ``[360, 640]``."""
    rng = np.random.default_rng([seed, number])
    camera = _camera(rng)
    kind = int(rng.integers(belts.PATTERNS * belts.BELT_VARIANTS))
    picture = _tinted(rng, belts.belt_picture(camera, kind, int(rng.integers(belts.TEXTURE_PX))))
    half = belts.belt_half_width(kind)
    clutter.draw_on_belt(rng, picture, camera, half)
    boxes = _boxes(rng, half)
    picture = _shaded(rng, picture, camera, boxes)
    truth = Image.new("L", (WIDTH_PX, HEIGHT_PX), 0)
    for box in sorted(boxes, key=lambda box: -camera.depth(box.corners.mean(0))):
        put_box(rng, picture, truth, camera, box)
    clutter.draw_in_front(rng, picture, truth, camera, half)
    return np.asarray(_photographed(rng, picture)), np.array(truth)


def _camera(rng: Rng) -> Camera:
    """From above (along either of two belt directions) or from the side, equally often."""
    lens = (float(rng.uniform(700, 1100)), float(rng.uniform(1.9, 2.3)))
    if rng.random() < 0.5:
        turn = float(rng.choice((0.0, np.pi / 2))) + float(rng.uniform(-0.2, 0.2))
        return Camera(float(rng.uniform(1.36, 1.57)), turn, *lens)
    return Camera(float(rng.uniform(0.6, 0.95)), float(rng.uniform(-0.3, 0.3)), *lens)


def _tinted(rng: Rng, grey: Picture) -> Picture:
    """A grey belt between two colours, cool greys from black rubber to worn steel."""
    dark = rng.integers(10, 24, 3)
    cast = rng.integers(-8, 9, 3) + (-6, 0, 8)
    light = np.clip(int(rng.integers(78, 112)) + cast, 70, 170)
    ramp = dark[:, None] + (light - dark)[:, None] * np.arange(256)[None] / 255
    return Image.merge("RGB", [grey.point([int(v) for v in channel]) for channel in ramp])


def _boxes(rng: Rng, half: int) -> list[Box]:
    """One to four parcels on the belt: alone, in rows with narrow gaps, sometimes stacked."""
    placed: list[Spot] = []
    boxes: list[Box] = []
    for _ in range(int(rng.integers(1, 3))):
        size = _size(rng)
        reach = float(np.hypot(size[0], size[1])) / 2
        if (spot := _spot(rng, placed, reach, half)) is None:
            continue
        pose = np.array([*spot, 0.0, _turn(rng)])
        boxes.append(make_box(rng, size, pose))
        placed.append((*spot, reach))
        if rng.random() < 0.18:
            boxes.append(_neighbour(rng, size, pose, placed))
        elif rng.random() < 0.06:
            on_top = (size[0] * 0.55, size[1] * 0.6, size[2] * 0.6)
            lifted = pose + (0, 0, size[2], float(rng.uniform(-0.5, 0.5)))
            boxes.append(make_box(rng, on_top, lifted))
    return boxes


def _turn(rng: Rng) -> float:
    """The angle in radians: about along the belt in half of the cases, else any."""
    return float(rng.normal(0, 0.3) if rng.random() < 0.5 else rng.uniform(-1.6, 1.6))


def _neighbour(rng: Rng, size: Size, pose: Array, placed: list[Spot]) -> Box:
    """A second parcel beside the first, a gap of a few pixels between them."""
    width = size[1] * float(rng.uniform(0.5, 1.0))
    aside = (size[1] + width) / 2 + float(rng.uniform(4, 12))
    moved = pose + (-np.sin(pose[3]) * aside, np.cos(pose[3]) * aside, 0, 0)
    placed.append((float(moved[0]), float(moved[1]), float(np.hypot(size[0], width)) / 2))
    return make_box(rng, (size[0], width, size[2] * float(rng.uniform(0.6, 1.2))), moved)


def _size(rng: Rng) -> Size:
    """Length, width, height in world units: cartons, flat envelopes, long tubes, small boxes."""
    shape = rng.random()
    if shape < 0.18:
        length = float(rng.uniform(90, 150))
        return length, length * float(rng.uniform(0.6, 0.8)), float(rng.uniform(3, 8))
    if shape < 0.21:
        return float(rng.uniform(110, 190)), float(rng.uniform(22, 34)), float(rng.uniform(18, 30))
    if shape < 0.25:
        length = float(rng.uniform(44, 62))
        return length, length * float(rng.uniform(0.6, 1)), float(rng.uniform(14, 40))
    length = float(rng.uniform(85, 150))
    return length, length * float(rng.uniform(0.6, 0.95)), float(rng.uniform(24, 80))


def _spot(rng: Rng, placed: list[Spot], reach: float, half: int) -> tuple[float, float] | None:
    limit = min(max(half - reach, 15.0), 60.0)
    for _ in range(12):
        x, y = float(rng.uniform(-120, 120)), float(rng.uniform(-limit, limit))
        if all(np.hypot(x - a, y - b) > (reach + r) * 0.9 for a, b, r in placed):
            return x, y
    return None


def _shaded(rng: Rng, picture: Picture, camera: Camera, boxes: list[Box]) -> Picture:
    """The belt with the parcels' shadows, whose length depends on their height."""
    slope = rng.uniform(-0.7, 0.7, 2)
    strength = int(rng.integers(70, 190))
    outlines = []
    for box in boxes:
        cast = box.corners.copy()
        cast[:, :2] += cast[:, 2:] * slope
        cast[:, 2] = 0
        outlines.append(camera.project(cast))
    return clutter.draw_shadows(picture, outlines, strength)


def _photographed(rng: Rng, picture: Picture) -> Picture:
    """The picture of a real camera: uneven light, exposure and colour cast, blur, noise."""
    uneven = rng.integers(185, 256, (3, 4), dtype=np.uint8)
    lamp = Image.fromarray(uneven).resize((WIDTH_PX, HEIGHT_PX), Image.Resampling.BILINEAR)
    picture = ImageChops.multiply(picture, Image.merge("RGB", (lamp, lamp, lamp)))
    gains = float(rng.uniform(0.9, 1.25)) * rng.uniform(0.97, 1.03, 3)
    lifted = int(rng.integers(0, 22))
    table = np.clip(np.arange(256)[None] * gains[:, None] + lifted, 0, 255).astype(np.uint8)
    picture = picture.point(table.ravel().tolist())
    if rng.random() < 0.3:
        picture = picture.filter(ImageFilter.BoxBlur(float(rng.uniform(0.4, 1.1))))
    bank = _noise(int(rng.integers(3)))
    x, y = int(rng.integers(0, 129)), int(rng.integers(0, 129))
    return ImageChops.add(picture, bank.crop((x, y, x + WIDTH_PX, y + HEIGHT_PX)), 1, -128)


@lru_cache(maxsize=3)
def _noise(level: int) -> Picture:
    """Sensor noise around 128, larger than a picture, so that random crops of it differ."""
    rng = np.random.default_rng([78, level])
    spread = (2, 3, 6)[level]
    # A sum of three uniform draws approximates a normal distribution, and whole numbers are equal
    # on any machine.
    shape = (3, HEIGHT_PX + 128, WIDTH_PX + 128, 3)
    noise = rng.integers(-spread, spread + 1, shape, dtype=np.int16).sum(0, dtype=np.int16)
    return Image.fromarray((noise + 128).astype(np.uint8))
