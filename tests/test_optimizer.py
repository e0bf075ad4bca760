"""Muon: orthogonal steps, whatever their neighbours, and a state that resumes."""

import pytest
import torch
from torch import nn

from autoseg.networks import build
from autoseg.train.optim import Muon, optimizers
from autoseg.train.recipe import Recipe


def stepped(*gradients: torch.Tensor) -> list[torch.Tensor]:
    parameters = [nn.Parameter(torch.zeros_like(gradient)) for gradient in gradients]
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter.grad = gradient
    Muon(parameters, lr=1.0, weight_decay=0.0).step()
    return [-parameter.detach() for parameter in parameters]


@pytest.mark.parametrize("shape", [(8, 3, 3, 3), (16, 96, 1, 1), (96, 16, 1, 1), (5, 7, 1, 1)])
def test_muon_step_is_orthogonal_and_follows_the_gradient(shape):
    torch.manual_seed(0)
    gradient = torch.randn(shape)
    (step,) = stepped(gradient)
    matrix = step.flatten(1)
    tall = max(1.0, matrix.shape[0] / matrix.shape[1])
    values = torch.linalg.svdvals(matrix) / tall**0.5
    assert 0.5 < values.min() and values.max() < 1.3
    assert (step * gradient).sum() > 0


def test_muon_step_does_not_depend_on_parameters_of_other_sizes():
    torch.manual_seed(0)
    gradients = [torch.randn(s, 4 * s, 1, 1) for s in (5, 6, 8)] + [torch.randn(24, 7, 1, 1)]
    together = stepped(*gradients)
    for gradient, step in zip(gradients, together, strict=True):
        assert torch.allclose(stepped(gradient)[0], step, atol=1e-4)


@pytest.mark.parametrize("name", ["muon", "adamw", "sgd"])
def test_optimizer_steps_every_parameter_once(name):
    net = build("fast_scnn", channels=3, classes=1, a=0.25, t=2, r=1, pp=1)
    taken = [
        id(p)
        for optimizer in optimizers(net, Recipe(optimizer=name))
        for group in optimizer.param_groups
        for p in group["params"]
    ]
    assert sorted(taken) == sorted(map(id, net.parameters()))
