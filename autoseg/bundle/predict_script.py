"""Predicts masks with the model in this folder: `python predict.py picture.jpg -o mask.png`.

Needs Python 3.8, onnxruntime 1.16, numpy and Pillow 9.1, or newer. As a module:

    from predict import load, predict, read_picture
    model = load()
    mask = predict(model, read_picture("picture.jpg"))

A mask is a palette PNG of the image's size whose values are the class indices of classes.json.
A grey picture of 16 bits: `read_picture("picture.png", grey_range_of(model))`.
"""

from __future__ import annotations

import argparse
import faulthandler
import json
import os
import re
import signal
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any, Iterable, Iterator, NamedTuple, Sequence  # noqa: UP035 (Python 3.8)

if __name__ == "__main__":
    # An onnxruntime for another processor ends the interpreter at its import: this says where.
    faulthandler.enable(2)
if __name__ == "__main__" and os.name == "posix":
    # And a child says what to do: it is sent a byte unless the interpreter ends before.
    received, sent = os.pipe()
    if not os.fork():
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        os.close(sent)
        if not os.read(received, 1):
            sys.stderr.write(
                "predict.py: Python ended as it imported onnxruntime, numpy and Pillow: is one of "
                "them built for another processor? Try another version of onnxruntime:\n"
                f"    {sys.executable} -m pip install onnxruntime==1.20.1    (or 1.19.2)\n"
            )
            sys.stderr.flush()
        os._exit(0)
    os.close(received)
try:
    import numpy as np
    import onnxruntime  # noqa: F401 (missing: the message below says what to install)
    from PIL import Image
    from PIL.Image import Resampling  # noqa: F401 (older Pillows lack it, and more)
except ImportError as error:
    if __name__ != "__main__":
        raise
    sys.stderr.write(
        f"predict.py: {error}\nIt needs onnxruntime 1.16, numpy and Pillow 9.1 or newer:\n"
        f"    {sys.executable} -m pip install onnxruntime numpy pillow\n"
    )
    sys.exit(2)
finally:
    if __name__ == "__main__" and os.name == "posix":
        os.write(sent, b".")
        os.close(sent)
        os.wait()

from autoseg.bundle.targets import MaskTask, mask_tasks
from autoseg.core.errors import CandidateError, InputError
from autoseg.data.dataset import FULL_RANGE, GreyRange
from autoseg.data.drawing.overlay import Array, Colour, overlay
from autoseg.data.pictures import read_picture
from autoseg.data.resize import resize_frame, resize_mask
from autoseg.device.session import class_map, open_session

MODEL = Path(__file__).with_name("model.onnx")
MAX_JSON_BYTES = 1_000_000
Colours = Sequence["Colour | None"]


class FrameSeconds(NamedTuple):
    """Seconds for one image: resize, inference, resize back."""

    resize_s: float
    inference_s: float
    resize_back_s: float


class MaskResult(NamedTuple):
    """The times of a task, or the error of an image that cannot be read."""

    task: MaskTask
    times: FrameSeconds | None
    error: str = ""


def load(model: str | Path = MODEL, threads: int = 1) -> Any:
    """An onnxruntime session of the model in this folder, or of another one, on the CPU.

    Raises InputError for a missing file, one that cannot be loaded, or another kind of model.
    """
    with _model_is_input():
        session = open_session(Path(model), threads)
    input_of(session, str(model))
    return session


def input_of(session: Any, name: str = "the model") -> tuple[int, int, int]:
    """Height, width and channels of the model's input. Raises InputError for other models."""
    feeds = session.get_inputs()
    shape = feeds[0].shape if feeds else []
    fits = len(feeds) == 1 and feeds[0].type == "tensor(uint8)" and len(shape) == 4
    if not fits or not all(isinstance(side, int) for side in shape) or shape[3] not in (1, 3):
        kind = f"{feeds[0].type} {shape}" if feeds else "nothing"
        raise InputError(
            f"the input of {name} is {kind}; autoseg's models take a uint8 frame [1, H, W, 1 or 3]"
        )
    return shape[1], shape[2], shape[3]


def grey_range_of(session: Any) -> GreyRange:
    """The values of grey pictures of 16 bits that become 0 to 255, as in training: those in the
    model's metadata, else all (the upper 8 bits are used). Raises InputError for other metadata.
    """
    text = session.get_modelmeta().custom_metadata_map.get("grey_range", "")
    if not text:
        return FULL_RANGE
    found = re.match(r"([0-9]{1,5}) ([0-9]{1,5})$", text)
    if found is None or not int(found[1]) <= int(found[2]) <= FULL_RANGE[1]:
        raise InputError(
            f"the model's grey_range must be two values of 16 bits, got {text[:40]!r}"
        )
    return int(found[1]), int(found[2])


def predict(session: Any, image: Array) -> Array:
    """Class indices uint8 [H, W] of an image uint8 [H, W, 3] RGB, at its size.

    Raises InputError for an array of another type or shape.
    """
    return timed(session, image)[0]


def timed(session: Any, image: Array) -> tuple[Array, FrameSeconds]:
    """As `predict`, with the seconds of each part."""
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise InputError(
            f"an image is uint8 [H, W, 3] in RGB order, got {image.dtype} {list(image.shape)}"
        )
    height, width, channels = input_of(session)
    began = time.perf_counter()
    frame = resize_frame(image, (height, width), channels)
    resized = time.perf_counter()
    with _model_is_input():
        classes = class_map(session, frame)
    inferred = time.perf_counter()
    mask = resize_mask(classes, (image.shape[0], image.shape[1]))
    ended = time.perf_counter()
    return mask, FrameSeconds(resized - began, inferred - resized, ended - inferred)


