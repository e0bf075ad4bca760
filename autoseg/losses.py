"""Cross-entropy + Dice: the report on pruned FCN8s found the sum better than either."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from autoseg.records import IGNORE_INDEX


def segmentation_loss(logits: Tensor, masks: Tensor, dice_weight: float) -> Tensor:
    """``(1 - w) * cross-entropy + w * Dice`` as one scalar.

    `logits` float ``[N, C, H, W]`` (C = 1: one logit for the object), `masks` int ``[N, H, W]``
    with 255 = ignore.
    """
    valid = masks != IGNORE_INDEX
    if logits.shape[1] == 1:
        truth = (masks == 1).to(logits.dtype)[:, None]
        weight = valid.to(logits.dtype)[:, None]
        entropy = functional.binary_cross_entropy_with_logits(
            logits, truth, weight, reduction="sum"
        )
        return _mix(entropy, weight, torch.sigmoid(logits), truth, dice_weight)
    entropy = functional.cross_entropy(
        logits, masks.long(), ignore_index=IGNORE_INDEX, reduction="sum"
    )
    weight = valid.to(logits.dtype)[:, None]
    labels = torch.where(valid, masks, 0).long()
    truth = functional.one_hot(labels, logits.shape[1]).permute(0, 3, 1, 2).to(logits.dtype)
    return _mix(entropy, weight, torch.softmax(logits, 1), truth, dice_weight)


def _mix(
    entropy: Tensor, weight: Tensor, share: Tensor, truth: Tensor, dice_weight: float
) -> Tensor:
    # Over the whole batch: per picture it would punish pictures without the object without end.
    pixels = weight.sum().clamp(min=1)
    both = (share * truth * weight).sum((0, 2, 3))
    total = ((share + truth) * weight).sum((0, 2, 3))
    dice = 1 - (2 * both + 1) / (total + 1)
    # A class that the batch does not hold has nothing to overlap with; a mask keeps the loss free
    # of host syncs.
    present = ((truth * weight).sum((0, 2, 3)) > 0).to(dice.dtype)
    dice = (dice * present).sum() / present.sum().clamp(min=1)
    return (1 - dice_weight) * entropy / pixels + dice_weight * dice
