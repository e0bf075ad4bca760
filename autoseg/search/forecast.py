"""What the engine expects before it pays: latency, seconds of training, how far an IoU may rise.

All of it is fitted on this run's own ledger, and starts from stated priors.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import NormalDist, median

import numpy as np

from autoseg.recipe import Recipe
from autoseg.records import HW, Cost, Evaluation, Score

# Seconds of one training step per picture before anything was observed: augmentation, and memory
# traffic, which ranks small nets better than MACs do.
PRIOR_PICTURE_S = 1.5e-3
PRIOR_BYTE_S = 4e-10

# From one rung to the next, the error (1 - IoU) shrinks at best to this share; the last one is
# the decay's.
PRIOR_SHRINK = 0.55
LIKELY_SHRINK = 0.75
DECAY_BEST, DECAY_LIKELY = 0.7, 0.92
ENOUGH = 5
BENEFIT = 0.93  # of the doubt, for each rung to come


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


@dataclass(frozen=True)
class Curves:
    """How the error shrinks from rung to rung, at best and likely, as this run shows."""

    recipe: Recipe
    best: dict[int, float]
    likely: dict[int, float]

    @classmethod
    def of(cls, recipe: Recipe, evaluations: Sequence[Evaluation]) -> Curves:
        best, likely = {}, {}
        for rung, after in zip(recipe.rungs, recipe.rungs[1:], strict=False):
            seen = [r for e in evaluations if (r := _shrink(e, rung, after)) is not None]
            best[rung] = min(seen) * 0.85 if len(seen) >= ENOUGH else PRIOR_SHRINK
            likely[rung] = median(seen) if len(seen) >= ENOUGH else LIKELY_SHRINK
        return cls(recipe, best, likely)

    def optimistic(self, score: Score) -> float:
        """The IoU that a candidate could have after the top rung's decay, if all goes well."""
        return 1 - (1 - score.iou) * self._product(self.best, score.epoch) * DECAY_BEST

    def expected(self, score: Score) -> float:
        """The IoU that a candidate would likely have at the top rung after the decay."""
        return 1 - (1 - score.iou) * self._product(self.likely, score.epoch) * DECAY_LIKELY

    def headroom(self, score: Score) -> float:
        """Expected, in favour of the less trained: their forecasts err most, and by a hair."""
        ahead = sum(rung >= score.epoch for rung in self.likely)
        return 1 - (1 - self.expected(score)) * BENEFIT**ahead

    def _product(self, shrink: dict[int, float], epoch: int) -> float:
        return math.prod(share for rung, share in shrink.items() if rung >= epoch)


def error_model(evaluations: Sequence[Evaluation], curves: Curves) -> CostModel | None:
    """The likely error (1 - IoU) at full length, from what was trained so far."""
    trained = [(e, s) for e in evaluations if (s := e.score("val", source="torch", decayed=False))]
    return CostModel.fit(
        (e.cost, e.candidate.input_hw, max(1e-4, 1 - curves.expected(s)))
        for e, s in trained
        if e.cost
    )


def _shrink(evaluation: Evaluation, rung: int, after: int) -> float | None:
    by_epoch = {
        s.epoch: 1 - s.iou for s in evaluation.scores if s.source == "torch" and not s.decayed
    }
    if rung not in by_epoch or after not in by_epoch:
        return None
    return by_epoch[after] / max(by_epoch[rung], 1e-6)
