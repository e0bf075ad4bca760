"""Building blocks of the network families, and the normalization of pixels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache, partial, wraps
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

# Near the statistics of ordinary pictures, and powers of two: the shipped graph can pad with the
# pixel value 128, and dividing weights by 64 is exact.
PIXEL_MEAN = 128.0
PIXEL_SCALE = 64.0
MAX_MATRIX_CHANNELS = 32  # up to here, matrix products are faster than torch's resize gradient


def normalize(frames: Tensor) -> Tensor:
    """(x - 128) / 64: uint8 frames `[N, H, W, C]` to float32 `[N, C, H, W]`."""
    # In place, and before the permutation: otherwise a fifth of a small network's step.
    scaled = frames.to(torch.float32).sub_(PIXEL_MEAN).mul_(1 / PIXEL_SCALE)
    return scaled.permute(0, 3, 1, 2)


def scale_channels(channels: int, a: float, round_to: int = 1) -> int:
    """`int(channels * a)`, truncated, at least 1, then up to the next multiple of `round_to`."""
    exact = max(1, int(channels * a))
    return -(-exact // round_to) * round_to


def conv_bn(
    c_in: int, c_out: int, kernel: int = 1, *, stride: int = 1, groups: int = 1, dilation: int = 1
) -> list[nn.Module]:
    """A convolution without bias, padded so that only its stride changes the size, and its BN."""
    padding = dilation * (kernel // 2)
    conv = nn.Conv2d(
        c_in, c_out, kernel, stride, padding, dilation=dilation, groups=groups, bias=False
    )
    return [conv, nn.BatchNorm2d(c_out)]


def conv_bn_relu(
    c_in: int, c_out: int, kernel: int = 1, *, stride: int = 1, groups: int = 1, dilation: int = 1
) -> list[nn.Module]:
    """`conv_bn` and a ReLU."""
    layers = conv_bn(c_in, c_out, kernel, stride=stride, groups=groups, dilation=dilation)
    return [*layers, nn.ReLU(inplace=True)]


def ds_conv(c_in: int, c_out: int, stride: int = 1) -> nn.Sequential:
    """Depthwise 3x3 with BN and no ReLU, then pointwise with BN and ReLU."""
    depthwise = conv_bn(c_in, c_in, 3, stride=stride, groups=c_in)
    return nn.Sequential(*depthwise, *conv_bn_relu(c_in, c_out))


class InvertedBottleneck(nn.Module):
    """Expand by `t`, depthwise 3x3, project linearly (MobileNetV2, arXiv 1801.04381, §3)."""

    def __init__(self, c_in: int, c_out: int, *, stride: int, t: int) -> None:
        super().__init__()
        hidden = c_in * t
        self.residual = stride == 1 and c_in == c_out
        self.layers = nn.Sequential(
            *conv_bn_relu(c_in, hidden),
            *conv_bn_relu(hidden, hidden, 3, stride=stride, groups=hidden),
            *conv_bn(hidden, c_out),
        )

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.layers(x)
        return x + y if self.residual else y


class PyramidPooling(nn.Module):
    """The map, concatenated with its averages over 1, 2, 4, 8 bins a side, which share one
    convolution. Any map size is allowed: see `pool_to_bins`.
    """

    def __init__(self, channels: int, squeezed: int, bins: Sequence[int] = (1, 2, 4, 8)) -> None:
        super().__init__()
        self.bins = tuple(bins)
        self.squeeze = nn.Conv2d(channels, squeezed, 1, bias=False)
        self.merge = nn.Sequential(*conv_bn_relu(channels + len(self.bins) * squeezed, channels))

    def forward(self, x: Tensor) -> Tensor:
        pooled = [functional.relu(self.squeeze(pool_to_bins(x, bins))) for bins in self.bins]
        levels = [resize(level, size_of(x)) for level in pooled]
        merged: Tensor = self.merge(torch.cat([*levels, x], dim=1))
        return merged


def resize(x: Tensor, size_hw: tuple[int, int]) -> Tensor:
    """Bilinear with aligned corners, to `size_hw`."""
    if size_of(x) == size_hw:
        return x
    if x.requires_grad and x.shape[1] <= MAX_MATRIX_CHANNELS:
        enlarged: Tensor = _Resize.apply(x, size_hw)  # type: ignore[no-untyped-call]
        return enlarged
    return functional.interpolate(x, size_hw, mode="bilinear", align_corners=True)


class _Resize(torch.autograd.Function):
    """`resize` with its gradient as products with two constant matrices.

    torch scatters the gradient pixel by pixel, which took up to a tenth of a small network's
    training step on a CPU, and is not deterministic on a GPU.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, size_hw: tuple[int, int]) -> Tensor:
        ctx.sizes = (*size_of(x), *size_hw)
        return functional.interpolate(x, size_hw, mode="bilinear", align_corners=True)

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor, None]:
        height, width, new_height, new_width = ctx.sizes
        down = _interpolation(height, new_height).to(slope)
        across = _interpolation(width, new_width).to(slope)
        return down.t() @ slope @ across, None


