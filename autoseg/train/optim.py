"""Optimizers: AdamW, SGD, or Muon for matrices with AdamW for all other parameters."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn

from autoseg.train.recipe import Recipe

# The polynomial of Jordan et al. 2024 (Muon): it drives singular values into about 0.7 to 1.2.
_A, _B, _C = 3.4445, -4.7750, 2.0315
# Of a padded matrix. Many small products cost more than a few larger ones, on a GPU above all.
_MIN_SIDE, _MIN_SIDE_ON_GPU = 32, 128
_MIN_ROWS = 4  # with fewer rows or columns there is little to orthogonalize
Number = float | Tensor  # a float on a CPU; 0-dim where reading it would make a GPU wait
ITERATIONS = 3  # five make the step more orthogonal but the networks no better


def optimizers(net: nn.Module, recipe: Recipe) -> list[torch.optim.Optimizer]:
    """The optimizers that share the parameters of `net`; the loop sets their rates.

    On a GPU, rates are tensors there.
    """
    parameters = list(net.parameters())
    matrices = [p for p in parameters if recipe.optimizer == "muon" and _is_matrix(p)]
    taken = set(map(id, matrices))
    # Norms and biases are not decayed: their scale does not overfit.
    weights = [p for p in parameters if p.ndim > 1 and id(p) not in taken]
    groups: list[dict[str, Any]] = [
        {"params": weights, "weight_decay": recipe.weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    if recipe.optimizer == "sgd":
        fused = not parameters[0].is_cpu  # the others read a rate that is a tensor
        momentum: dict[str, Any] = {"momentum": 0.9, "nesterov": True, "fused": fused or None}
        return [torch.optim.SGD(groups, lr=recipe.learning_rate, **momentum)]
    found: list[torch.optim.Optimizer] = []
    if groups:
        found.append(torch.optim.AdamW(groups, lr=recipe.learning_rate, fused=True))
    if matrices:
        found.append(Muon(matrices, recipe.learning_rate, recipe.weight_decay))
    return found


def _is_matrix(parameter: Tensor) -> bool:
    """Whether it is a convolution that mixes channels (not depthwise), ``[out, in * kernel]``."""
    mixes = parameter.ndim == 4 and parameter.shape[1] > 1
    return mixes and min(parameter.shape[0], parameter[0].numel()) >= _MIN_ROWS


class Muon(torch.optim.Optimizer):
    """SGD with momentum whose step is replaced by the nearest semi-orthogonal matrix.

    Small networks reach an IoU in about half the epochs that AdamW needs. Source: Jordan et al.
    2024, "Muon: an optimizer for hidden layers in neural networks". Matrices of similar size are
    stacked and padded with zeros, which stay zeros: one by one they would take a fifth of a small
    network's step.
    """

    def __init__(
        self, params: Iterable[Tensor], lr: float, weight_decay: float, momentum: float = 0.9
    ) -> None:
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Step every matrix that has a gradient."""
        for group in self.param_groups:
            parameters = [p for p in group["params"] if p.grad is not None]
            if not parameters:
                continue
            gradients: list[Any] = [p.grad for p in parameters]
            for p in parameters:
                if p not in self.state:
                    self.state[p]["momentum"] = torch.zeros_like(p)
            momenta = [self.state[p]["momentum"] for p in parameters]
            torch._foreach_mul_(momenta, group["momentum"])
            torch._foreach_add_(momenta, gradients)
            ahead = torch._foreach_add(gradients, momenta, alpha=group["momentum"])
            torch._foreach_mul_(parameters, 1 - group["lr"] * group["weight_decay"])
            shapes = tuple((len(p), p[0].numel()) for p in parameters)
            _add(parameters, _stacks(shapes, ahead[0].device).orthogonal(ahead), -group["lr"])


@torch.no_grad()
def average(averaged: list[Tensor], weights: list[Tensor], newest: Number) -> None:
    """Move a running average of the weights towards the newest ones, by the share `newest`."""
    if isinstance(newest, Tensor):
        _add(averaged, list(torch._foreach_sub(weights, averaged)), newest)
    else:
        torch._foreach_lerp_(averaged, weights, newest)


