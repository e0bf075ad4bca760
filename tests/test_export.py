"""The exported file says what the network says, and is what boards can load."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn

from autoseg.core.errors import CandidateError
from autoseg.device.session import class_maps
from autoseg.export import to_onnx as exporting
from autoseg.export.to_onnx import Exported, check, export
from autoseg.networks import build


def random_frames(count: int, size: tuple[int, int], channels: int) -> np.ndarray:
    shape = (count, *size, channels)
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def lived_in(net: nn.Module, size: tuple[int, int], channels: int) -> nn.Module:
    """With statistics in its normalizations and a last bias that leaves every class somewhere."""
    with torch.no_grad():
        for _ in range(3):
            logits = net.train()(torch.randn(2, channels, *size))
        last = [m for m in net.modules() if isinstance(m, nn.Conv2d)][-1]
        if last.bias is not None:
            net.eval()
            logits = net(torch.randn(2, channels, *size))
            last.bias -= logits.mean(dim=(0, 2, 3))
    return net


def exported(net: nn.Module, path: Path, **given: Any) -> Exported:
    defaults = {"input_hw": (64, 64), "channels": 3, "classes": 1, "metadata": {}}
    return export(net, path, **(defaults | given))


@pytest.mark.parametrize(
    ("size", "channels", "classes", "pp"),
    [
        ((64, 64), 3, 1, 1),
        ((96, 160), 3, 11, 1),
        ((96, 160), 1, 1, 1),
        ((128, 128), 1, 11, 0),
        ((128, 128), 3, 1, 0),
        ((480, 288), 3, 1, 1),
    ],
)
def test_export_gives_the_class_map_of_torch(
    tmp_path: Path, size: tuple[int, int], channels: int, classes: int, pp: int
) -> None:
    torch.manual_seed(0)
    net = build("fast_scnn", channels=channels, classes=classes, a=0.25, r=1, pp=pp)
    net = lived_in(net, size, channels)
    file = exported(net, tmp_path / "m.onnx", input_hw=size, channels=channels, classes=classes)
    frames = random_frames(2, size, channels)
    maps = np.stack(class_maps(file.path, frames))
    assert maps.dtype == np.uint8 and maps.shape == (2, *size)
    assert len(np.unique(maps)) > 1
    assert check(file, net, frames) >= 0.999
    borders = np.ones(size, bool)
    borders[2:-2, 2:-2] = False
    with torch.no_grad():
        logits = net.eval()((torch.tensor(frames).permute(0, 3, 1, 2).float() - 128) / 64)
    expected = (logits[:, 0] >= 0) if classes == 1 else logits.argmax(1)
    assert (maps == expected.numpy())[:, borders].mean() >= 0.999


def test_export_writes_one_small_file_for_old_runtimes(tmp_path: Path) -> None:
    net = build("fast_scnn", channels=3, classes=1, a=0.125, r=1).train()
    weights = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    file = exported(net, tmp_path / "m.onnx", metadata={"key": "abc", "classes": "a,b"})
    model = onnx.load(file.path)
    onnx.checker.check_model(model, full_check=True)
    assert model.ir_version == 9
    assert [(o.domain, o.version) for o in model.opset_import] == [("", 18)]
    assert {p.key: p.value for p in model.metadata_props} == {"key": "abc", "classes": "a,b"}
    assert [p.name for p in tmp_path.iterdir()] == ["m.onnx"]
    assert file.size_bytes == file.path.stat().st_size
    assert file.onnx_digest == hashlib.sha256(file.path.read_bytes()).hexdigest()
    read = {name for node in model.graph.node for name in node.input}
    assert {constant.name for constant in model.graph.initializer} <= read
    assert "BatchNormalization" not in {node.op_type for node in model.graph.node}
    assert net.training
    assert all(torch.equal(tensor, weights[name]) for name, tensor in net.state_dict().items())


def test_graph_digest_ignores_weights_and_metadata(tmp_path: Path) -> None:
    def digest_of(a: float, seed: int, **given: Any) -> str:
        torch.manual_seed(seed)
        net = build("fast_scnn", channels=3, classes=1, a=a, r=1)
        size = given.get("input_hw", (64, 64))
        return exported(
            lived_in(net, size, 3) if seed else net, tmp_path / "m.onnx", **given
        ).graph_digest

    assert digest_of(0.25, 0) == digest_of(0.25, 1, metadata={"key": "x"})
    assert len({digest_of(0.25, 0), digest_of(0.5, 0), digest_of(0.25, 0, input_hw=(64, 96))}) == 3


class NoConvolutionFirst(nn.Module):
    """Begins with a product, has names that the shipped graph uses, and a smaller map."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.classes = nn.Parameter(torch.full((1, channels, 1, 1), 0.5))
        self.conv = nn.Conv2d(channels, classes, 3, padding=1)

    def forward(self, frame: Tensor) -> Tensor:
        pooled = nn.functional.max_pool2d(frame * self.classes, 4)
        logits: Tensor = self.conv(pooled)
        return logits


