"""Cross-entropy + Dice: the report on pruned FCN8s found the sum better than either alone."""

from __future__ import annotations

import torch
from torch import Tensor

from autoseg.core.records import IGNORE_INDEX


@torch.no_grad()
def loss_gradient(logits: Tensor, masks: Tensor, dice_weight: float) -> Tensor:
    """The derivative of ``(1 - w) * cross-entropy + w * Dice`` by the logits, in one pass.

    `logits` float ``[N, C, H, W]`` (C = 1: one logit for the object), `masks` int ``[N, H, W]``
    with 255 = ignore. Never synchronizes with a GPU. No step needs the loss itself, and autograd
    would keep a dozen maps of the input's size for these formulas, which took a quarter of a small
    network's training step.
    """
    weight = (masks != IGNORE_INDEX).to(logits.dtype)[:, None]
    if logits.shape[1] == 1:
        truth = (masks == 1).to(logits.dtype)[:, None]
        prob = torch.sigmoid(logits)
    else:
        labels = masks.long()[:, None].clamp(max=logits.shape[1] - 1)
        truth = torch.zeros_like(logits).scatter_(1, labels, weight)
        prob = torch.log_softmax(logits, 1).exp_()
    seen = prob * weight
    dice = _dice_gradient(prob, truth, weight, seen).mul_(prob)
    # Through the sigmoid (1 - p), or through the softmax, whose probabilities sum to one.
    dice.sub_(prob * (dice if logits.shape[1] == 1 else dice.sum(1, keepdim=True)))
    each_pixel = (1 - dice_weight) / weight.sum().clamp(min=1)
    return seen.sub_(truth).mul_(each_pixel).add_(dice, alpha=dice_weight)


def _dice_gradient(prob: Tensor, truth: Tensor, weight: Tensor, seen: Tensor) -> Tensor:
    """The derivative of the Dice loss by `prob`; maps are ``[N, C, H, W]``, `seen` is `prob` times
    `weight`.

    Over the whole batch: taken per picture, it would keep penalizing pictures without the object.
    Classes that do not occur in the batch are not counted. Ignored pixels weigh 0.
    """
    area = truth.sum((0, 2, 3), keepdim=True)
    common = (prob * truth).sum((0, 2, 3), keepdim=True)
    total = seen.sum((0, 2, 3), keepdim=True) + area + 1
    occurs = area > 0
    share = occurs / occurs.sum().clamp(min=1)
    overlap = (2 * common + 1) / total
    return torch.addcmul(weight * (share * overlap / total), truth, share / total, value=-2)
