"""Pictures to masks with the model in this folder: `python predict.py picture.jpg -o mask.png`.

Needs onnxruntime, numpy and Pillow, nothing else. A mask is a palette PNG of the picture's size
whose values are the class indices of classes.json.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from PIL import Image
from PIL.ImageOps import exif_transpose

from autoseg.data.resize import Array, resize_back, resize_frame

COLORS = [0, 0, 0, 230, 159, 0, 86, 180, 233, 0, 158, 115, 240, 228, 66, 0, 114, 178, 213, 94, 0]
COLORS += [204, 121, 167, 153, 153, 153, 120, 80, 40, 170, 220, 120, 90, 60, 160, 255, 190, 190]


def load(model: Path, threads: int = 1) -> Any:
    """An onnxruntime session of the model, on the processor."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])


def read(picture: Path) -> Array:
    """A picture as uint8 [H, W, 3] RGB, upright as its EXIF orientation says."""
    with Image.open(picture) as image:
        return np.asarray(exif_transpose(image).convert("RGB"))


def predict(session: Any, image: Array) -> Array:
    """Class indices uint8 [H, W] of a picture uint8 [H, W, 3], at its own size."""
    given = session.get_inputs()[0]
    _, height, width, channels = given.shape
    frame = resize_frame(image, (height, width), channels)
    (class_map,) = session.run([session.get_outputs()[0].name], {given.name: frame[np.newaxis]})
    return resize_back(class_map[0], (image.shape[0], image.shape[1]))


def save(mask: Array, path: Path) -> None:
    """Writes class indices as a palette PNG: values are classes, the colours are for eyes."""
    picture = Image.fromarray(mask).convert("L")
    picture.putpalette(COLORS)
    picture.save(path, format="PNG")


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("pictures", nargs="+", type=Path)
    parser.add_argument("-o", "--output", type=Path, help="a .png for one picture, else a folder")
    parser.add_argument("--model", type=Path, default=Path(__file__).with_name("model.onnx"))
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    output = args.output or Path(".")
    one_file = output.suffix.lower() == ".png"
    if one_file and len(args.pictures) > 1:
        parser.error(
            f"-o names one file, {output}, for {len(args.pictures)} pictures; give a folder"
        )
    session = load(args.model, args.threads)
    if not one_file:
        output.mkdir(parents=True, exist_ok=True)
    for picture in args.pictures:
        path = output if one_file else output / f"{picture.stem}_mask.png"
        save(predict(session, read(picture)), path)
        sys.stdout.write(f"{path}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