@pytest.mark.parametrize("classes", [1, 4])
def test_export_accepts_a_network_without_the_usual_input_layers(
    tmp_path: Path, classes: int
) -> None:
    net = NoConvolutionFirst(3, classes)
    file = exported(net, tmp_path / "m.onnx", classes=classes)
    frames = random_frames(1, (64, 64), 3)
    assert [found.shape for found in class_maps(file.path, frames)] == [(16, 16)]
    assert check(file, net, frames) >= 0.999


def test_export_accepts_a_users_builder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_exported.py").write_text(
        "from torch import nn\n"
        "def net(channels, classes, *, width=8):\n"
        "    return nn.Sequential(nn.Conv2d(channels, width, 3, 2, 1), nn.Hardswish(),\n"
        "        nn.ConvTranspose2d(width, classes, 2, 2))\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    net = build("own_exported:net", channels=1, classes=3, width=6)
    file = exported(net, tmp_path / "m.onnx", channels=1, classes=3)
    assert check(file, net, random_frames(2, (64, 64), 1)) >= 0.999


@pytest.mark.slow
def test_export_captures_a_network_that_cannot_be_traced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(net: nn.Module, picture: Tensor) -> onnx.ModelProto:
        raise RuntimeError("this torch has no tracing exporter")

    monkeypatch.setattr(exporting, "_trace", refuse)
    net = lived_in(build("fast_scnn", channels=3, classes=5, a=0.125, r=1), (64, 96), 3)
    file = exported(net, tmp_path / "m.onnx", classes=5, input_hw=(64, 96))
    assert check(file, net, random_frames(2, (64, 96), 3)) >= 0.999


def test_check_refuses_a_file_that_disagrees_with_the_network(tmp_path: Path) -> None:
    net = nn.Conv2d(3, 1, 3, padding=1)
    file = exported(net, tmp_path / "m.onnx")
    other = nn.Conv2d(3, 1, 3, padding=1)
    with pytest.raises(CandidateError, match=r"99\.9%"):
        check(file, other, random_frames(1, (64, 64), 3))


class Broken(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        raise ValueError("no such layer\nsecond line")


@pytest.mark.parametrize(
    ("net", "said"),
    [
        (Broken(), "no such layer"),
        (nn.Conv2d(3, 2, 1), r"\[1, 1, h, w\]"),
        (nn.Conv2d(4, 1, 1), "channels"),
    ],
)
def test_export_failure_raises_candidate_error(tmp_path: Path, net: nn.Module, said: str) -> None:
    with pytest.raises(CandidateError, match=said) as caught:
        exported(net, tmp_path / "m.onnx")
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_check_refuses_a_file_that_is_no_network(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(b"not a network")
    with pytest.raises(CandidateError, match=r"m\.onnx"):
        class_maps(tmp_path / "m.onnx", random_frames(1, (64, 64), 3))


def test_export_prints_nothing(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], recwarn: pytest.WarningsRecorder
) -> None:
    exported(build("fast_scnn", channels=3, classes=1, a=0.125, r=1), tmp_path / "m.onnx")
    assert capfd.readouterr() == ("", "")
    assert not list(recwarn)
