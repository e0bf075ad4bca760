"""ONNX files that devices run beside candidates: a reference, chains of convolutions, resizes."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from onnx import NodeProto, TensorProto, helper, numpy_helper

OPSET, IR_VERSION = 18, 9  # as the shipped graph
# With a single convolution, the changes of layout at the chain's ends would dominate.
CONVS_PER_CHAIN = 4


@functools.cache
def reference_bytes() -> bytes:
    """The reference model, timed beside every candidate: the same 1.3 million MACs everywhere.

    Convolutions as in segmentation networks: full, depthwise, pointwise. A run takes about 0.1 ms
    on a desktop core, and under 1 ms on a small board.
    """
    nodes = [
        _convolution("autoseg.reference", "w1", "full", strides=[2, 2], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["full"], ["a"], name="relu1"),
        _convolution("a", "w2", "depthwise", group=24, pads=[1, 1, 1, 1]),
        _convolution("depthwise", "w3", "pointwise"),
        helper.make_node("Relu", ["pointwise"], ["b"], name="relu2"),
        _convolution("b", "w4", "y", pads=[1, 1, 1, 1]),
    ]
    shapes = {"w1": (24, 3, 3, 3), "w2": (24, 1, 3, 3), "w3": (24, 24, 1, 1), "w4": (4, 24, 3, 3)}
    weights = [
        _weights(name, shape, (101 * math.prod(shape) / shape[0]) ** 0.5)
        for name, shape in shapes.items()
    ]
    ends = {"autoseg.reference": [1, 3, 48, 48], "y": [1, 4, 24, 24]}
    return _model("reference", nodes, ends, weights)


def conv_chain(kernel: int, channels: int, side: int) -> bytes:
    """A chain of convolutions (kernel x kernel), each with a ReLU."""
    weights = _weights("w", (channels, channels, kernel, kernel), 30 * channels * kernel)
    names = ["x", *[f"y{number}" for number in range(CONVS_PER_CHAIN - 1)], "y"]
    nodes = []
    for number, (before, after) in enumerate(itertools.pairwise(names)):
        pads = [kernel // 2] * 4
        nodes += [
            helper.make_node("Conv", [before, "w"], [f"c{number}"], pads=pads),
            helper.make_node("Relu", [f"c{number}"], [after]),
        ]
    shape = [1, channels, side, side]
    return _model("chain", nodes, {"x": shape, "y": shape}, [weights])


def _convolution(x: str, w: str, y: str, **attributes: Any) -> NodeProto:
    return helper.make_node("Conv", [x, w], [y], name=y, **attributes)


def _weights(name: str, shape: tuple[int, ...], divisor: float) -> TensorProto:
    # No zeros and no denormals, which have a speed of their own on some processors.
    values = (np.arange(math.prod(shape)) * 37 % 101 - 50.5) / divisor
    return numpy_helper.from_array(values.reshape(shape).astype(np.float32), name)


def _model(
    name: str,
    nodes: Sequence[NodeProto],
    ends: dict[str, list[int]],
    constants: Sequence[TensorProto],
    dtype: int = TensorProto.FLOAT,
) -> bytes:
    """An ONNX file, the same bytes on every machine; `ends`: names and shapes of input, output."""
    infos = [helper.make_tensor_value_info(end, dtype, shape) for end, shape in ends.items()]
    graph = helper.make_graph(nodes, name, infos[:1], infos[1:], constants)
    opset = [helper.make_opsetid("", OPSET)]
    model = helper.make_model(
        graph, opset_imports=opset, ir_version=IR_VERSION, producer_name="autoseg"
    )
    return bytes(model.SerializeToString(deterministic=True))
