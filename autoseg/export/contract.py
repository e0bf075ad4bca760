"""Checks whether an ONNX file is a shipped graph, before onnxruntime loads it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import onnx
from onnx import AttributeProto, ModelProto, TensorProto, ValueInfoProto
from onnx.external_data_helper import uses_external_data

from autoseg.core.errors import InputError

MAX_PIXELS = 64 << 20
DOMAINS = ("", "ai.onnx")


def require_shipped(path: Path) -> tuple[int, int, int]:
    """Height, width and channels of the frame that a shipped graph takes.

    Runs nothing and reads no other file. Raises InputError for a file that is no ONNX, has
    external weights, operators or graphs of its own, or other inputs and outputs than one uint8
    frame and its class map.
    """
    try:
        model = onnx.load_model(str(path), load_external_data=False)
    except Exception as error:  # protobuf's exceptions differ by version
        raise InputError(f"{path.name} is no ONNX file ({type(error).__name__})") from error
    for fault in _faults(model):
        raise InputError(f"{path.name} is no model as autoseg ships them: {fault}")
    _, height, width, channels = _sizes(model.graph.input[0])
    return height, width, channels


def _faults(model: ModelProto) -> Iterator[str]:
    graph = model.graph
    if any(uses_external_data(tensor) for tensor in _tensors(model)):
        yield "its weights are in other files"
    foreign = sorted({node.domain for node in graph.node} - set(DOMAINS))
    if foreign or model.functions:
        yield f"it has operators that are not of ONNX ({', '.join(foreign)[:80] or 'its own'})"
    inner = (AttributeProto.GRAPH, AttributeProto.GRAPHS)
    if any(attribute.type in inner for node in graph.node for attribute in node.attribute):
        yield "it has nested graphs"
    if len(graph.input) != 1 or not graph.output:
        yield f"it takes {len(graph.input)} inputs and gives {len(graph.output)} outputs"
    else:
        yield from _ends(graph.input[0], graph.output[0])


def _ends(frame: ValueInfoProto, classes: ValueInfoProto) -> Iterator[str]:
    takes, gives = _sizes(frame), _sizes(classes)
    uint8 = all(v.type.tensor_type.elem_type == TensorProto.UINT8 for v in (frame, classes))
    fits = len(takes) == 4 and takes[0] == 1 and takes[3] in (1, 3) and min(takes) > 0
    if not uint8 or not fits or len(gives) != 3 or gives[0] != 1:
        yield f"it takes {takes} and gives {gives}, not a uint8 frame and its class map"
    elif takes[1] * takes[2] > MAX_PIXELS:
        yield f"its frame of {takes[2]}x{takes[1]} is over {MAX_PIXELS >> 20} million pixels"


def _sizes(value: ValueInfoProto) -> list[int]:
    """The sizes of a tensor; 0 where one is open."""
    return [int(dim.dim_value) for dim in value.type.tensor_type.shape.dim]


def _tensors(model: ModelProto) -> Iterator[TensorProto]:
    yield from model.graph.initializer
    for sparse in model.graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    for node in model.graph.node:
        for attribute in node.attribute:
            yield attribute.t
            yield from attribute.tensors
