"""The IoU model: a forecast with its uncertainty, from one Gaussian process for all rungs.

The logarithm of the error (1 - IoU) of candidate x after e epochs is modelled as

    curve(e) + f(x) + u(e) g(x) + own(x) + noise,      u = log(e / end) / log(3)

f and g are Gaussian processes over the knobs and the logarithms of the counted cost, so all rungs
of all candidates inform each other (after Swersky et al. 2014, freeze-thaw, arXiv 1406.3896,
with rungs in place of a continuous curve); `own` is particular to a candidate. A decay continues
along the curve: while its learning rate falls linearly to zero it covers half its epochs, so its
gain is learned from how steep the curves of these data are. `end` is where the longest training
is after its decay. All is Gaussian, so mean and variance have closed forms.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from autoseg.search.gp import Array, fit_hyperparameters, mean_squared_distances
from autoseg.train.recipe import Recipe

Rows = npt.NDArray[np.intp]
Flags = npt.NDArray[np.bool_]

LEVEL, LEVEL_SD = math.log(0.1), 1.0  # of the longest training's log error, before any score
DECAY = -0.02  # that a decay adds to it
BEND_SD = 0.15  # of a rung's distance from the usual curve, in log error
CURVE_SD = 0.2  # of the slope of all curves: log error for each factor of three in epochs
# How the log error falls with the logarithms of the input's pixels and of the MACs.
SLOPES, SLOPE_SDS = np.array([-0.3, -0.08]), np.array([0.25, 0.08])
MIN_ERROR = 1e-6
MIN_SCORES = 4  # under which the hyperparameters are not fitted
MAX_SCORES = 300  # that the hyperparameters are fitted on; the posterior takes all
GRID = {
    "length": (1.5, 3.0, 6.0),
    "spread": (0.075, 0.15, 0.3, 0.6),
    "slope": (0.03, 0.08, 0.16),
    "own": (0.015, 0.03, 0.06),
    "noise": (0.015, 0.03, 0.06, 0.12),
}


@dataclass(frozen=True)
class Hyperparameters:
    """The length scale of f and g in standard deviations of the features; the others are
    standard deviations of f, g, own and noise in log error."""

    length: float = 6.0
    spread: float = 0.3
    slope: float = 0.08
    own: float = 0.03
    noise: float = 0.03


@dataclass(frozen=True)
class RungScore:
    """One score: row of the features, epochs before any decay, decayed or not, and the IoU."""

    row: int
    epoch: int
    decayed: bool
    iou: float


class CurvePoints(NamedTuple):
    """Rows of the features, epochs along the curve, and whether decayed; each ``[n]``."""

    rows: Rows
    epochs: Array
    decayed: Flags


@dataclass(frozen=True)
class Surrogate:
    """The posterior over every candidate's curve.

    `features` are standardized; `trends` are centred logarithms of input pixels and of MACs.
    """

    features: Array
    trends: Array
    recipe: Recipe
    scores: tuple[RungScore, ...]
    settings: Hyperparameters
    _factor: Array
    _weights: Array

    @classmethod
    def fit(
        cls, features: Array, trends: Array, recipe: Recipe, scores: Sequence[RungScore]
    ) -> Surrogate:
        """The posterior under the hyperparameters with the highest marginal likelihood.

        `features` ``[candidates, figures]``, `trends` ``[candidates, 2]``.
        """
        empty = np.zeros((0, 0))
        prior = cls(features, trends, recipe, (), Hyperparameters(), empty, empty)
        if not scores:
            return prior
        settings = Hyperparameters()
        if len(scores) >= MIN_SCORES:
            data = _TrainingData.of(prior, scores[:: -(-len(scores) // MAX_SCORES)])
            settings = fit_hyperparameters(
                settings, GRID, lambda s: data.posterior(s)._likelihood(), 2
            )
        return _TrainingData.of(prior, scores).posterior(settings)

    def _likelihood(self) -> float:
        return float(-0.5 * np.sum(self._weights**2) - np.sum(np.log(np.diag(self._factor))))

    def predict(self, rows: npt.ArrayLike, epochs: npt.ArrayLike) -> tuple[Array, Array]:
        """Mean and standard deviation of the log error after `epochs` and the decay from there.

        `rows` and `epochs` are ``[n]`` each. The variation of one training
        (`training_sd`) is not included.
        """
        at = self._at(rows, epochs, np.ones(np.size(rows), bool))
        mean = self._prior_mean(at)
        variance = self._variance(at)
        if self.scores:
            between = self._parts(self._points(self.scores), at).covariance(self.settings)
            cross = _solve(self._factor, between)
            mean = mean + cross.T @ self._weights
            variance = variance - np.sum(cross**2, axis=0)
        return mean, np.sqrt(np.maximum(variance, 1e-8))

    def training_sd(self, epochs: int) -> float:
        """Standard deviation of the log error of one candidate's trainings, after a decay."""
        return float(_noise(self.settings, np.array(epochs, float)))

    # -- the prior

    def _points(self, scores: Sequence[RungScore]) -> CurvePoints:
        epochs, decayed = [s.epoch for s in scores], [s.decayed for s in scores]
        return self._at([s.row for s in scores], epochs, np.array(decayed, bool))

    def _at(self, rows: npt.ArrayLike, epochs: npt.ArrayLike, decayed: Flags) -> CurvePoints:
        epochs = np.asarray(epochs, np.intp)
        decays = np.array([self.recipe.decay_epochs(int(e)) for e in epochs])
        return CurvePoints(np.asarray(rows, np.intp), epochs + decayed * decays / 2, decayed)

    @property
    def _end(self) -> float:
        longest = self.recipe.rungs[-1]
        return longest + self.recipe.decay_epochs(longest) / 2

    def _prior_mean(self, at: CurvePoints) -> Array:
        mean: Array = LEVEL + self.trends[at.rows] @ SLOPES + usual_curve(at.epochs, self._end)
        return mean + at.decayed * DECAY

    def _variance(self, at: CurvePoints) -> Array:
        settings, u = self.settings, self._u(at.epochs)
        shared = LEVEL_SD**2 + BEND_SD**2 * np.abs(u) + CURVE_SD**2 * u**2
        shared = shared + (self.trends[at.rows] ** 2) @ SLOPE_SDS**2
        own: Array = settings.spread**2 + settings.slope**2 * u**2 + settings.own**2
        total: Array = shared + own + at.decayed * decay_sd(at.epochs) ** 2
        return total

    def _parts(self, one: CurvePoints, other: CurvePoints) -> _Parts:
        u, v = self._u(one.epochs), self._u(other.epochs)
        sloped = self.trends[one.rows] * SLOPE_SDS**2
        fixed: Array = LEVEL_SD**2 + sloped @ self.trends[other.rows].T
        # A random walk from the longest back to the shortest: near rungs deviate alike.
        fixed += BEND_SD**2 * np.minimum(np.abs(u)[:, None], np.abs(v)[None])
        fixed += CURVE_SD**2 * np.outer(u, v)
        steps = decay_sd(one.epochs)[:, None] * decay_sd(other.epochs)[None]
        both = np.outer(one.decayed, other.decayed)
        fixed += steps * (both & (one.epochs[:, None] == other.epochs[None]))
        # Length scales are for four features, however many there are.
        distances = 4 * mean_squared_distances(self.features[one.rows], self.features[other.rows])
        same = one.rows[:, None] == other.rows[None]
        return _Parts(fixed, distances, np.outer(u, v), same)

    def _u(self, epochs: Array) -> Array:
        return np.log(epochs / self._end) / math.log(3)


