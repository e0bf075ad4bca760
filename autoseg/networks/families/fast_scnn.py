"""Fast-SCNN (Poudel et al. 2019, arXiv 1902.04502) as the optimization thesis builds it.

It differs from the paper: the pyramid shares one pointwise convolution over 1/2/4/8 bins, without
BN, and there is no ReLU after the depthwise half of a separable convolution.
"""

from __future__ import annotations

from torch import Tensor, nn

from autoseg.networks.blocks import (
    InvertedBottleneck,
    PyramidPooling,
    conv_bn_relu,
    ds_conv,
    initialize,
    resize,
    scale_channels,
    size_of,
)

STRIDE = 32


def build(
    channels: int,
    classes: int,
    *,
    a: float = 1.0,
    t: int = 6,
    r: int = 3,
    pp: int = 1,
    round_to: int = 1,
) -> nn.Module:
    """From `[N, channels, H, W]` to logits `[N, classes, H, W]`; H, W multiples of 32 from 64.

    `a` scales every width, `t` is the expansion of the bottlenecks, `r` their number per stage,
    `pp` whether there is pyramid pooling, `round_to` the multiple that widths are rounded up to
    (1: the source's `int(c * a)`).
    """
    c32, c48, c64, c96, c128 = (scale_channels(c, a, round_to) for c in (32, 48, 64, 96, 128))
    learning_to_downsample = nn.Sequential(
        *conv_bn_relu(channels, c32, 3, stride=2),
        ds_conv(c32, c48, stride=2),
        ds_conv(c48, c64, stride=2),
    )
    global_features = nn.Sequential(
        *_stage(c64, c64, stride=2, t=t, r=r),
        *_stage(c64, c96, stride=2, t=t, r=r),
        *_stage(c96, c128, stride=1, t=t, r=r),
        *([PyramidPooling(c128, scale_channels(c128, 1 / 4, round_to))] if pp else []),
    )
    head = nn.Sequential(
        ds_conv(c128, c128), ds_conv(c128, c128), nn.Dropout(0.1), nn.Conv2d(c128, classes, 1)
    )
    fusion = FeatureFusion(c_high=c64, c_low=c128)
    return initialize(FastSCNN(learning_to_downsample, global_features, fusion, head))


class FastSCNN(nn.Module):
    """The four parts in their order; the logits have the size of the input."""

    def __init__(
        self, downsample: nn.Module, features: nn.Module, fusion: nn.Module, head: nn.Module
    ) -> None:
        super().__init__()
        self.learning_to_downsample = downsample
        self.global_features = features
        self.fusion = fusion
        self.head = head

    def forward(self, x: Tensor) -> Tensor:
        high = self.learning_to_downsample(x)
        low = self.global_features(high)
        logits = self.head(self.fusion(high, low))
        return resize(logits, size_of(x))


class FeatureFusion(nn.Module):
    """The low-resolution branch, resized to that of the high one, plus the high one."""

    def __init__(self, *, c_high: int, c_low: int) -> None:
        super().__init__()
        self.low = nn.Sequential(
            *conv_bn_relu(c_low, c_low, 3, groups=c_low, dilation=4), nn.Conv2d(c_low, c_low, 1)
        )
        self.high = nn.Conv2d(c_high, c_low, 1)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, high: Tensor, low: Tensor) -> Tensor:
        upsampled = resize(low, size_of(high))
        summed: Tensor = self.relu(self.low(upsampled) + self.high(high))
        return summed


def _stage(c_in: int, c_out: int, *, stride: int, t: int, r: int) -> list[nn.Module]:
    """`r` bottlenecks; the first one changes size and width."""
    first = InvertedBottleneck(c_in, c_out, stride=stride, t=t)
    return [first, *(InvertedBottleneck(c_out, c_out, stride=1, t=t) for _ in range(r - 1))]