class _Constant:
    """A matrix of numbers, kept on every device and in every type in which it was asked for.

    A copy from the CPU in each training step would make a GPU wait.
    """

    def __init__(self, make: Callable[[], Tensor]) -> None:
        self._make = make
        self._kept: dict[tuple[torch.device, torch.dtype], Tensor] = {}

    def to(self, like: Tensor) -> Tensor:
        """The matrix on the device and in the type of another tensor."""
        tracing = torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]
        if tracing or torch.compiler.is_compiling():  # their tensors are of no use afterwards
            return self._make().to(like)
        place = like.device, like.dtype
        if place not in self._kept:
            # What is made in inference mode could not be used in training.
            with torch.inference_mode(False), like.device:
                self._kept[place] = self._make().to(like)
        return self._kept[place]


@lru_cache
def _interpolation(length: int, new_length: int) -> _Constant:
    return _Constant(partial(_interpolation_matrix, length, new_length))


def _interpolation_matrix(length: int, new_length: int) -> Tensor:
    """The matrix ``[new_length, length]`` of a linear interpolation with aligned corners."""
    unit = torch.eye(length)[None]
    columns = functional.interpolate(unit, new_length, mode="linear", align_corners=True)
    return columns[0].t().contiguous()


def size_of(x: Tensor) -> tuple[int, int]:
    """Height and width of `[N, C, H, W]` as plain numbers, which are constants in an export."""
    return int(x.shape[2]), int(x.shape[3])


def pool_to_bins(x: Tensor, bins: int) -> Tensor:
    """Adaptive average pooling of `[N, C, H, W]` to `bins` a side, with constant windows.

    An axis shorter than `bins` keeps its length, so that the channels of a concatenation never
    depend on the resolution. Where the windows differ (15 pixels in 8 bins) the averages are
    products with constant matrices: adaptive pooling cannot be exported at such sizes.
    """
    height, width = size_of(x)
    rows, columns = _windows(height, bins), _windows(width, bins)
    if len(rows) == height and len(columns) == width:
        return x
    down_by, across_by = _regular(rows), _regular(columns)
    if down_by and across_by:
        kernels, strides = zip(down_by, across_by, strict=True)
        return functional.avg_pool2d(x, kernels, strides)
    down = _averages(rows, height).to(x)
    across = _averages(columns, width).to(x)
    return down @ x @ across.t()


def _windows(length: int, bins: int) -> list[tuple[int, int]]:
    bins = min(bins, length)
    return [(i * length // bins, -(-(i + 1) * length // bins)) for i in range(bins)]


def _regular(windows: list[tuple[int, int]]) -> tuple[int, int] | None:
    """Kernel and stride if all windows are alike, else None."""
    kernels = {end - start for start, end in windows}
    strides = {b[0] - a[0] for a, b in zip(windows, windows[1:], strict=False)} or {1}
    return (kernels.pop(), strides.pop()) if len(kernels) == len(strides) == 1 else None


def _averages(windows: list[tuple[int, int]], length: int) -> Tensor:
    rows = [
        [1 / (end - start) if start <= i < end else 0.0 for i in range(length)]
        for start, end in windows
    ]
    return torch.tensor(rows)


def _kept(make: Callable[[Any, int], Tensor]) -> Callable[[Any, int], Any]:
    constant = lru_cache(lambda windows, length: _Constant(partial(make, windows, length)))
    return wraps(make)(lambda windows, length: constant(tuple(windows), length))


# No decorator: a network's structure is known by the source of its functions.
_averages = _kept(_averages)  # type: ignore[assignment]


def initialize(net: nn.Module) -> nn.Module:
    """Set weights for training from scratch: He's normal, by fan-out (depthwise: by fan-in)."""
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(
                module.weight,
                mode="fan_in" if module.groups > 1 else "fan_out",
                nonlinearity="relu",
            )
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    return net
