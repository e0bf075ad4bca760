"""GP helpers: hyperparameters by marginal likelihood on a grid; pairwise distances."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Hyperparameters = TypeVar("Hyperparameters")


def fit_hyperparameters(
    start: Hyperparameters,
    grid: Mapping[str, Sequence[float]],
    likelihood: Callable[[Hyperparameters], float],
    sweeps: int,
) -> Hyperparameters:
    """The hyperparameters of highest likelihood, by coordinate search on a small grid.

    `start` is a dataclass with a field for each name in `grid`. With so few rows as a search has,
    a finer search would fit noise.
    """
    best, highest = start, likelihood(start)
    for name, values in [*grid.items()] * sweeps:
        for value in values:
            if value == getattr(best, name):
                continue
            tried = replace(best, **{name: value})  # type: ignore[type-var]
            if (reached := likelihood(tried)) > highest:
                best, highest = tried, reached
    return best


def mean_squared_distances(one: Array, other: Array) -> Array:
    """Mean squared difference over the columns of each pair of rows; ``[n, m]``."""
    squares = np.sum(one**2, axis=1)[:, None] + np.sum(other**2, axis=1)[None]
    distances: Array = np.maximum(squares - 2 * one @ other.T, 0.0) / max(1, one.shape[1])
    return distances
