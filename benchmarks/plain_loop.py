"""Training as most code has it, the thesis' too: each picture is decoded, resized and augmented
again in each epoch, by albumentations in a PyTorch DataLoader.

It has its own pipeline and its own loss (autoseg's formula, as autograd takes it), so that it
stays what it is when autoseg's change. The network is autoseg's.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

# Without a network each process that imports it would wait for its newest version to be looked up.
os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"

import albumentations  # noqa: E402
import cv2
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader

from autoseg.core.records import IGNORE_INDEX
from autoseg.core.units import HW
from autoseg.data.dataset import Sample
from autoseg.networks.blocks import PIXEL_MEAN, PIXEL_SCALE
from autoseg.train.recipe import Recipe

MAX_WAIT_S = 60  # for a batch of the workers: a loop that hangs ends with an error


class Pictures(torch.utils.data.Dataset[tuple[Tensor, Tensor]]):
    """Pairs of files as float32 ``[3, H, W]`` and class indices uint8 ``[H, W]``."""

    def __init__(self, samples: Sequence[Sample], input_hw: HW) -> None:
        self.samples = samples
        self.compose = albumentations.Compose(_transforms(input_hw))

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        image, mask = read(self.samples[index])
        pair = self.compose(image=image, mask=mask)
        scaled = (pair["image"].astype(np.float32) - PIXEL_MEAN) / PIXEL_SCALE
        frame = torch.from_numpy(scaled.transpose(2, 0, 1)).contiguous()
        return frame, torch.from_numpy(np.ascontiguousarray(pair["mask"]))


def read(sample: Sample) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """The pair as it lies on the disk; OpenCV decodes faster than Pillow."""
    image = cv2.cvtColor(cv2.imread(sample.image, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
    return image, cv2.imread(sample.mask, cv2.IMREAD_UNCHANGED)


def _transforms(input_hw: HW) -> list[albumentations.BasicTransform]:
    return [
        albumentations.Resize(*input_hw),
        albumentations.HorizontalFlip(p=0.5),
        albumentations.Affine(
            scale=(0.85, 1.3), keep_ratio=True, translate_percent=(-0.12, 0.12), rotate=(-15, 15),
            interpolation=cv2.INTER_LINEAR, mask_interpolation=cv2.INTER_NEAREST,
            border_mode=cv2.BORDER_CONSTANT, fill=127, fill_mask=IGNORE_INDEX, p=0.75,
        ),
        albumentations.RandomBrightnessContrast(
            brightness_limit=0.25, contrast_limit=0.25, p=0.5
        ),
        albumentations.RGBShift(r_shift_limit=20, g_shift_limit=20, b_shift_limit=20, p=0.4),
    ]  # fmt: skip


@dataclass
class PlainLoop:
    """A network, its optimizer and its loader; `train` runs whole epochs."""

    net: nn.Module
    optimizer: torch.optim.Optimizer
    loader: DataLoader[Any]
    recipe: Recipe

    @classmethod
    def of(
        cls, net: nn.Module, samples: Sequence[Sample], input_hw: HW, recipe: Recipe, workers: int
    ) -> PlainLoop:
        """The recipe's batch and rate with AdamW; workers live through all epochs.

        Without the recipe's own optimizer, clipping and average of weights: the plainest loop.
        """
        cv2.setNumThreads(0)  # its pool would fight PyTorch's threads, and does not survive a fork
        loader = DataLoader(
            Pictures(samples, input_hw), recipe.batch, shuffle=True, num_workers=workers,
            persistent_workers=workers > 0, pin_memory=torch.cuda.is_available(),
            timeout=MAX_WAIT_S if workers else 0,
        )  # fmt: skip
        optimizer = torch.optim.AdamW(
            net.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay
        )
        return cls(net, optimizer, loader, recipe)

    def train(self, epochs: int) -> None:
        device = next(self.net.parameters()).device
        self.net.train()
        for _ in range(epochs):
            total = 0.0
            for frames, masks in self.loader:
                logits = self.net(frames.to(device, non_blocking=True))
                loss = loss_of(logits, masks.to(device), self.recipe.dice_weight)
                self.optimizer.zero_grad()
                loss.backward()
                self.optimizer.step()
                total += loss.item()


def loss_of(logits: Tensor, masks: Tensor, dice_weight: float) -> Tensor:
    """Cross-entropy and Dice of a batch, which `autoseg.train.losses` gives the gradient of."""
    valid = masks != IGNORE_INDEX
    weight = valid.to(logits.dtype)[:, None]
    if logits.shape[1] == 1:
        truth = (masks == 1).to(logits.dtype)[:, None]
        entropy = functional.binary_cross_entropy_with_logits(
            logits, truth, weight, reduction="sum"
        )
        share = torch.sigmoid(logits)
    else:
        labels = torch.where(valid, masks, 0).long()
        truth = functional.one_hot(labels, logits.shape[1]).permute(0, 3, 1, 2) * weight
        entropy = functional.cross_entropy(
            logits, masks.long(), ignore_index=IGNORE_INDEX, reduction="sum"
        )
        share = torch.softmax(logits, 1)
    area = (truth * weight).sum((0, 2, 3))
    both, total = (share * truth * weight).sum((0, 2, 3)), (share * weight).sum((0, 2, 3)) + area
    present = (area > 0).to(logits.dtype)
    dice = ((1 - (2 * both + 1) / (total + 1)) * present).sum() / present.sum().clamp(min=1)
    return (1 - dice_weight) * entropy / weight.sum().clamp(min=1) + dice_weight * dice
