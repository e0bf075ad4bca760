"""What the tests of several formats share: small pictures, and how masks are read back."""

import os
import pickle
from pathlib import Path

import numpy as np
from PIL import Image

from autoseg.data.inspection import Inspection, inspect

HW = (40, 60)
HEIGHT, WIDTH = HW


def save_picture(path: Path, hw: tuple[int, int] = HW) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    # Told apart by their names: near-duplicates would be warned of.
    noise = np.random.default_rng(list(os.fsencode(path.name))).integers(
        0, 256, (*hw, 3), np.uint8
    )
    Image.fromarray(noise).save(path)


def turn_by_exif(path: Path) -> None:
    """Store a picture on its side, with the EXIF orientation that shows it at its old size."""
    picture = Image.open(path)
    exif = Image.Exif()
    exif[0x0112] = 6
    picture.transpose(Image.Transpose.ROTATE_90).save(path, exif=exif)


def understood(root: Path, name: str) -> Inspection:
    """What is understood of a folder that is recognized as a format, and has no fault."""
    seen = inspect(root)
    assert seen.faults == ()
    assert seen.format == name
    return seen


def mask_of(seen: Inspection, stem: str = "a") -> np.ndarray:
    """A mask read as a training worker reads it."""
    sample = next(s for samples in seen.splits.values() for s in samples if s.stem == stem)
    return pickle.loads(pickle.dumps(seen.read))(sample)[1]


def area(value: int, rows: slice, columns: slice) -> np.ndarray:
    """A mask that holds a value in a box."""
    mask = np.zeros(HW, np.uint8)
    mask[rows, columns] = value
    return mask
