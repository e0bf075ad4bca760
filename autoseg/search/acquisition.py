"""The hypervolume that a candidate of uncertain IoU is expected to add to the front.

With the latency known, the hypervolume that an IoU adds is a sum of hinges over the steps of the
front so far, and the expectation of each has the closed form of a put option (the exclusive
improvement of Yang et al. 2019, expected hypervolume improvement, in one uncertain dimension).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from autoseg.core.pareto import Point
from autoseg.search.gp import Array


@dataclass(frozen=True)
class StepFront:
    """The best IoU up to each latency, as steps from `edges[k]` to `edges[k + 1]` in ln ms.

    The first step begins at minus infinity and lies at the floor; the last ends at the ceiling.
    `heights` are IoUs.
    """

    edges: Array
    heights: Array

    @classmethod
    def of(cls, points: Sequence[Point], ceiling_ms: float, floor: float) -> StepFront:
        """The front of points ``(latency_ms, iou)``, without those outside the constraints."""
        ceiling = float(np.log(ceiling_ms))
        edges, heights = [-np.inf], [floor]
        for ms, iou in sorted(points, key=lambda point: (point[0], -point[1])):
            if np.log(ms) < ceiling and iou > heights[-1]:
                edges.append(float(np.log(ms)))
                heights.append(iou)
        return cls(np.array([*edges, ceiling]), np.array(heights))

    @property
    def empty(self) -> bool:
        """Whether no point meets both constraints."""
        return len(self.heights) == 1

    def expected_gain(
        self, log_ms: Array, mean: Array, sd: Array, log_sd: Array | None = None
    ) -> Array:
        """The hypervolume that points are expected to add, each alone; all ``[n]``.

        ln(1 - IoU) ~ Normal(`mean`, `sd`). `log_sd` is the standard deviation of ln ms; none
        where it was measured.
        """
        spread = np.zeros(len(log_ms)) if log_sd is None else log_sd
        # The expected part of each step, in ln ms, that is slower.
        slower = _expected_excess(self.edges[None], log_ms[:, None], spread[:, None])
        rises = expected_rise(self.heights[None], mean, sd)
        expected: Array = np.sum(np.diff(slower, axis=1) * rises, axis=1)
        return expected

    def hypervolume(self) -> float:
        """Of the points themselves, above the floor."""
        if self.empty:
            return 0.0
        return float(np.sum(np.diff(self.edges)[1:] * (self.heights[1:] - self.heights[0])))


def _expected_excess(edges: Array, mean: Array, sd: Array) -> Array:
    """E[max(0, edge - x)] for x ~ Normal(mean, sd); 0 at an edge of minus infinity."""
    from scipy.special import ndtr

    distance = edges - mean
    sigmas = distance / np.maximum(sd, 1e-12)
    density = np.exp(-0.5 * np.minimum(sigmas**2, 1e3)) / np.sqrt(2 * np.pi)
    finite = np.isfinite(distance)
    inside = sd * density + np.where(finite, distance, 0.0) * ndtr(sigmas)
    return np.where(finite, inside, 0.0)


def expected_rise(height: Array, mean: Array, sd: Array) -> Array:
    """E[max(0, IoU - height)] for ln(1 - IoU) ~ Normal(mean, sd): Black and Scholes' put."""
    from scipy.special import ndtr

    error_at_height = np.maximum(1 - height, 1e-12)
    sigmas = (np.log(error_at_height) - mean[:, None]) / sd[:, None]
    error = np.exp(mean + sd**2 / 2)[:, None]
    expected: Array = error_at_height * ndtr(sigmas) - error * ndtr(sigmas - sd[:, None])
    return np.maximum(expected, 0.0)


def p_iou_met(floor: float, mean: Array, sd: Array) -> Array:
    """P(IoU >= floor) for ln(1 - IoU) ~ Normal(mean, sd)."""
    return p_at_most(float(np.log(1 - floor)), mean, sd)


def p_at_most(limit: float, mean: Array, sd: Array) -> Array:
    """P(x <= limit) for x ~ Normal(mean, sd)."""
    from scipy.special import ndtr

    p: Array = ndtr((limit - mean) / sd)
    return p
