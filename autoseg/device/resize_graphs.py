"""The two resizes around a network as ONNX files, for machines with onnxruntime only."""

from __future__ import annotations

from typing import Any

from autoseg.core.units import HW

OPSET, IR_VERSION = 18, 9  # as the shipped graph


def frame_resize(picture_hw: HW, input_hw: HW, channels: int) -> bytes:
    """A graph from a picture uint8 ``[1, h, w, C]`` to a frame uint8 ``[1, H, W, C]``.

    Linear and antialiased: on average within half a grey level of Pillow's bilinear resize.
    """
    shapes = [1, *picture_hw, channels], [1, *input_hw, channels]
    return _resize(*shapes, mode="linear", antialias=1)


def map_resize(map_hw: HW, picture_hw: HW) -> bytes:
    """A graph from a class map uint8 ``[1, h, w]`` to the picture's size, nearest neighbour."""
    # Pillow's NEAREST rounds ties up.
    facts: dict[str, Any] = {"mode": "nearest", "nearest_mode": "round_prefer_ceil"}
    return _resize([1, *map_hw], [1, *picture_hw], **facts)


def _resize(before: list[int], after: list[int], **facts: Any) -> bytes:
    from onnx import TensorProto, helper

    kind = TensorProto.UINT8
    graph = helper.make_graph(
        [helper.make_node("Resize", ["picture", "", "", "size"], ["resized"], **facts)],
        "resize",
        [helper.make_tensor_value_info("picture", kind, before)],
        [helper.make_tensor_value_info("resized", kind, after)],
        [helper.make_tensor("size", TensorProto.INT64, [len(after)], after)],
    )
    opset = [helper.make_opsetid("", OPSET)]
    model = helper.make_model(graph, opset_imports=opset, ir_version=IR_VERSION)
    return bytes(model.SerializeToString(deterministic=True))
