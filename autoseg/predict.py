"""A shipped model on files: class maps of pictures, and its IoU on a labelled split.

Both go through the one resize of training.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from autoseg import data as data_room
from autoseg.data.dataset import Reading
from autoseg.data.pictures import read_picture
from autoseg.data.resize import resize_back, resize_frame
from autoseg.device.predict import class_maps, open_session
from autoseg.records import CandidateError, InputError, Score
from autoseg.train import picture_score

log = logging.getLogger(__name__)


def predict_files(model: Path, images: Sequence[Path], out: Path) -> list[Path]:
    """Write the class map of each picture to ``out/<stem>.png``, at the picture's size.

    Raises InputError for a model that is not ours, a picture that cannot be read, masks that would
    be written over each other or over a picture, and a folder that cannot be written.
    """
    height, width, channels = _input_shape(model)
    targets = _targets(images, out)
    frames, sizes = [], []
    for path in images:
        picture = read_picture(path)
        sizes.append((picture.shape[0], picture.shape[1]))
        frames.append(resize_frame(picture, (height, width), channels))
    maps = class_maps(model, frames)
    try:
        out.mkdir(parents=True, exist_ok=True)
        for target, class_map, size in zip(targets, maps, sizes, strict=True):
            Image.fromarray(resize_back(class_map, size)).save(target)
    except OSError as error:
        raise InputError(f"masks cannot be written to {out}: {error.strerror}") from error
    return targets


def _targets(images: Sequence[Path], out: Path) -> list[Path]:
    targets = [out / f"{path.stem}.png" for path in images]
    twice = [target.name for target, count in Counter(targets).items() if count > 1]
    if twice:
        raise InputError(f"several pictures would be written to {out / twice[0]}: call for each")
    pictures = {path.resolve() for path in images}
    over = [target for target in targets if target.resolve() in pictures]
    if over:
        raise InputError(f"{over[0]} is a picture to be read: write masks elsewhere, with -o DIR")
    return targets


def evaluate_file(
    model: Path,
    data: Path | None,
    split: str,
    reading: Reading = Reading(),  # noqa: B008 (frozen)
    cache_dir: Path = Path("results/.cache/pictures"),
) -> Score:
    """A Score of an ONNX file on one split, at the original resolution of each picture.

    Raises InputError for a model that is not ours, for the data's faults, and for a split that is
    not there.
    """
    from autoseg.data.cache import arrays

    height, width, channels = _input_shape(model)
    inspected = cache_dir.with_name("inspected")
    dataset = data_room.load(data, reading, cache_dir=inspected)
    frames = arrays(dataset, split, (height, width), channels, cache_dir).frames()
    maps = class_maps(model, frames)
    highest = max(int(class_map.max()) for class_map in maps)
    if highest >= len(dataset.classes):
        raise InputError(
            f"{model} tells class {highest}, and the data has the classes "
            f"{', '.join(dataset.classes)} (0..{len(dataset.classes) - 1}): it is of other data"
        )
    return picture_score(
        dataset, maps, cache_dir=cache_dir, split=split, source="onnx",
        epoch=0, train_s=0.0, seed=0,
    )  # fmt: skip


def _input_shape(model: Path) -> tuple[int, int, int]:
    if not model.is_file():
        raise InputError(f"there is no file {model}")
    try:
        feeds = open_session(model).get_inputs()
    except CandidateError as error:
        raise InputError(str(error)) from error
    shape = feeds[0].shape
    fits = len(feeds) == 1 and feeds[0].type == "tensor(uint8)" and len(shape) == 4
    if not fits or not all(isinstance(side, int) for side in shape) or shape[3] not in (1, 3):
        raise InputError(
            f"{model} does not take a uint8 frame [1, H, W, 1 or 3] as autoseg's models do, "
            f"but {feeds[0].type} {shape}"
        )
    return int(shape[1]), int(shape[2]), int(shape[3])
