"""What a candidate of known latency and unsure IoU is expected to add to the front.

With the latency known, the hypervolume that an IoU adds is a sum of hinges over the steps of the
front so far, and the expectation of each has the closed form of a put option (the exclusive
improvement of Yang et al. 2019, expected hypervolume improvement, in one uncertain dimension).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from autoseg.core.pareto import Point

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Steps:
    """The best IoU up to each latency, as steps from `edges[k]` to `edges[k + 1]` in ln ms.

    The first step begins at minus infinity and lies at the floor; the last ends at the ceiling.
    """

    edges: Array
    heights: Array

    @classmethod
    def of(cls, points: Sequence[Point], ceiling_ms: float, floor: float) -> Steps:
        """From what is reached, each ``(latency_ms, iou)``; the rest is under the floor."""
        ceiling = float(np.log(ceiling_ms))
        edges, heights = [-np.inf], [floor]
        for ms, iou in sorted(points, key=lambda point: (point[0], -point[1])):
            if np.log(ms) < ceiling and iou > heights[-1]:
                edges.append(float(np.log(ms)))
                heights.append(iou)
        return cls(np.array([*edges, ceiling]), np.array(heights))

    @property
    def empty(self) -> bool:
        """Whether nothing meets both constraints yet."""
        return len(self.heights) == 1

    def widths(self, log_ms: Array, log_sd: Array) -> Array:
        """``[n, steps]``: how much of each step is expected to lie behind a latency."""
        behind = _room(self.edges[None], log_ms[:, None], log_sd[:, None])
        return np.diff(behind, axis=1)

    def gain(self, log_ms: Array, iou: Array) -> Array:
        """Hypervolume that points add, each alone; ``[n]``."""
        rises = np.maximum(iou[:, None] - self.heights[None], 0.0)
        total: Array = np.sum(self.widths(log_ms, np.zeros(len(log_ms))) * rises, axis=1)
        return total

    def expected_gain(
        self, log_ms: Array, mean: Array, sd: Array, log_sd: Array | None = None
    ) -> Array:
        """The expectation of `gain` for ln(1 - IoU) ~ Normal(`mean`, `sd`); all ``[n]``.

        `log_sd` is how unsure ln ms is; nothing where it was measured.
        """
        widths = self.widths(log_ms, np.zeros(len(log_ms)) if log_sd is None else log_sd)
        expected: Array = np.sum(widths * hinge(self.heights[None], mean, sd), axis=1)
        return expected

    def hypervolume(self) -> float:
        """Of the points themselves, above the floor."""
        if self.empty:
            return 0.0
        return float(np.sum(np.diff(self.edges)[1:] * (self.heights[1:] - self.heights[0])))


def _room(edges: Array, mean: Array, sd: Array) -> Array:
    """E[max(0, edge - x)] for x ~ Normal(mean, sd); 0 at an edge of minus infinity."""
    from scipy.special import ndtr

    apart = edges - mean
    off = apart / np.maximum(sd, 1e-12)
    density = np.exp(-0.5 * np.minimum(off**2, 1e3)) / np.sqrt(2 * np.pi)
    finite = np.isfinite(apart)
    room: Array = np.where(finite, sd * density + np.where(finite, apart, 0.0) * ndtr(off), 0.0)
    return room


def hinge(height: Array, mean: Array, sd: Array) -> Array:
    """E[max(0, IoU - height)] for ln(1 - IoU) ~ Normal(mean, sd): Black and Scholes' put."""
    from scipy.special import ndtr

    room = np.maximum(1 - height, 1e-12)
    low = (np.log(room) - mean[:, None]) / sd[:, None]
    error = np.exp(mean + sd**2 / 2)[:, None]
    expected: Array = room * ndtr(low) - error * ndtr(low - sd[:, None])
    return np.maximum(expected, 0.0)


def probability_over(floor: float, mean: Array, sd: Array) -> Array:
    """P(IoU >= floor) for ln(1 - IoU) ~ Normal(mean, sd)."""
    from scipy.special import ndtr

    chance: Array = ndtr((np.log(1 - floor) - mean) / sd)
    return chance
