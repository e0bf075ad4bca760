"""From a torch network to the one ONNX file that is shipped: a frame in, a class map out.

The graph takes uint8 `[1, H, W, C]` ("frame") and returns uint8 class indices `[1, h, w]` ("classes"), opset 18 and
IR 9, which onnxruntime 1.16 loads. Normalization, upsampling and the choice of the class are inside.
"""

from __future__ import annotations

import copy
import io
import logging
import os
import uuid
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import torch
from torch import Tensor, nn

from autoseg.graph import (
    CLASSES,
    FRAME,
    IR_VERSION,
    OPSET,
    add_class_output,
    add_frame_input,
    graph_digest,
    shape_of,
    simplify,
)
from autoseg.networks.blocks import PIXEL_MEAN, PIXEL_SCALE, normalize
from autoseg.networks.structure import structure_digest
from autoseg.records import HW, CandidateError, file_digest

__all__ = ["AGREEMENT", "Exported", "check", "export", "predict", "session", "structure_digest"]

# Pixels whose two best classes tie within rounding may fall either way; anything more is a fault of the export.
AGREEMENT = 0.999

Pictures = npt.NDArray[np.uint8]
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Exported:
    """One ONNX file. `onnx_digest` is of its bytes, `graph_digest` of what decides its speed (not its weights)."""

    path: Path
    size_bytes: int
    onnx_digest: str
    graph_digest: str


def export(
    net: nn.Module,
    path: Path,
    *,
    input_hw: HW,
    channels: int,
    classes: int,
    metadata: Mapping[str, str],
) -> Exported:
    """Write `net` as one ONNX file, in evaluation mode, from a copy; `classes` counts its output channels.

    A reader of `path` sees the old file or the whole new one. Raises CandidateError where the network cannot
    be exported or its logits are not `[1, classes, h, w]`.
    """
    model = simplify(_convert(_copy(net), torch.zeros(1, channels, *input_hw)))
    _require_logits(model, classes)
    add_frame_input(model, input_hw, mean=PIXEL_MEAN, scale=PIXEL_SCALE)
    add_class_output(model)
    del model.graph.value_info[:]
    model.ir_version = IR_VERSION
    model.producer_name = "autoseg"
    onnx.helper.set_model_props(model, dict(metadata))
    data = model.SerializeToString()
    _write(path, data)
    return Exported(path, len(data), file_digest(path), graph_digest(model))


def check(exported: Exported, net: nn.Module, frames: Pictures) -> float:
    """Share of the pixels of uint8 `[N, H, W, C]` frames whose class in the file is torch's own.

    Raises CandidateError below 0.999.
    """
    ours = predict(exported.path, frames)
    with torch.inference_mode():
        logits: Tensor = _copy(net)(normalize(torch.from_numpy(frames)))
    chosen = logits[:, 0] >= 0 if logits.shape[1] == 1 else logits.argmax(dim=1)
    agreement = float((ours == chosen.to(torch.uint8).numpy()).mean())
    if not agreement >= AGREEMENT:
        raise CandidateError(
            f"{exported.path.name} must agree with torch on {AGREEMENT:.1%} of the pixels, "
            f"it does on {agreement:.2%}"
        )
    return agreement


def predict(path: Path, frames: Pictures) -> Pictures:
    """Class maps uint8 `[N, h, w]` of uint8 frames `[N, H, W, C]`, one picture at a time on one thread."""
    runtime = session(path)
    try:
        maps = [runtime.run([CLASSES], {FRAME: frame[None]})[0] for frame in frames]
    except Exception as error:
        # onnxruntime's exceptions have no base class of their own.
        raise CandidateError(f"{path.name} does not run: {_line(error)}") from error
    return np.concatenate(maps)


def session(path: Path, threads: int = 1) -> onnxruntime.InferenceSession:
    """An onnxruntime session on the CPU that says nothing below an error. Raises CandidateError."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:
        raise CandidateError(f"onnxruntime cannot load {path}: {_line(error)}") from error


def _copy(net: nn.Module) -> nn.Module:
    return copy.deepcopy(net).cpu().eval()


def _convert(net: nn.Module, picture: Tensor) -> onnx.ModelProto:
    """The graph from float `[1, C, H, W]` to logits.

    Tracing comes first for its speed: 0.2 s for a Fast-SCNN where torch.export takes 1.6 s, and a search exports
    dozens of untrained networks within a tenth of its budget. What cannot be traced goes the other way.
    """
    exporters: tuple[Callable[[nn.Module, Tensor], onnx.ModelProto], ...] = (_trace, _capture)
    with _silence(), torch.no_grad():
        for exporter in exporters:
            try:
                return exporter(net, picture)
            except Exception as error:
                # Anything may come out of a user's forward and of the exporters.
                cause = error
                _log.debug("%s failed", exporter.__name__, exc_info=True)
        raise CandidateError(f"the network cannot be exported: {_line(cause)}") from cause


def _trace(net: nn.Module, picture: Tensor) -> onnx.ModelProto:
    file = io.BytesIO()
    torch.onnx.export(net, (picture,), file, dynamo=False, opset_version=OPSET)
    return onnx.load_from_string(file.getvalue())


def _capture(net: nn.Module, picture: Tensor) -> onnx.ModelProto:
    program = torch.onnx.export(
        net, (picture,), dynamo=True, opset_version=OPSET, optimize=False, verbose=False
    )
    if program is None:
        raise RuntimeError("torch.onnx returned no program")
    return program.model_proto


@contextmanager
def _silence() -> Iterator[None]:
    """Keep the exporters' advice (deprecations, traced constants, torchvision) from the user's terminal."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def _require_logits(model: onnx.ModelProto, classes: int) -> None:
    outputs = [shape_of(model, value.name) for value in model.graph.output]
    known = len(outputs) == 1 and len(outputs[0]) == 4 and all(outputs[0])
    if not known or outputs[0][:2] != [1, classes]:
        raise CandidateError(
            f"a network must return one tensor of logits [1, {classes}, h, w], it returns {outputs}"
        )


def _write(path: Path, data: bytes) -> None:
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        temporary.write_bytes(data)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _line(error: BaseException) -> str:
    """The first line of an exception's message."""
    first = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    return f"{type(error).__name__}: {first}"