def _add(tensors: list[Tensor], others: list[Tensor], factor: Number) -> None:
    """Add `others` times `factor`; `others` may be overwritten."""
    if isinstance(factor, Tensor):
        torch._foreach_mul_(others, factor)
        torch._foreach_add_(tensors, others)
    else:
        torch._foreach_add_(tensors, others, alpha=factor)


class _Stacks:
    """Where the numbers of some matrices are in padded stacks of matrices of similar size.

    Two index tensors copy all of them in and out: a copy for each matrix took many launches on a
    GPU. Tall matrices are transposed in the stacks, and scaled by sqrt(rows / columns) afterwards.
    """

    def __init__(self, shapes: Sequence[tuple[int, int]], device: torch.device) -> None:
        self.sizes = [rows * columns for rows, columns in shapes]
        count = sum(self.sizes)
        least = _MIN_SIDE if device.type == "cpu" else _MIN_SIDE_ON_GPU
        buckets: dict[tuple[int, ...], list[Tensor]] = defaultdict(list)
        numbers = torch.arange(count, device=device).split_with_sizes(self.sizes)
        for these, (rows, columns) in zip(numbers, shapes, strict=True):
            matrix = these.view(rows, columns)
            wide = matrix if rows <= columns else matrix.t()
            buckets[tuple(_padded(side, least) for side in wide.shape)].append(wide)
        self.sources = {size: _padded_stack(buckets[size], size, count) for size in buckets}
        self.zero = torch.zeros(1, device=device)  # behind the numbers, for the padding
        self.places = torch.cat([*self.sources.values()]).argsort()[:count]
        self.scales = [math.sqrt(max(1.0, rows / columns)) for rows, columns in shapes]

    def orthogonal(self, steps: Sequence[Tensor]) -> list[Tensor]:
        """Each step ``[rows, ...]`` orthogonalized; all in one new tensor."""
        numbers = torch.cat([*(step.flatten() for step in steps), self.zero])
        stacks = [
            _newton_schulz(numbers.index_select(0, source).view(-1, *size)).flatten()
            for size, source in self.sources.items()
        ]
        found = torch.cat(stacks).index_select(0, self.places).split_with_sizes(self.sizes)
        parts = [part.view_as(step) for part, step in zip(found, steps, strict=True)]
        torch._foreach_mul_(parts, self.scales)
        return parts


_stacks = lru_cache(maxsize=4)(_Stacks)


def _padded_stack(matrices: Sequence[Tensor], size: tuple[int, ...], padding: int) -> Tensor:
    """One behind the other as a flat tensor, each padded to `size`."""
    stack = matrices[0].new_full((len(matrices), *size), padding)
    for place, matrix in zip(stack, matrices, strict=True):
        place[: len(matrix), : matrix.shape[1]] = matrix
    return stack.flatten()


def _padded(side: int, least: int) -> int:
    return max(least, 1 << (side - 1).bit_length())


def _newton_schulz(stack: Tensor) -> Tensor:
    """The approximate orthogonal factors of wide matrices ``[K, rows, columns]``.

    Each iteration is x -> (a + b A + c A^2) x with A = x x^T. All but the first and last product
    are computed on A, which is smaller than x and commutes with its own polynomials.
    """
    x: Tensor = stack / (torch.linalg.matrix_norm(stack, keepdim=True) + 1e-7)
    square = x @ x.mT
    factor: Tensor | None = None
    for iteration in range(ITERATIONS):
        mixed = torch.baddbmm(square, square, square, beta=_B, alpha=_C)
        mixed.diagonal(dim1=-2, dim2=-1).add_(_A)
        factor = mixed if factor is None else mixed @ factor
        if iteration + 1 < ITERATIONS:
            square = mixed @ square @ mixed
    return x if factor is None else factor @ x
