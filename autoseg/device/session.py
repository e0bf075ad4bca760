"""Runs a shipped graph on frames with onnxruntime, in this process, on one thread."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime

from autoseg.core.errors import CandidateError, InputError

CPU = "CPUExecutionProvider"
Image = npt.NDArray[np.uint8]


def open_session(
    onnx: Path, threads: int = 1, providers: Sequence[str] = (CPU,)
) -> onnxruntime.InferenceSession:
    """A session, on one thread of the CPU if not told otherwise.

    Raises InputError where there is no file, CandidateError for what onnxruntime cannot load.
    """
    if not onnx.is_file():
        raise InputError(f"no ONNX file at {onnx}")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 4
    try:
        return onnxruntime.InferenceSession(str(onnx), options, providers=list(providers))
    except Exception as error:  # onnxruntime has a dozen classes of its own, without a root
        raise CandidateError(f"onnxruntime cannot load {onnx}: {error}") from error


def class_maps(onnx: Path, images: Iterable[Image]) -> list[Image]:
    """Class maps (uint8, H x W) of uint8 H x W x C frames.

    Raises InputError for a model that is no shipped graph and for frames of another size.
    """
    session = open_session(onnx)
    node = session.get_inputs()[0]
    if node.type != "tensor(uint8)" or len(node.shape) != 4 or len(session.get_inputs()) > 1:
        raise InputError(
            f"{onnx} takes {node.type} {node.shape}; predicting needs one uint8 [1, H, W, C] input"
        )
    return [_class_map(session, image) for image in images]


def _class_map(session: onnxruntime.InferenceSession, image: Image) -> Image:
    node = session.get_inputs()[0]
    fits = len(image.shape) == 3 and all(
        size == own or not isinstance(own, int)
        for size, own in zip(image.shape, node.shape[1:], strict=True)
    )
    if image.dtype != np.uint8 or not fits:
        raise InputError(
            f"a frame must be uint8 of shape {node.shape[1:]}, "
            f"got {image.dtype} {list(image.shape)}; resize it first"
        )
    try:
        output = session.run(None, {node.name: np.ascontiguousarray(image)[None]})[0]
    except Exception as error:
        raise CandidateError(f"onnxruntime cannot run the model: {error}") from error
    if output.ndim != 3 or output.dtype != np.uint8:
        raise InputError(
            f"a class map is uint8 [1, H, W], the model gives {output.dtype} {list(output.shape)}"
        )
    return np.asarray(output[0], dtype=np.uint8)
