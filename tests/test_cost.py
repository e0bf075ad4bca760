"""What a network is said to cost."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from autoseg.core.errors import CandidateError
from autoseg.core.records import Cost, LayerCost
from autoseg.core.serialize import from_json, to_json
from autoseg.networks import build
from autoseg.networks.blocks import PyramidPooling
from autoseg.networks.cost import cost


def test_a_grouped_strided_convolution_is_counted_by_its_weights() -> None:
    conv = nn.Conv2d(8, 16, 3, stride=2, padding=1, groups=4)
    counted = cost(conv, (32, 48))
    assert counted.params == 16 * 2 * 9 + 16
    assert counted.macs == conv.weight.numel() * 16 * 24
    assert counted.activation_bytes == 4 * 16 * 16 * 24


def test_matrix_products_count_too() -> None:
    class Product(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x @ torch.zeros(8, 4)

    assert cost(Product(), (6, 8)).macs == 3 * 6 * 8 * 4


def test_layers_are_counted_by_kind() -> None:
    net = nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 8, 3, padding=1, groups=8),
        nn.Conv2d(8, 16, 1),
        nn.Upsample(scale_factor=2),
    )
    counted = cost(net, (8, 12))
    pixels = 4 * 6
    assert counted.convolution == LayerCost(1, 27 * 8 * pixels, 4 * (3 * 8 * 12 + 8 * pixels))
    assert counted.depthwise == LayerCost(1, 9 * 8 * pixels, 4 * (8 + 8) * pixels)
    assert counted.pointwise == LayerCost(1, 8 * 16 * pixels, 4 * (8 + 16) * pixels)
    assert counted.other == LayerCost(1, 0, 4 * (16 + 16 * 4) * pixels)
    assert counted.product == LayerCost()
    assert counted.macs == sum(kind.macs for kind in counted.kinds)


def test_constants_of_pooling_are_not_layers() -> None:
    regular = cost(PyramidPooling(16, 4).eval(), (32, 32))
    uneven = cost(PyramidPooling(16, 4).eval(), (15, 15))  # two products for 4 bins, two for 8
    assert regular.product.layers == 0 and uneven.product.layers == 4
    assert uneven.pointwise.layers == regular.pointwise.layers == 5


def test_another_size_costs_in_proportion_to_its_area() -> None:
    net = build("fast_scnn", channels=3, classes=1, a=0.25, t=2, r=1, pp=0)
    assert cost(net, (256, 192)).at(4) == cost(net, (512, 384))


def test_figures_of_before_they_were_counted_by_kind_are_read() -> None:
    old = {"params": 1, "macs": 2, "activation_bytes": 3}
    assert from_json(Cost, old) == Cost(params=1, macs=2, activation_bytes=3)
    counted = cost(nn.Conv2d(3, 4, 1), (8, 8))
    assert from_json(Cost, to_json(counted)) == counted


def test_every_leaf_writes_its_output() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2))
    assert cost(net, (8, 8)).activation_bytes == 4 * 4 * (3 * 64 + 16)


def test_the_network_is_left_as_it_was() -> None:
    net = build("fast_scnn", channels=1, classes=2, a=0.125, r=1).train()
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    cost(net, (64, 96))
    assert net.training and all(m.training for m in net.modules())
    assert all(p.device.type == "cpu" and p.requires_grad for p in net.parameters())
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())
    assert not any(m._forward_hooks for m in net.modules())


def test_a_size_that_does_not_fit_is_the_candidates_fault() -> None:
    with pytest.raises(CandidateError, match="4x4"):
        cost(nn.Conv2d(3, 1, 7), (4, 4))
