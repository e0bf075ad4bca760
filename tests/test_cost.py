"""What a network is said to cost."""

from __future__ import annotations

import pytest
import torch
from fvcore.nn import FlopCountAnalysis
from torch import Tensor, nn

from autoseg.core.errors import CandidateError
from autoseg.core.records import Cost, LayerCost
from autoseg.core.serialize import from_json, to_json
from autoseg.core.yaml_files import names
from autoseg.networks import build
from autoseg.networks.blocks import PyramidPooling
from autoseg.networks.cost import cost
from autoseg.networks.space import load_space
from autoseg.train.task import build_candidate


def test_cost_of_a_grouped_strided_convolution_follows_its_weights() -> None:
    conv = nn.Conv2d(8, 16, 3, stride=2, padding=1, groups=4)
    counted = cost(conv, (32, 48))
    assert counted.params == 16 * 2 * 9 + 16
    assert counted.macs == conv.weight.numel() * 16 * 24
    assert counted.activation_bytes == 4 * 16 * 16 * 24


def test_cost_counts_matrix_products() -> None:
    class Product(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x @ torch.zeros(8, 4)

    assert cost(Product(), (6, 8)).macs == 3 * 6 * 8 * 4


def test_cost_counts_a_transposed_convolution_at_its_input() -> None:
    conv = nn.ConvTranspose2d(3, 8, 4, stride=2, padding=1)
    assert cost(conv, (6, 8)).macs == conv.weight.numel() * 6 * 8


def test_cost_counts_products_of_all_kinds() -> None:
    class Products(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear, self.attention = nn.Linear(8, 5), nn.MultiheadAttention(8, 2)

        def forward(self, x: Tensor) -> Tensor:
            rows = x[0]  # 3 x 6 x 8
            weighed, _ = self.attention(rows, rows, rows)
            return self.linear(weighed) + torch.einsum("cij,kj->cik", rows, rows.new_zeros(5, 8))

    tokens, heads = 3 * 6, 6 * 2  # sequences of 3 in a batch of 6
    attended = tokens * 8 * 24 + 2 * heads * 3 * 3 * 4 + tokens * 8 * 8
    assert cost(Products(), (6, 8)).macs == attended + 2 * tokens * 8 * 5


@pytest.mark.parametrize("space", names("search_spaces"))
def test_cost_of_the_baseline_is_what_fvcore_counts(space: str) -> None:
    chosen = load_space(space)
    net = build_candidate(chosen, chosen.baseline, 1).eval()
    frame = torch.zeros(1, 3, *chosen.baseline.input_hw)
    counted = FlopCountAnalysis(net, frame).unsupported_ops_warnings(False).by_operator()
    products = ("conv", "linear", "addmm", "bmm", "matmul", "einsum")
    assert cost(net, chosen.baseline.input_hw).macs == sum(counted[name] for name in products)


def test_cost_counts_layers_by_kind() -> None:
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
    assert counted.convolution == LayerCost(
        layers=1, macs=27 * 8 * pixels, bytes_moved=4 * (3 * 8 * 12 + 8 * pixels)
    )
    assert counted.depthwise == LayerCost(
        layers=1, macs=9 * 8 * pixels, bytes_moved=4 * (8 + 8) * pixels
    )
    assert counted.pointwise == LayerCost(
        layers=1, macs=8 * 16 * pixels, bytes_moved=4 * (8 + 16) * pixels
    )
    assert counted.other == LayerCost(layers=1, macs=0, bytes_moved=4 * (16 + 16 * 4) * pixels)
    assert counted.product == LayerCost()
    assert counted.macs == sum(kind.macs for kind in counted.kinds)


def test_cost_does_not_count_constants_of_pooling_as_layers() -> None:
    regular = cost(PyramidPooling(16, 4).eval(), (32, 32))
    uneven = cost(PyramidPooling(16, 4).eval(), (15, 15))  # two products for 4 bins, two for 8
    assert regular.product.layers == 0 and uneven.product.layers == 4
    assert uneven.pointwise.layers == regular.pointwise.layers == 5


def test_cost_is_proportional_to_the_input_area() -> None:
    net = build("fast_scnn", channels=3, classes=1, a=0.25, t=2, r=1, pp=0)
    assert cost(net, (256, 192)).at(4) == cost(net, (512, 384))


def test_cost_from_json_accepts_costs_without_counts_by_kind() -> None:
    old = {"params": 1, "macs": 2, "activation_bytes": 3}
    assert from_json(Cost, old) == Cost(params=1, macs=2, activation_bytes=3)
    counted = cost(nn.Conv2d(3, 4, 1), (8, 8))
    assert from_json(Cost, to_json(counted)) == counted


def test_cost_counts_the_output_of_every_leaf() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2))
    assert cost(net, (8, 8)).activation_bytes == 4 * 4 * (3 * 64 + 16)


def test_cost_leaves_the_network_unchanged() -> None:
    net = build("fast_scnn", channels=1, classes=2, a=0.125, r=1).train()
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    cost(net, (64, 96))
    assert net.training and all(m.training for m in net.modules())
    assert all(p.device.type == "cpu" and p.requires_grad for p in net.parameters())
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())
    assert not any(m._forward_hooks for m in net.modules())


def test_cost_of_a_size_that_does_not_fit_raises_candidate_error() -> None:
    with pytest.raises(CandidateError, match="4x4"):
        cost(nn.Conv2d(3, 1, 7), (4, 4))
