"""Opens ONNX files in onnxruntime, in this process, and runs shipped graphs on frames.

The one home of this, for Python 3.8 with numpy and onnxruntime alone: `bundle/inline` writes it
into the predict.py that ships. Only `device/runner.py`, copied to boards whole, has its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from autoseg.core.errors import CandidateError, InputError
from autoseg.core.files import lfs_pointer
from autoseg.device.runtimes import require_importable

require_importable()

import onnxruntime  # noqa: E402 (only after the trial)

Array = npt.NDArray[np.uint8]
CPU_PROVIDER = "CPUExecutionProvider"


def open_session(
    onnx: Path, threads: int = 1, providers: Sequence[str] = (CPU_PROVIDER,)
) -> onnxruntime.InferenceSession:
    """An onnxruntime session that logs nothing; by default on one thread of the CPU.

    Raises InputError for a missing file, CandidateError for one that onnxruntime cannot load.
    """
    if not onnx.is_file():
        raise InputError(f"there is no file {onnx}")
    if fault := lfs_pointer(onnx):
        raise InputError(fault)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 4
    try:
        return onnxruntime.InferenceSession(str(onnx), options, providers=list(providers))
    except Exception as error:  # onnxruntime has a dozen exception classes without a base class
        raise CandidateError(f"onnxruntime cannot load {onnx}: {error}") from error


def class_maps(onnx: Path, frames: Iterable[Array]) -> list[Array]:
    """Class maps uint8 `[h, w]` of frames uint8 `[H, W, C]`, on one thread of the CPU.

    Raises InputError for a model that is no shipped graph and for frames of another size.
    """
    session = open_session(onnx)
    node = session.get_inputs()[0]
    if node.type != "tensor(uint8)" or len(node.shape) != 4 or len(session.get_inputs()) > 1:
        raise InputError(
            f"{onnx} takes {node.type} {node.shape}; predicting needs one uint8 [1, H, W, C] input"
        )
    return [class_map(session, frame) for frame in frames]


def class_map(session: onnxruntime.InferenceSession, frame: Array) -> Array:
    """The class map uint8 `[h, w]` of one frame uint8 `[H, W, C]`.

    Raises InputError for another frame or output, CandidateError where the model does not run.
    """
    node = session.get_inputs()[0]
    fits = len(frame.shape) == 3 and all(
        size == own or not isinstance(own, int)
        for size, own in zip(frame.shape, node.shape[1:])  # noqa: B905 (Python 3.8)
    )
    if frame.dtype != np.uint8 or not fits:
        raise InputError(
            f"a frame must be uint8 of shape {node.shape[1:]}, "
            f"got {frame.dtype} {list(frame.shape)}; resize it first"
        )
    try:
        output = session.run(None, {node.name: np.ascontiguousarray(frame)[np.newaxis]})[0]
    except Exception as error:
        raise CandidateError(f"onnxruntime cannot run the model: {error}") from error
    if output.ndim != 3 or output.dtype != np.uint8:
        raise InputError(
            f"a class map is uint8 [1, H, W], the model gives {output.dtype} {list(output.shape)}"
        )
    return np.asarray(output[0], dtype=np.uint8)
