"""Cross-entropy + Dice against figures worked out by hand."""

import math

import pytest
import torch

from autoseg.train.losses import segmentation_loss


def test_loss_of_one_logit_by_hand():
    logits = torch.tensor([[[[2.0, -1.0]]]])
    masks = torch.tensor([[[1, 0]]])
    p, q = 1 / (1 + math.exp(-2)), 1 / (1 + math.exp(1))
    entropy = (-math.log(p) - math.log(1 - q)) / 2
    dice = 1 - (2 * p + 1) / (p + q + 1 + 1)
    assert segmentation_loss(logits, masks, 0.0).item() == pytest.approx(entropy)
    assert segmentation_loss(logits, masks, 1.0).item() == pytest.approx(dice)
    assert segmentation_loss(logits, masks, 0.25).item() == pytest.approx(
        0.75 * entropy + 0.25 * dice
    )


def test_loss_of_three_classes_by_hand():
    logits = torch.zeros(1, 3, 1, 2)
    masks = torch.tensor([[[0, 2]]])
    # Each class has a share of 1/3 at both pixels; class 1 is absent and must not count.
    dice = 1 - (2 / 3 + 1) / (2 / 3 + 1 + 1)
    assert segmentation_loss(logits, masks, 0.0).item() == pytest.approx(math.log(3))
    assert segmentation_loss(logits, masks, 1.0).item() == pytest.approx(dice)


@pytest.mark.parametrize("outputs", [1, 3])
@pytest.mark.parametrize("weight", [0.0, 0.5, 1.0])
def test_loss_ignores_ignored_pixels_and_gives_them_no_gradient(outputs, weight):
    torch.manual_seed(0)
    logits = torch.randn(2, outputs, 4, 4, requires_grad=True)
    masks = torch.randint(0, max(2, outputs), (2, 4, 4))
    masks[:, 2:] = 255
    loss = segmentation_loss(logits, masks, weight)
    shorter = segmentation_loss(logits[:, :, :2], masks[:, :2], weight)
    assert loss.item() == pytest.approx(shorter.item(), rel=1e-6)
    loss.backward()
    assert logits.grad is not None
    assert logits.grad[:, :, 2:].abs().max() == 0
    assert logits.grad[:, :, :2].abs().max() > 0


@pytest.mark.parametrize("outputs", [1, 3])
def test_loss_of_ignored_pixels_alone_is_finite(outputs):
    logits = torch.randn(1, outputs, 2, 2, requires_grad=True)
    loss = segmentation_loss(logits, torch.full((1, 2, 2), 255), 0.5)
    loss.backward()
    assert loss.item() == 0
    assert logits.grad is not None and torch.isfinite(logits.grad).all()


@pytest.mark.parametrize("outputs", [1, 3])
def test_loss_of_the_right_answer_is_zero(outputs):
    masks = torch.randint(
        0, max(2, outputs), (1, 8, 8), generator=torch.Generator().manual_seed(0)
    )
    if outputs == 1:
        logits = (masks * 2.0 - 1)[:, None] * 50
    else:
        logits = torch.nn.functional.one_hot(masks, 3).permute(0, 3, 1, 2) * 100.0
    assert segmentation_loss(logits, masks, 0.5).item() == pytest.approx(0, abs=1e-6)


def test_loss_accepts_masks_of_the_cache():
    masks = torch.tensor([[[0, 1], [255, 1]]], dtype=torch.uint8)
    for outputs in (1, 2):
        assert torch.isfinite(segmentation_loss(torch.zeros(1, outputs, 2, 2), masks, 0.5))


@pytest.mark.parametrize("outputs", [1, 2, 5])
def test_loss_gradient_is_that_of_its_value(outputs):
    torch.manual_seed(1)
    logits = torch.randn(2, outputs, 3, 5, dtype=torch.float64, requires_grad=True)
    masks = torch.randint(0, max(2, outputs), (2, 3, 5))
    masks[0, 0] = 255
    step = 1e-3
    segmentation_loss(logits, masks, 0.3).backward()
    for place in [(0, 0, 0, 1), (0, outputs - 1, 1, 2), (1, 0, 2, 4)]:
        with torch.no_grad():
            up, down = logits.clone(), logits.clone()
            up[place] += step
            down[place] -= step
            rise = segmentation_loss(up, masks, 0.3) - segmentation_loss(down, masks, 0.3)
        assert logits.grad[place].item() == pytest.approx(rise.item() / (2 * step), abs=3e-4)