@dataclass(frozen=True)
class _TrainingData:
    """A prior and the scores to condition it on; does not depend on the hyperparameters."""

    prior: Surrogate
    scores: tuple[RungScore, ...]
    parts: _Parts
    residual: Array

    @classmethod
    def of(cls, prior: Surrogate, scores: Sequence[RungScore]) -> _TrainingData:
        at = prior._points(scores)
        errors = np.array([math.log(max(MIN_ERROR, 1 - s.iou)) for s in scores])
        return cls(prior, tuple(scores), prior._parts(at, at), errors - prior._prior_mean(at))

    def posterior(self, settings: Hyperparameters) -> Surrogate:
        noise = _noise(settings, self.prior._points(self.scores).epochs)
        covariance = self.parts.covariance(settings) + np.diag(noise**2 + 1e-8)
        factor = np.asarray(np.linalg.cholesky(covariance), np.float64)
        weights = _solve(factor, self.residual)
        return replace(
            self.prior, scores=self.scores, settings=settings, _factor=factor, _weights=weights
        )


@dataclass(frozen=True)
class _Parts:
    """Terms of a covariance that do not depend on the hyperparameters; each ``[n, m]``."""

    fixed: Array
    distances: Array
    slopes: Array
    same: Flags

    def covariance(self, settings: Hyperparameters) -> Array:
        near = np.exp(self.distances * (-0.5 / settings.length**2))
        total: Array = (settings.spread**2 + settings.slope**2 * self.slopes) * near
        total += self.fixed
        total += settings.own**2 * self.same
        return total


def _noise(settings: Hyperparameters, epochs: Array) -> Array:
    """The noise is larger after few epochs: an average of few weights varies more."""
    return settings.noise * (1 + 5 / epochs)


def usual_curve(epochs: Array, end: float) -> Array:
    """The log error minus that at the end: steep first, then slow."""
    # Three times the epochs leave the error at exp(-0.2 - 0.7 / e).
    return 0.2 * np.log(end / epochs) / math.log(3) + 1.05 * (1 / epochs - 1 / end)


def decay_sd(epochs: Array) -> Array:
    """Standard deviation of what a decay adds to the log error, before any was observed."""
    return 0.015 + 0.05 / epochs


def _solve(factor: Array, right: Array) -> Array:
    from scipy.linalg import solve_triangular

    solved: Array = solve_triangular(factor, right, lower=True, check_finite=False)
    return solved
