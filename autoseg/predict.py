"""A shipped model on files: class maps of pictures, and its IoU on a labelled split. The same resize as in training."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from autoseg import data as data_room
from autoseg.data.resize import resize_back, resize_frame
from autoseg.device.predict import class_maps, open_session
from autoseg.records import InputError, Score
from autoseg.train import picture_score

log = logging.getLogger(__name__)


def predict_files(model: Path, images: Sequence[Path], out: Path) -> list[Path]:
    """Write the class map of each picture to ``out/<stem>.png``, at the picture's size.

    Raises InputError for a model that is not ours, a picture that cannot be read, and a folder that cannot be written.
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    height, width, channels = _input_shape(model)
    frames, sizes = [], []
    for path in images:
        try:
            with Image.open(path) as opened:
                picture = np.asarray(ImageOps.exif_transpose(opened).convert("RGB"))
        except (OSError, UnidentifiedImageError) as error:
            raise InputError(f"the picture {path} cannot be read: {error}") from error
        sizes.append(picture.shape[:2])
        frames.append(resize_frame(picture, (height, width), channels))
    try:
        out.mkdir(parents=True, exist_ok=True)
        targets = [out / f"{path.stem}.png" for path in images]
        for target, class_map, size in zip(targets, class_maps(model, frames), sizes, strict=True):
            Image.fromarray(resize_back(class_map, size)).save(target)
    except OSError as error:
        raise InputError(f"masks cannot be written to {out}: {error.strerror}") from error
    return targets


def evaluate_file(
    model: Path, data: Path | None, split: str, *, split_column: str | None = None, group_column: str | None = None,
    cache_dir: Path = Path("results/.cache/pictures"),
) -> Score:  # fmt: skip
    """A Score of an ONNX file on one split, at the original resolution of each picture.

    Raises InputError for a model that is not ours, for the data's faults, and for a split that is not there.
    """
    from autoseg.data.cache import arrays

    dataset = data_room.load(data, split_column=split_column, group_column=group_column)
    height, width, channels = _input_shape(model)
    frames = arrays(dataset, split, (height, width), channels, cache_dir).frames
    return picture_score(
        dataset, class_maps(model, frames), cache_dir=cache_dir, split=split, source="onnx",
        epoch=0, train_s=0.0, seed=0,
    )  # fmt: skip


def _input_shape(model: Path) -> tuple[int, int, int]:
    if not model.is_file():
        raise InputError(f"there is no file {model}")
    feeds = open_session(model).get_inputs()
    shape = feeds[0].shape
    if len(feeds) != 1 or feeds[0].type != "tensor(uint8)" or len(shape) != 4 or shape[3] not in (1, 3):
        raise InputError(f"{model} does not take a uint8 frame [1, H, W, 1 or 3] as autoseg's models do, but {feeds[0].type} {shape}")
    return int(shape[1]), int(shape[2]), int(shape[3])
