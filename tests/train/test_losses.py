"""The gradient of cross-entropy + Dice, against figures worked out by hand and autograd."""

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from autoseg.train.losses import loss_gradient


def loss_of(logits: Tensor, masks: Tensor, weight: float) -> Tensor:
    """The loss, pixel by pixel that counts."""
    counted = masks != 255
    labels = masks[counted].long()
    if logits.shape[1] == 1:
        chosen = logits[:, 0][counted]
        truth = (labels == 1).to(logits.dtype)
        entropy = functional.binary_cross_entropy_with_logits(chosen, truth)
        prob, truth = torch.sigmoid(chosen)[:, None], truth[:, None]
    else:
        chosen = logits.permute(0, 2, 3, 1)[counted]
        entropy = functional.cross_entropy(chosen, labels)
        prob, truth = chosen.softmax(1), functional.one_hot(labels, logits.shape[1])
    overlap = (2 * (prob * truth).sum(0) + 1) / ((prob + truth).sum(0) + 1)
    there = truth.sum(0) > 0
    dice = (1 - overlap)[there].mean() if there.any() else 0.0
    return (1 - weight) * entropy + weight * dice


def test_gradient_of_one_logit_by_hand():
    logits = torch.tensor([[[[2.0, -1.0]]]])
    masks = torch.tensor([[[1, 0]]])
    p, q = 1 / (1 + math.exp(-2)), 1 / (1 + math.exp(1))
    entropy = [(p - 1) / 2, q / 2]
    # 1 - (2 p + 1) / (p + q + 2), by p and by q, through the sigmoid
    common, total = 2 * p + 1, p + q + 2
    dice = [(common / total**2 - 2 / total) * p * (1 - p), common / total**2 * q * (1 - q)]
    for weight in (0.0, 0.25, 1.0):
        by_hand = [(1 - weight) * e + weight * d for e, d in zip(entropy, dice, strict=True)]
        found = loss_gradient(logits, masks, weight)
        assert found.flatten().tolist() == pytest.approx(by_hand)


def test_gradient_of_three_classes_by_hand():
    logits = torch.zeros(1, 3, 1, 2)
    masks = torch.tensor([[[0, 2]]])
    # Each class has a share of 1/3 at both pixels; class 1 is absent and must not count.
    entropy = [(1 / 3 - 1) / 2, 1 / 6]
    assert loss_gradient(logits, masks, 0.0)[0, 0, 0].tolist() == pytest.approx(entropy)
    overlap, total = 2 / 3 + 1, 2 / 3 + 2
    right, wrong = (overlap / total**2 - 2 / total) / 2, overlap / total**2 / 2
    mean = (right + wrong) / 3
    dice = [(right - mean) / 3, (wrong - mean) / 3]
    assert loss_gradient(logits, masks, 1.0)[0, 0, 0].tolist() == pytest.approx(dice)


@pytest.mark.parametrize("outputs", [1, 2, 5])
@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64])
def test_gradient_is_that_of_the_loss(outputs, weight, dtype):
    torch.manual_seed(1)
    logits = torch.randn(2, outputs, 3, 5, requires_grad=True)
    masks = torch.randint(0, max(2, outputs - 1), (2, 3, 5), dtype=dtype)
    masks[0, 0] = 255
    (slope,) = torch.autograd.grad(loss_of(logits, masks, weight), logits)
    found = loss_gradient(logits.detach(), masks, weight)
    assert torch.allclose(found, slope, rtol=1e-4, atol=1e-7)
    assert found[0, :, 0].abs().max() == 0 and found[1].abs().max() > 0


@pytest.mark.parametrize("outputs", [1, 3])
def test_gradient_of_ignored_pixels_alone_is_zero(outputs):
    found = loss_gradient(torch.randn(1, outputs, 2, 2), torch.full((1, 2, 2), 255), 0.5)
    assert (found == 0).all()


@pytest.mark.parametrize("outputs", [1, 3])
def test_gradient_of_the_right_answer_is_zero(outputs):
    masks = torch.randint(
        0, max(2, outputs), (1, 8, 8), generator=torch.Generator().manual_seed(0)
    )
    if outputs == 1:
        logits = (masks * 2.0 - 1)[:, None] * 50
    else:
        logits = functional.one_hot(masks, 3).permute(0, 3, 1, 2) * 100.0
    assert loss_gradient(logits, masks, 0.5).abs().max().item() == pytest.approx(0, abs=1e-6)
