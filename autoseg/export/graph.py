"""Turns an exported ONNX graph into the shipped one; digest of a graph without its weights."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnx.compose
from onnx import AttributeProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

from autoseg.core.units import HW

OPSET = 18
IR_VERSION = 9
FRAME = "frame"
CLASSES = "classes"

Array = npt.NDArray[Any]
_FLOATS = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE, TensorProto.BFLOAT16)
# Measured at 512x512: the whole graph 40 % faster with 1 class, 10 % with 11, 4 % with 21; slower
# with 64.
_MAX_CHANNELS_AS_PRODUCTS = 32
_COORDINATES = ("align_corners", "half_pixel", "pytorch_half_pixel")


def simplify(model: ModelProto) -> ModelProto:
    """The graph with folded shapes, without identities and dead nodes.

    Uses only passes that ignore the values of weights: an untrained and a trained network must
    give the same graph (onnxscript's rewrite rules drop a bias that happens to be zero).
    """
    from onnxscript import ir, optimizer
    from onnxscript.ir.passes import common as passes

    graph = ir.serde.deserialize_model(model)
    optimizer.fold_constants(graph, onnx_shape_inference=True)
    passes.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(graph)
    passes.RemoveUnusedNodesPass()(graph)
    # A prefix, so that no name in the network collides with the names added below.
    return onnx.compose.add_prefix(ir.serde.serialize_model(graph), "net.")


def add_frame_input(model: ModelProto, input_hw: HW, *, mean: float, scale: float) -> None:
    """Changes the input from float `[1, C, H, W]` to uint8 `[1, H, W, C]`, in place.

    Where a convolution is the only reader of the picture, (x - mean) / scale is folded into its
    weights, and the frame is padded with `mean`, which normalizes to 0, so that the borders stay
    the same.
    """
    graph = model.graph
    picture = graph.input[0].name
    channels = graph.input[0].type.tensor_type.shape.dim[1].dim_value
    readers = [node for node in graph.node if picture in _read_by(node)]
    raw = FRAME
    front: list[NodeProto] = []
    if len(readers) == 1 and _folds(model, readers[0], picture):
        raw = _fold(model, readers[0], input_hw, mean=mean, scale=scale, front=front)
        front += _to_float_planes(raw, picture)
    else:
        graph.initializer.append(_constant("pixel_mean", np.float32(mean)))
        graph.initializer.append(_constant("pixel_scale", np.float32(scale)))
        front += _to_float_planes(raw, "pixels")
        front.append(helper.make_node("Sub", ["pixels", "pixel_mean"], ["centred"]))
        front.append(helper.make_node("Div", ["centred", "pixel_scale"], [picture]))
    nodes = [*front, *graph.node]
    del graph.node[:], graph.input[:]
    graph.node.extend(nodes)
    shape = [1, *input_hw, channels]
    graph.input.append(helper.make_tensor_value_info(FRAME, TensorProto.UINT8, shape))


def add_class_output(model: ModelProto) -> None:
    """Changes the output from logits to uint8 classes `[1, h, w]`, in place.

    One logit: class 1 where it is at least 0. Several: the first of the highest.
    """
    graph = model.graph
    logits = graph.output[0].name
    _, classes, height, width = shape_of(model, logits)
    widen_last_resize(model)
    if classes == 1:
        graph.initializer.append(_constant("channel_axis", np.array([1])))
        graph.initializer.append(_constant("threshold", np.float32(0)))
        graph.node.append(helper.make_node("Squeeze", [logits, "channel_axis"], ["logit"]))
        graph.node.append(helper.make_node("GreaterOrEqual", ["logit", "threshold"], ["chosen"]))
    else:
        graph.node.append(helper.make_node("ArgMax", [logits], ["chosen"], axis=1, keepdims=0))
    graph.node.append(helper.make_node("Cast", ["chosen"], [CLASSES], to=TensorProto.UINT8))
    del graph.output[:]
    shape = [1, height, width]
    graph.output.append(helper.make_tensor_value_info(CLASSES, TensorProto.UINT8, shape))


def widen_last_resize(model: ModelProto) -> None:
    """Replaces the bilinear resize of the logits by products with constant matrices.

    onnxruntime's Resize is slow on few channels (for one it computes a whole block of 8 or 16):
    for 1x256x256 it took 390 of the 920 us of a small network, the products take 25.
    """
    logits = model.graph.output[0].name
    for index, node in enumerate(model.graph.node):
        if logits in node.output and _is_plain_bilinear(node):
            products = _as_products(model, node)
            del model.graph.node[index]
            for offset, product in enumerate(products):
                model.graph.node.insert(index + offset, product)
            return


def drop_unused_constants(model: ModelProto) -> None:
    """Removes unused initializers, in place: older runtimes warn of them at every load."""
    used = {name for node in model.graph.node for name in _read_by(node)}
    kept = [tensor for tensor in model.graph.initializer if tensor.name in used]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)


def interpolation(source: int, target: int, coordinates: str) -> Array:
    """The `[target, source]` matrix of linear interpolation, as ONNX defines Resize."""
    place = np.arange(target, dtype=np.float64)
    if coordinates == "align_corners":
        place *= (source - 1) / max(target - 1, 1)
    else:
        place = (place + 0.5) * source / target - 0.5
    place = place.clip(0, source - 1)
    lower = np.floor(place).astype(int)
    matrix = np.zeros((target, source))
    matrix[np.arange(target), lower] = 1 - (place - lower)
    matrix[np.arange(target), (lower + 1).clip(max=source - 1)] += place - lower
    return matrix.astype(np.float32)


def shape_of(model: ModelProto, name: str) -> list[int]:
    """The static shape of a value; 0 for an unknown size, [] for an unknown shape."""
    graph = model.graph
    for value in (*graph.output, *graph.input, *graph.value_info):
        if value.name == name:
            return [dim.dim_value for dim in value.type.tensor_type.shape.dim]
    return []


def graph_digest(model: ModelProto) -> str:
    """64 hex digits over everything that decides the speed of a graph, so without its weights.

    Operators, attributes, connections, shapes and dtypes of constants, values of integer
    constants.
    """
    lines = [[o.domain, o.version] for o in model.opset_import]
    text = json.dumps([lines, list(_graph_lines(model.graph))])
    return hashlib.sha256(text.encode()).hexdigest()


def _graph_lines(graph: onnx.GraphProto) -> Iterator[list[Any]]:
    known: dict[str, Any] = {t.name: _tensor_line(t) for t in graph.initializer}
    for place, value in enumerate(graph.input):
        known[value.name] = ["input", place]
        yield ["input", _type_line(value)]
    for place, node in enumerate(graph.node):
        attributes = sorted(_attribute_line(a) for a in node.attribute)
        yield [node.domain, node.op_type, attributes, [known.get(n, n) for n in node.input]]
        known |= {name: [place, slot] for slot, name in enumerate(node.output)}
    yield from (["output", known.get(v.name, v.name), _type_line(v)] for v in graph.output)


def _type_line(value: onnx.ValueInfoProto) -> list[Any]:
    tensor = value.type.tensor_type
    return [tensor.elem_type, [dim.dim_value or dim.dim_param for dim in tensor.shape.dim]]


def _tensor_line(tensor: TensorProto) -> list[Any]:
    counted = tensor.data_type not in _FLOATS
    values = numpy_helper.to_array(tensor).tolist() if counted else None
    return [tensor.data_type, list(tensor.dims), repr(values)]


def _attribute_line(attribute: AttributeProto) -> tuple[str, str]:
    if attribute.type == AttributeProto.TENSOR:
        return attribute.name, repr(_tensor_line(attribute.t))
    if attribute.type == AttributeProto.GRAPH:
        return attribute.name, repr(list(_graph_lines(attribute.g)))
    return attribute.name, repr(helper.get_attribute_value(attribute))


def _to_float_planes(raw: str, planes: str) -> list[NodeProto]:
    # Transposed before the cast, on one byte per pixel instead of four: a tenth faster.
    return [
        helper.make_node("Transpose", [raw], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("Cast", ["planes"], [planes], to=TensorProto.FLOAT),
    ]


def _folds(model: ModelProto, node: NodeProto, picture: str) -> bool:
    constants = {tensor.name for tensor in model.graph.initializer}
    return (
        node.op_type == "Conv"
        and node.input[0] == picture
        and all(name in constants for name in node.input[1:] if name)
        and _attributes(node).get("auto_pad", b"NOTSET") == b"NOTSET"
        and len(_attributes(node).get("kernel_shape", ())) == 2
    )


def _fold(
    model: ModelProto,
    conv: NodeProto,
    input_hw: HW,
    *,
    mean: float,
    scale: float,
    front: list[NodeProto],
) -> str:
    """Folds normalization into `conv`; returns its input, the frame or a Pad added to `front`."""
    weight = _initializer(model, conv.input[1])
    bias = _initializer(model, conv.input[2]) if len(conv.input) > 2 and conv.input[2] else 0.0
    shift = weight.astype(np.float64).sum(axis=(1, 2, 3)) * mean / scale
    constants = model.graph.initializer
    constants.append(_constant("first_weight", (weight / scale).astype(np.float32)))
    constants.append(_constant("first_bias", (bias - shift).astype(np.float32)))
    pads = _needed_pads(conv, input_hw)
    kept = [a for a in conv.attribute if a.name != "pads"]
    name = conv.input[0]
    del conv.attribute[:], conv.input[:]
    conv.attribute.extend(kept)
    conv.input.extend([name, "first_weight", "first_bias"])
    if not any(pads):
        return FRAME
    top, left, bottom, right = pads
    constants.append(_constant("border", np.array([0, top, left, 0, 0, bottom, right, 0])))
    constants.append(_constant("border_value", np.uint8(mean)))
    front.append(helper.make_node("Pad", [FRAME, "border", "border_value"], ["padded"]))
    return "padded"


def _needed_pads(conv: NodeProto, input_hw: HW) -> list[int]:
    """Top, left, bottom, right of the padding that is read: a stride may skip the end."""
    attributes = _attributes(conv)
    begins_ends = attributes.get("pads", [0, 0, 0, 0])
    needed = []
    for axis, size in enumerate(input_hw):
        begin, end = begins_ends[axis], begins_ends[axis + 2]
        stride = attributes.get("strides", [1, 1])[axis]
        span = attributes.get("dilations", [1, 1])[axis] * (attributes["kernel_shape"][axis] - 1)
        outputs = (size + begin + end - span - 1) // stride + 1
        needed.append((begin, max(0, (outputs - 1) * stride + span + 1 - size - begin)))
    return [needed[0][0], needed[1][0], needed[0][1], needed[1][1]]


def _is_plain_bilinear(node: NodeProto) -> bool:
    attributes = _attributes(node)
    mode = attributes.get("coordinate_transformation_mode", b"half_pixel").decode()
    plain = not attributes.get("antialias", 0) and "axes" not in attributes
    return (
        node.op_type == "Resize"
        and attributes.get("mode") == b"linear"
        and mode in _COORDINATES
        and plain
        # By sizes: a scale that is no whole ratio would shift the pixels.
        and len(node.input) == 4
    )


def _as_products(model: ModelProto, node: NodeProto) -> list[NodeProto]:
    """`rows @ (x @ columns)`; the resize itself where its shape differs or that is not faster."""
    before, after = shape_of(model, node.input[0]), shape_of(model, node.output[0])
    if len(before) != 4 or not all(before) or before[:2] != after[:2]:
        return [node]
    if before[1] > _MAX_CHANNELS_AS_PRODUCTS:
        return [node]
    mode = _attributes(node).get("coordinate_transformation_mode", b"half_pixel").decode()
    rows = interpolation(before[2], after[2], mode)
    columns = interpolation(before[3], after[3], mode).T.copy()
    model.graph.initializer.append(_constant("rows", rows))
    model.graph.initializer.append(_constant("columns", columns))
    return [
        helper.make_node("MatMul", [node.input[0], "columns"], ["widened"]),
        helper.make_node("MatMul", ["rows", "widened"], [node.output[0]]),
    ]


def _attributes(node: NodeProto) -> dict[str, Any]:
    return {a.name: helper.get_attribute_value(a) for a in node.attribute}


def _initializer(model: ModelProto, name: str) -> Array:
    return numpy_helper.to_array(next(t for t in model.graph.initializer if t.name == name))


def _constant(name: str, value: npt.ArrayLike) -> TensorProto:
    return numpy_helper.from_array(np.asarray(value), name)


def _read_by(node: NodeProto) -> set[str]:
    """The values that a node reads, including those in the body of a loop or a branch."""
    graphs = [a.g for a in node.attribute if a.type == AttributeProto.GRAPH]
    inner = (_read_by(below) for graph in graphs for below in graph.node)
    return set(node.input).union(*inner)
