"""What the engine expects before it pays: latency and seconds of training.

Both are fitted on this run's own ledger; the seconds start from a stated prior.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from statistics import NormalDist, median

import numpy as np

from autoseg.records import HW, Cost, Evaluation

# Seconds of one training step per picture before anything was observed: augmentation, and memory
# traffic, which ranks small nets better than MACs do.
PRIOR_PICTURE_S = 1.5e-3
PRIOR_BYTE_S = 4e-10


@dataclass(frozen=True)
class CostModel:
    """Ridge regression of a log figure on log MACs, log activation bytes and log pixels."""

    weights: tuple[float, ...]
    sigma: float

    @classmethod
    def fit(cls, rows: Iterable[tuple[Cost, HW, float]]) -> CostModel | None:
        """From (cost, input size, figure over 0) of each candidate; None under six of them."""
        known = [(_features(cost, hw), math.log(figure)) for cost, hw, figure in rows]
        if len(known) < 6:
            return None
        x, y = np.array([f for f, _ in known]), np.array([v for _, v in known])
        penalty = np.diag([0.0, *[1e-3] * (x.shape[1] - 1)])
        weights = np.linalg.solve(x.T @ x + penalty, x.T @ y)
        sigma = float(np.sqrt(np.sum((x @ weights - y) ** 2) / max(1, len(y) - 4)))
        return cls(tuple(map(float, weights)), max(sigma, 0.02))

    def predict(self, cost: Cost, input_hw: HW, *, sigmas: float = 0.0) -> float:
        """The figure, `sigmas` standard deviations of its logarithm away from the expected."""
        return float(np.exp(np.dot(self.weights, _features(cost, input_hw)) + sigmas * self.sigma))

    def probability_under(self, limit: float, cost: Cost, input_hw: HW) -> float:
        """P(the figure is under `limit`)."""
        spread = NormalDist(math.log(self.predict(cost, input_hw)), self.sigma)
        return spread.cdf(math.log(limit))


def latency_model(evaluations: Iterable[Evaluation]) -> CostModel | None:
    """Median latency in ms from this run's measurements."""
    return CostModel.fit(
        (e.cost, e.candidate.input_hw, e.measurement.p50_ms)
        for e in evaluations
        if e.cost and e.measurement
    )


def _features(cost: Cost, input_hw: HW) -> list[float]:
    pixels = input_hw[0] * input_hw[1]
    return [1.0, *(math.log(max(1, v)) for v in (cost.macs, cost.activation_bytes, pixels))]


def observed_ratio(pictures: int, evaluations: Iterable[Evaluation]) -> float:
    """Seconds of training that this run has observed, over the prior's."""
    ratios = []
    for evaluation in evaluations:
        score = evaluation.score("val", source="torch")
        if score and evaluation.cost and score.epoch:
            ratios.append(score.train_s / score.epoch / prior_s(evaluation.cost, pictures))
    return median(ratios[-15:]) if ratios else 1.0


def prior_s(cost: Cost, pictures: int) -> float:
    """Seconds of one epoch before anything was observed."""
    return pictures * (PRIOR_PICTURE_S + PRIOR_BYTE_S * cost.activation_bytes)
