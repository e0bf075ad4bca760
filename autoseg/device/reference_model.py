"""The reference model: small and constant, timed beside every candidate."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from onnx import NodeProto, TensorProto


@functools.cache
def reference_bytes() -> bytes:
    """An ONNX file of 1.3 million MACs; the same bytes on every machine.

    Convolutions as in segmentation networks: full, depthwise, pointwise. A run takes about 0.1 ms
    on a desktop core, and under 1 ms on a small board.
    """
    from onnx import TensorProto, helper

    nodes = [
        _convolution("autoseg.reference", "w1", "full", strides=[2, 2], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["full"], ["a"], name="relu1"),
        _convolution("a", "w2", "depthwise", group=24, pads=[1, 1, 1, 1]),
        _convolution("depthwise", "w3", "pointwise"),
        helper.make_node("Relu", ["pointwise"], ["b"], name="relu2"),
        _convolution("b", "w4", "y", pads=[1, 1, 1, 1]),
    ]
    graph = helper.make_graph(
        nodes,
        "reference",
        [helper.make_tensor_value_info("autoseg.reference", TensorProto.FLOAT, [1, 3, 48, 48])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 4, 24, 24])],
        [
            _weights("w1", 24, 3, 3, 3),
            _weights("w2", 24, 1, 3, 3),
            _weights("w3", 24, 24, 1, 1),
            _weights("w4", 4, 24, 3, 3),
        ],
    )
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9, producer_name="autoseg"
    )
    return bytes(model.SerializeToString(deterministic=True))


def _convolution(x: str, w: str, y: str, **attributes: Any) -> NodeProto:
    from onnx import helper

    return helper.make_node("Conv", [x, w], [y], name=y, **attributes)


def _weights(name: str, *shape: int) -> TensorProto:
    import numpy as np
    from onnx import numpy_helper

    # No zeros and no denormals, which have a speed of their own on some processors.
    count = int(np.prod(shape))
    values = (np.arange(count) * 37 % 101 - 50.5) / (101 * count / shape[0]) ** 0.5
    return numpy_helper.from_array(values.reshape(shape).astype(np.float32), name)