@contextmanager
def _model_is_input() -> Iterator[None]:
    """Raises InputError for a model's fault: here the user chose the model."""
    try:
        yield
    except CandidateError as error:
        raise InputError(str(error)) from error


def write_masks(
    session: Any, planned: Iterable[MaskTask], colours: Colours | None
) -> Iterator[MaskResult]:
    """Predict and write the masks one by one; unreadable images are reported and skipped.

    Raises InputError where an output cannot be written, and for overlays without colours.
    """
    grey_range = grey_range_of(session)
    for task in planned:
        if task.overlay is not None and colours is None:
            raise InputError("--overlay needs the colours of a classes.json beside the model")
        try:
            image = read_picture(task.picture, grey_range)
        except InputError as error:
            yield MaskResult(task, None, str(error))
            continue
        mask, times = timed(session, image)
        _write(task, image, mask, colours)
        yield MaskResult(task, times)


def _write(task: MaskTask, image: Array, mask: Array, colours: Colours | None) -> None:
    try:
        task.mask.parent.mkdir(parents=True, exist_ok=True)
        save(mask, task.mask, colours)
        if task.overlay is not None:
            drawn = overlay(image, mask, colours or ())
            Image.fromarray(drawn).save(task.overlay, format="JPEG", quality=90)
    except OSError as error:
        reason = error.strerror or error
        raise InputError(f"{task.mask} cannot be written ({reason}): choose another -o") from error


def save(mask: Array, path: str | Path, colours: Colours | None = None) -> None:
    """Write class indices as a PNG; the colours are its palette."""
    picture = Image.fromarray(mask)
    if colours is not None:
        picture.putpalette([part for colour in colours for part in colour or (0, 0, 0)])
    picture.save(path, format="PNG")


def medians(times: Sequence[FrameSeconds]) -> FrameSeconds:
    """The median of each part over the images; `times` must not be empty."""
    return FrameSeconds(*(median(part) for part in zip(*times)))  # noqa: B905 (Python 3.8)


def speed(times: Sequence[FrameSeconds]) -> str:
    """Images per second and the median time of each part, as text."""
    if not times:
        return "no image was predicted"
    parts = medians(times)
    return (
        f"{len(times)} {'image' if len(times) == 1 else 'images'}, "
        f"{1 / max(sum(parts), 1e-9):.3g} per second: resize {1e3 * parts.resize_s:.3g} ms, "
        f"inference {1e3 * parts.inference_s:.3g} ms, resize back "
        f"{1e3 * parts.resize_back_s:.3g} ms (medians, without reading and writing files)"
    )


def read_colours(folder: Path) -> list[Colour | None] | None:
    """The colour of each class from the folder's classes.json; None without such a file.

    Raises InputError for a file of another format.
    """
    path = folder / "classes.json"
    if not path.is_file():
        return None
    try:
        if path.stat().st_size > MAX_JSON_BYTES:
            raise ValueError("it is too large")
        colours = json.loads(path.read_text(encoding="utf-8"))["colours"]
        shown = [None if colour is None else _colour(colour) for colour in colours]
        if not 1 <= len(shown) <= 256:
            raise ValueError(f"{len(shown)} colours")
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise InputError(f"{path} has no valid colours of classes: {error}") from error
    return shown


def _colour(parts: Any) -> Colour:
    red, green, blue = parts
    if not all(type(part) is int and 0 <= part <= 255 for part in parts):
        raise ValueError(f"{parts} is no colour")
    return red, green, blue


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("pictures", nargs="+", type=Path, help="images, or folders of images")
    parser.add_argument(
        "-o", "--out", type=Path, default=Path("masks"),
        help="a .png for one image, else a folder (default: masks)",
    )  # fmt: skip
    parser.add_argument(
        "--overlay", action="store_true", help="also write each image with its mask over it"
    )
    parser.add_argument(
        "--model", type=Path, default=MODEL, help="default: model.onnx in this folder"
    )
    parser.add_argument(
        "--threads", type=int, default=1, help="threads of one inference (default: 1)"
    )
    return parser.parse_args()


def main() -> int:
    """The exit code: 0, or 2 for the user's errors, which go to stderr."""
    args = _arguments()
    if args.threads < 1:
        raise InputError(f"--threads must be at least 1, got {args.threads}")
    planned = mask_tasks(args.pictures, args.out, args.overlay)
    colours = read_colours(args.model.parent)
    session = load(args.model, args.threads)
    times, failed = [], 0
    for done in write_masks(session, planned, colours):
        if done.times is None:
            failed += 1
            sys.stderr.write(f"predict.py: {done.error}\n")
            continue
        times.append(done.times)
        sys.stdout.write(f"{done.task.mask}\n")
    sys.stderr.write(f"{speed(times)}\n")
    return 2 if failed else 0


if __name__ == "__main__":
    for stream in (sys.stdout, sys.stderr):
        # File names may contain characters that the terminal cannot encode.
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    try:
        sys.exit(main())
    except InputError as error:
        sys.stderr.write(f"predict.py: {error}\n")
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)
