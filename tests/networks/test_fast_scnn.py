"""Fast-SCNN: the counts of its source, every resolution, and the pyramid that exports."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from autoseg.networks import build
from autoseg.networks.blocks import normalize, pool_to_bins, scale_channels
from autoseg.networks.cost import cost


@pytest.mark.parametrize(
    ("a", "t", "r", "pp", "channels", "params", "macs"),
    [
        (1.0, 6, 3, 1, 3, 1_122_673, 829_591_552),
        (1.0, 6, 3, 0, 3, 1_085_553, 820_854_784),
        (1.0, 6, 3, 0, 1, 1_084_977, 783_106_048),
        (0.75, 6, 3, 1, 3, 644_917, 484_797_696),
        (0.5, 6, 3, 1, 3, 298_553, 231_601_152),
        (0.25, 6, 3, 1, 3, 83_581, 70_001_920),
        (0.125, 6, 3, 1, 3, 25_367, 23_551_296),
        (0.75, 4, 3, 1, 3, 450_757, 395_402_496),
        (0.125, 2, 3, 1, 3, 10_247, 17_263_936),
        (1.0, 6, 2, 1, 3, 743_281, 693_981_184),
        (1.0, 6, 1, 0, 3, 326_769, 549_634_048),
    ],
)
def test_fast_scnn_has_parameters_and_macs_of_the_source(
    a: float, t: int, r: int, pp: int, channels: int, params: int, macs: int
) -> None:
    with torch.device("meta"):
        net = build("fast_scnn", channels=channels, classes=1, a=a, t=t, r=r, pp=pp)
    counted = cost(net, (512, 512))
    assert (counted.params, counted.macs) == (params, macs)


def test_fast_scnn_trains_at_every_resolution() -> None:
    net = build("fast_scnn", channels=1, classes=3, a=0.125, t=2, r=1)
    for height, width in [(64, 64), (96, 160), (128, 96), (224, 64)]:
        logits = net(torch.randn(2, 1, height, width))
        assert logits.shape == (2, 3, height, width)
        logits.mean().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in net.parameters())


def test_fast_scnn_without_pyramid_has_no_pyramid_modules() -> None:
    names = [n for n, _ in build("fast_scnn", channels=3, classes=1, pp=0).named_parameters()]
    assert not [name for name in names if "squeeze" in name or "merge" in name]


@pytest.mark.parametrize("bins", [1, 2, 4, 8])
@pytest.mark.parametrize("size", [(16, 16), (15, 15), (9, 9), (10, 16), (8, 13)])
def test_fixed_windows_are_equal_to_adaptive_pooling(bins: int, size: tuple[int, int]) -> None:
    x = torch.randn(2, 3, *size)
    expected = functional.adaptive_avg_pool2d(x, bins)
    torch.testing.assert_close(pool_to_bins(x, bins), expected, atol=1e-5, rtol=1e-5)


def test_fixed_windows_beyond_the_map_end_at_the_map() -> None:
    assert pool_to_bins(torch.randn(1, 2, 3, 5), 8).shape == (1, 2, 3, 5)
    assert pool_to_bins(torch.randn(1, 2, 3, 16), 8).shape == (1, 2, 3, 8)


def test_fast_scnn_widths_are_truncated_then_rounded_up_to_the_step() -> None:
    assert [scale_channels(c, 0.3) for c in (32, 48, 64)] == [9, 14, 19]
    assert [scale_channels(c, 0.3, round_to=8) for c in (32, 48, 64)] == [16, 16, 24]
    net = build("fast_scnn", channels=3, classes=1, a=0.3, round_to=8)
    widths = {m.out_channels for m in net.modules() if isinstance(m, torch.nn.Conv2d)}
    assert all(width % 8 == 0 for width in widths - {1})


def test_fast_scnn_centres_pixels_at_128() -> None:
    frames = torch.tensor([0, 128, 255], dtype=torch.uint8).reshape(1, 1, 1, 3)
    assert normalize(frames).flatten().tolist() == [-2.0, 0.0, 127 / 64]
