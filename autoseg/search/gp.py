"""What both Gaussian processes of the search share: finding settings, and distances."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Settings = TypeVar("Settings")


def likeliest(
    start: Settings,
    options: Mapping[str, Sequence[float]],
    likelihood: Callable[[Settings], float],
    sweeps: int,
) -> Settings:
    """The settings with the highest likelihood, one after the other on a small grid.

    `start` is a dataclass with a field for each of the `options`. With so few rows as a search
    has, more would be guessing.
    """
    best, reached = start, likelihood(start)
    for name, values in [*options.items()] * sweeps:
        for value in values:
            if value == getattr(best, name):
                continue
            changed: dict[str, Any] = {name: value}
            tried = replace(best, **changed)  # type: ignore[type-var]
            if (found := likelihood(tried)) > reached:
                best, reached = tried, found
    return best


def mean_squares_apart(one: Array, other: Array) -> Array:
    """Mean squared difference over the columns of each pair of rows; ``[n, m]``."""
    squares = np.sum(one**2, axis=1)[:, None] + np.sum(other**2, axis=1)[None]
    apart: Array = np.maximum(squares - 2 * one @ other.T, 0.0) / max(1, one.shape[1])
    return apart
