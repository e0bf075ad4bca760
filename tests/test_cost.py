"""What a network is said to cost."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from autoseg.cost import cost
from autoseg.networks import build
from autoseg.records import CandidateError


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
