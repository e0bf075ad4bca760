"""Exports a torch network as the shipped ONNX file: from a frame to a class map.

The graph takes uint8 `[1, H, W, C]` ("frame") and returns uint8 class indices `[1, h, w]`
("classes"), opset 18 and IR 9, which onnxruntime 1.16 loads. Normalization, upsampling and the
choice of the class are in the graph.
"""

from __future__ import annotations

import copy
import io
import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import torch
from torch import Tensor, nn

from autoseg.core.errors import CandidateError
from autoseg.core.files import write_atomically
from autoseg.core.serialize import file_digest
from autoseg.core.units import HW
from autoseg.device.session import class_maps
from autoseg.export.graph import (
    IR_VERSION,
    OPSET,
    add_class_output,
    add_frame_input,
    drop_unused_constants,
    graph_digest,
    shape_of,
    simplify,
)
from autoseg.networks.blocks import PIXEL_MEAN, PIXEL_SCALE, normalize

# Pixels whose two best classes tie within rounding may differ; more is a fault of the export.
MIN_AGREEMENT = 0.999

Pictures = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Exported:
    """One ONNX file. `onnx_digest` is of its bytes, `graph_digest` of all but its weights."""

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
    """Writes `net` as one ONNX file, from a copy in evaluation mode; `classes` are its outputs.

    The file is replaced atomically. Raises CandidateError where the network cannot be exported or
    its logits are not `[1, classes, h, w]`.
    """
    model = simplify(_convert(_copy(net), torch.zeros(1, channels, *input_hw)))
    _require_logits(model, classes)
    add_frame_input(model, input_hw, mean=PIXEL_MEAN, scale=PIXEL_SCALE)
    add_class_output(model)
    drop_unused_constants(model)
    del model.graph.value_info[:]
    model.ir_version = IR_VERSION
    model.producer_name = "autoseg"
    onnx.helper.set_model_props(model, dict(metadata))
    data = model.SerializeToString()
    write_atomically(path, data)
    return Exported(path, len(data), file_digest(path), graph_digest(model))


def check(exported: Exported, net: nn.Module, frames: Pictures) -> float:
    """Share of the pixels of uint8 `[N, H, W, C]` frames whose class in the file is torch's own.

    Raises CandidateError below 0.999.
    """
    ours = np.stack(class_maps(exported.path, frames))
    reference = _copy(net)
    theirs = np.concatenate([_torch_classes(reference, frame) for frame in frames])
    agreement = float((ours == theirs).mean())
    if not agreement >= MIN_AGREEMENT:
        raise CandidateError(
            f"{exported.path.name} must agree with torch on {MIN_AGREEMENT:.1%} of the pixels, "
            f"it does on {agreement:.2%}"
        )
    return agreement


def _torch_classes(net: nn.Module, frame: Pictures) -> Pictures:
    with torch.inference_mode():
        logits: Tensor = net(normalize(torch.tensor(frame[None])))
        chosen = logits[:, 0] >= 0 if logits.shape[1] == 1 else logits.argmax(dim=1)
        classes: Pictures = chosen.to(torch.uint8).numpy()
    return classes


def _copy(net: nn.Module) -> nn.Module:
    return copy.deepcopy(net).cpu().eval()


def _convert(net: nn.Module, picture: Tensor) -> onnx.ModelProto:
    """The graph from float `[1, C, H, W]` to logits.

    Tracing first, for its speed: 0.2 s for a Fast-SCNN where torch.export takes 1.6 s, and a
    search exports dozens of untrained networks within a tenth of its budget. torch.export is the
    fallback for networks that cannot be traced.
    """
    with _silence(), torch.no_grad():
        causes: list[Exception] = []
        for exporter in (_trace, _capture):
            try:
                return exporter(net, picture)
            except Exception as error:
                # A user's forward and the exporters may raise any exception.
                causes.append(error)
    # Tracing runs the network itself, so its error is the clearest.
    line = str(causes[0]).strip().partition("\n")[0].rstrip()
    raise CandidateError(
        f"the network cannot be exported: {type(causes[0]).__name__}: {line}"
    ) from causes[0]


def _trace(net: nn.Module, picture: Tensor) -> onnx.ModelProto:
    file = io.BytesIO()
    # The tracing exporter accepts a file object, unlike the common signature says.
    torch.onnx.export(net, (picture,), file, dynamo=False, opset_version=OPSET)  # type: ignore[arg-type]
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
    """Hides the exporters' warnings (deprecations, traced constants) from the terminal."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "torch.export")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL + 1)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _require_logits(model: onnx.ModelProto, classes: int) -> None:
    outputs = [shape_of(model, value.name) for value in model.graph.output]
    known = len(outputs) == 1 and len(outputs[0]) == 4 and all(outputs[0])
    if not known or outputs[0][:2] != [1, classes]:
        raise CandidateError(
            f"a network must return logits [1, {classes}, h, w] and nothing else, got {outputs}"
        )
