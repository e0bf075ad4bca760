"""`autoseg predict` and `evaluate`: class maps of pictures, IoU of a model on a split.

Both use the resize of training.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from autoseg import data as data_room
from autoseg.bundle.predict_script import (
    Colours,
    FrameSeconds,
    MaskResult,
    grey_range_of,
    input_of,
    load,
    medians,
    write_masks,
)
from autoseg.bundle.read import open_bundle
from autoseg.bundle.targets import mask_tasks
from autoseg.core.errors import InputError
from autoseg.core.records import Score
from autoseg.data.dataset import Array, Dataset, Reading
from autoseg.data.drawing.overlay import class_colours
from autoseg.device import runner
from autoseg.device.model_files import files_of
from autoseg.device.session import class_maps
from autoseg.export.contract import require_shipped
from autoseg.train.scoring import picture_score

ClassMaps = Callable[[Path, Iterable[Array]], list[Array]]


def cache_here() -> Path:
    """The cache of decoded pictures: that of the runs in this folder, else the user's."""
    of_runs = Path("results/.cache")
    return (of_runs if of_runs.is_dir() else Path(runner.cache())) / "pictures"


def predict_files(
    model: Path, images: Sequence[Path], out: Path, *, overlays: bool = False
) -> Iterator[MaskResult]:
    """Write the class map of each picture, or of each in a folder, at the picture's size.

    `model` is an ONNX file or a bundle, whose files are checked first. `out` is a folder, or a
    .png for one picture; `overlays` are written beside the masks. A bundle's predict.py does the
    same. An unreadable picture is reported in its place. Raises InputError for a model that is not
    ours, masks that would overwrite each other or a picture, and a folder that cannot be written.
    """
    planned = mask_tasks(images, out, overlays)
    session, colours = _opened(model)
    return write_masks(session, planned, colours)


def _opened(model: Path) -> tuple[Any, Colours | None]:
    """A session, and the colours of the classes if they are known."""
    if not model.is_dir():
        session = load(files_of(model).onnx)
        names = session.get_modelmeta().custom_metadata_map.get("classes", "").split("\n")
        return session, class_colours(names) if 2 <= len(names) <= 255 else None
    with open_bundle(model) as bundle:
        require_shipped(bundle.model)
        return load(bundle.model), bundle.colours


def speed_facts(times: Sequence[FrameSeconds]) -> dict[str, float | int | None]:
    """The figures of `speed` as JSON data: medians in ms; None where nothing was predicted."""
    parts: dict[str, Any] = dict.fromkeys(FrameSeconds._fields)
    if times:
        parts = medians(times)._asdict()
    return {
        "pictures": len(times),
        "per_second": 1 / max(sum(parts.values()), 1e-9) if times else None,
        **{name.replace("_s", "_ms"): s and 1e3 * s for name, s in parts.items()},
    }


def evaluate_file(
    model: Path,
    data: Path | None,
    split: str,
    reading: Reading = Reading(),  # noqa: B008 (frozen)
    cache_dir: Path | None = None,
) -> Score:
    """A Score of an ONNX file on one split, at the original resolution of each picture.

    Raises InputError for a model that is not ours, faults of the data, and a missing split.
    """
    session, cache_dir = load(files_of(model).onnx), cache_dir or cache_here()
    frame, grey_range = input_of(session, str(model)), grey_range_of(session)
    inspected = cache_dir.with_name("inspected")
    dataset = data_room.load(data, reading, cache_dir=inspected, grey_range=grey_range)
    return score_file(model, dataset, split, frame=frame, cache_dir=cache_dir)


def score_file(
    model: Path,
    dataset: Dataset,
    split: str,
    *,
    frame: tuple[int, int, int],
    cache_dir: Path,
    run: ClassMaps = class_maps,
) -> Score:
    """A Score of an ONNX file on one split of a data set; `run` gives its class maps of frames,
    which have the height, width and channels of `frame`.

    Raises InputError for a missing split, and for classes that the data does not have.
    """
    from autoseg.data.cache import arrays

    height, width, channels = frame
    frames = arrays(dataset, split, (height, width), channels, cache_dir).frames()
    maps = run(model, frames)
    highest = max(int(class_map.max()) for class_map in maps)
    if highest >= len(dataset.classes):
        raise InputError(
            f"{model} predicts class {highest}, and the data has the classes "
            f"{', '.join(dataset.classes)} (0..{len(dataset.classes) - 1}): "
            "it was trained on other data"
        )
    return picture_score(
        dataset, maps, cache_dir=cache_dir, split=split, source="onnx",
        epoch=0, train_s=0.0, seed=0,
    )  # fmt: skip
