"""Normalization folded into a convolution, and resizes made products, change nothing."""

from __future__ import annotations

import io

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn
from torch.nn import functional

from autoseg.export.graph import add_frame_input, interpolation, simplify
from autoseg.networks.blocks import PIXEL_MEAN, PIXEL_SCALE, normalize


def run_from_frame(net: nn.Module, frames: np.ndarray) -> tuple[np.ndarray, set[str]]:
    """What the graph with a frame input returns, and the operators it has."""
    height, width, channels = frames.shape[1:]
    file = io.BytesIO()
    picture = torch.zeros(1, channels, height, width)
    torch.onnx.export(net, (picture,), file, dynamo=False, opset_version=18)
    model = simplify(onnx.load_from_string(file.getvalue()))
    add_frame_input(model, (height, width), mean=PIXEL_MEAN, scale=PIXEL_SCALE)
    model.ir_version = 9
    onnx.checker.check_model(model, full_check=True)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    return session.run(None, {"frame": frames})[0], {n.op_type for n in model.graph.node}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "conv",
    [
        nn.Conv2d(3, 8, 3, stride=2, padding=1, bias=False),
        nn.Conv2d(3, 8, 5, stride=1, padding=2),
        nn.Conv2d(3, 6, 3, stride=3, padding=(2, 1), dilation=2, groups=3),
        nn.Conv2d(3, 8, 4, stride=4),
    ],
)
@pytest.mark.parametrize("size", [(16, 16), (17, 22)])
def test_simplify_folds_normalization_exactly_at_the_borders(
    conv: nn.Conv2d, size: tuple[int, int]
) -> None:
    frames = np.random.default_rng(0).integers(0, 256, (1, *size, 3), dtype=np.uint8)
    net = nn.Sequential(conv, nn.ReLU()).eval()
    folded, operators = run_from_frame(net, frames)
    with torch.no_grad():
        expected = net(normalize(torch.from_numpy(frames)))
    assert "Sub" not in operators
    np.testing.assert_allclose(folded, expected.numpy(), atol=1e-4)


@pytest.mark.filterwarnings("ignore")
def test_simplify_keeps_normalization_that_no_convolution_can_absorb() -> None:
    class Residual(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 3, 3, padding=1)

        def forward(self, frame: torch.Tensor) -> torch.Tensor:
            return frame + self.conv(frame)

    frames = np.random.default_rng(0).integers(0, 256, (1, 8, 8, 3), dtype=np.uint8)
    net = Residual().eval()
    found, operators = run_from_frame(net, frames)
    with torch.no_grad():
        expected = net(normalize(torch.from_numpy(frames)))
    assert "Sub" in operators
    np.testing.assert_allclose(found, expected.numpy(), atol=1e-5)


@pytest.mark.parametrize(("source", "target"), [(2, 16), (8, 64), (1, 8), (12, 5), (15, 120)])
@pytest.mark.parametrize("aligned", [True, False])
def test_interpolation_is_equal_to_torch(source: int, target: int, aligned: bool) -> None:
    x = torch.randn(1, 2, source, source)
    matrix = torch.from_numpy(
        interpolation(source, target, "align_corners" if aligned else "half_pixel")
    )
    expected = functional.interpolate(x, (target, target), mode="bilinear", align_corners=aligned)
    torch.testing.assert_close(matrix @ x @ matrix.T, expected, atol=1e-5, rtol=1e-5)
