"""The cost of a network, counted without running it."""

from __future__ import annotations

import copy
import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from autoseg.core.errors import CandidateError
from autoseg.core.records import Cost, LayerCost
from autoseg.core.units import HW

_FLOAT32_BYTES = 4
# Where the two factors of a matrix product begin among its arguments. `linear`, `matmul`, `einsum`
# and attention arrive as one of these.
_PRODUCTS = {
    torch.ops.aten.mm: 0, torch.ops.aten.bmm: 0,
    torch.ops.aten.addmm: 1, torch.ops.aten.baddbmm: 1,
}  # fmt: skip


def cost(net: nn.Module, input_hw: HW) -> Cost:
    """Parameters, multiply-accumulates and activation bytes, in total and by kind of layer.

    For one picture of `input_hw` in evaluation mode. Biases, normalization and ReLU are not
    counted: a runtime merges them into the layer before. Activations are the outputs of the leaf
    modules as float32. Runs on meta tensors: nothing is computed and `net` is not altered. Raises
    CandidateError where the network does not take that size.
    """
    shadow = meta_copy(net)
    written = 0

    def count(module: nn.Module, inputs: object, output: object) -> None:
        nonlocal written
        written += _FLOAT32_BYTES * output.numel() if isinstance(output, Tensor) else 0

    for module in shadow.modules():
        # On meta tensors these run as Python, half of the whole time, and keep the shape.
        if isinstance(module, nn.BatchNorm2d | nn.ReLU):
            module.forward = lambda x: x  # type: ignore[assignment, method-assign]
        if next(module.children(), None) is None:
            module.register_forward_hook(count)
    frame = torch.empty(1, input_channels(net), *input_hw, device="meta")
    counter = _LayerCounter()
    with torch.no_grad(), torch.device("meta"), counter, _Resizes(counter):
        try:
            shadow(frame)
        except (RuntimeError, ValueError, TypeError) as error:
            raise CandidateError(
                f"the network does not take {input_hw[0]}x{input_hw[1]}: {error}"
            ) from error
    params = sum(p.numel() for p in net.parameters())
    kinds = {name: LayerCost(*figures) for name, figures in counter.kinds.items()}
    return Cost(
        params=params,
        macs=sum(kind.macs for kind in kinds.values()),
        activation_bytes=written,
        **kinds,
    )


class _LayerCounter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Adds up convolutions and matrix products, by the formulas of fvcore.

    fvcore's own analysis traces a network, which takes 16 to 30 times as long, and its hook for
    `matmul` does not see the broadcast of a matrix over a batch. Here that is a `bmm` already.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.kinds: defaultdict[str, list[int]] = defaultdict(lambda: [0, 0, 0])

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if kind := _kind(func, args):
            macs = _macs(func, args, out)
            read = args[:1] if _is_convolution(func) else args  # weights are no activations
            self.add(kind, macs, [*_tensors(read), *_tensors([out])])
        return out

    def add(self, kind: str, macs: int, moved: Sequence[Tensor]) -> None:
        """Add a layer of a kind, and the tensors that it reads and writes."""
        moved_bytes = _FLOAT32_BYTES * sum(tensor.numel() for tensor in moved)
        for at, figure in enumerate((1, macs, moved_bytes)):
            self.kinds[kind][at] += figure


class _Resizes(TorchFunctionMode):
    """Counts an interpolation as one operation instead of its dozens on meta tensors."""

    def __init__(self, counter: _LayerCounter) -> None:
        super().__init__()
        self._counter = counter

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = kwargs or {}
        size = given.get("size", args[1] if len(args) > 1 else None)
        if func is not F.interpolate or not isinstance(size, tuple | list) or len(size) != 2:
            return func(*args, **given)
        frame: Tensor = args[0] if args else given["input"]
        resized = frame.new_empty((*frame.shape[:2], *size))
        self._counter.add("other", 0, [frame, resized])
        return resized


class Uninitialized(TorchFunctionMode):
    """Networks built in this context keep uninitialized weights.

    Counting needs no weights, and initialization is half of the time of building.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = kwargs or {}
        if getattr(func, "__module__", None) == "torch.nn.init":
            return given.get("tensor", args[0] if args else None)
        return func(*args, **given)


def _macs(func: Any, args: Sequence[Any], out: Any) -> int:
    """Multiply-accumulates of a convolution or a matrix product, and 0 for all else."""
    if _is_convolution(func):
        from fvcore.nn.jit_handles import conv_flop_count

        shapes = [[*tensor.shape] for tensor in (args[0], args[1], out)]
        return int(conv_flop_count(*shapes, transposed=args[6]))
    first = _PRODUCTS.get(func._overloadpacket)
    if first is None:
        return 0
    return int(math.prod(args[first].shape) * args[first + 1].shape[-1])


def _kind(func: Any, args: Sequence[Any]) -> str | None:
    """The field of Cost that an operation counts for, if any."""
    if _is_convolution(func):
        weight, groups = args[1], args[8]
        if groups > 1 and weight.shape[1] == 1:
            return "depthwise"
        return "pointwise" if max(weight.shape[2:]) == 1 else "convolution"
    if func._overloadpacket in _PRODUCTS:
        return "product"
    # Operations on constants (at most matrices) are folded by the export.
    large = any(t.dim() > 2 and t.is_floating_point() for t in _tensors(args))
    return "other" if large and not func.is_view else None


def _is_convolution(func: Any) -> bool:
    return bool(func is torch.ops.aten.convolution.default)


def _tensors(values: Sequence[Any]) -> Iterator[Tensor]:
    """The tensors among the arguments of an operation, also within lists."""
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, list | tuple):
            yield from _tensors(value)


def meta_copy(net: nn.Module) -> nn.Module:
    """The same network in evaluation mode with shapes in place of weights."""
    # With a filled memo, deepcopy takes these instead of copying the weights.
    memo: dict[int, object] = {}
    for parameter in net.parameters():
        memo[id(parameter)] = nn.Parameter(parameter.detach().to("meta"), parameter.requires_grad)
    for buffer in net.buffers():
        memo[id(buffer)] = buffer.detach().to("meta")
    return copy.deepcopy(net, memo).eval()


def input_channels(net: nn.Module) -> int:
    """Channels of the input, from the first convolution (3 where there is none)."""
    return next((m.in_channels for m in net.modules() if isinstance(m, nn.Conv2d)), 3)
