"""What IoU a candidate will reach, and how sure that is: one Gaussian process for all rungs.

The logarithm of the error (1 - IoU) of candidate x after e epochs is modelled as

    curve(e) + f(x) + u(e) g(x) + own(x) + noise,      u = log(e / end) / log(3)

f and g are Gaussian processes over the knobs and the logarithms of the counted cost, so all rungs
of all candidates speak of each other (after Swersky et al. 2014, freeze-thaw, arXiv 1406.3896,
with rungs in place of a continuous curve); `own` is what a candidate has for itself. A decay goes
on along the curve: while its learning rate falls to zero on a line it covers half its epochs, and
what it gains is learned from how steep the curves of these data are. `end` is where the longest
training is after its decay. All is Gaussian, so mean and variance have closed forms.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from autoseg.search.gp import Array, likeliest, mean_squares_apart
from autoseg.train.recipe import Recipe

Rows = npt.NDArray[np.intp]
Flags = npt.NDArray[np.bool_]

LEVEL, LEVEL_SD = math.log(0.1), 1.0  # of the longest training's error, before anything is known
DECAY = -0.02  # what a decay adds to that
BEND_SD = 0.15  # how far a rung may lie off the usual curve, in logarithms
CURVE_SD = 0.2  # how much steeper all curves may be, for each factor of three in epochs
# How the log error falls with the logarithms of the input's pixels and of the MACs.
SLOPES, SLOPE_SDS = np.array([-0.3, -0.08]), np.array([0.25, 0.08])
MIN_ERROR = 1e-6
FEW = 4  # scores under which the settings are not fitted
MOST = 300  # scores that the settings are fitted on; the posterior takes all
OPTIONS = {
    "length": (1.5, 3.0, 6.0),
    "spread": (0.075, 0.15, 0.3, 0.6),
    "slope": (0.03, 0.08, 0.16),
    "own": (0.015, 0.03, 0.06),
    "noise": (0.015, 0.03, 0.06, 0.12),
}


@dataclass(frozen=True)
class Settings:
    """Hyperparameters: length of f and g in standard deviations of the features, and spreads."""

    length: float = 6.0
    spread: float = 0.3
    slope: float = 0.08
    own: float = 0.03
    noise: float = 0.03


@dataclass(frozen=True)
class Seen:
    """One score: which row of the features, after how many epochs, decayed or not, its IoU."""

    row: int
    epoch: int
    decayed: bool
    iou: float


class Places(NamedTuple):
    """Rows of the features, the epochs that they have come along the curve, and which took their
    decay; each ``[n]``."""

    rows: Rows
    epochs: Array
    decayed: Flags


@dataclass(frozen=True)
class Surrogate:
    """A posterior over every candidate's curve.

    `features` are standardized; `trends` are centred logarithms of input pixels and of MACs.
    """

    features: Array
    trends: Array
    recipe: Recipe
    seen: tuple[Seen, ...]
    settings: Settings
    _factor: Array
    _weights: Array

    @classmethod
    def fit(
        cls, features: Array, trends: Array, recipe: Recipe, seen: Sequence[Seen]
    ) -> Surrogate:
        """The posterior under the settings with the highest marginal likelihood.

        `features` ``[candidates, figures]``, `trends` ``[candidates, 2]``.
        """
        empty = np.zeros((0, 0))
        prior = cls(features, trends, recipe, (), Settings(), empty, empty)
        if not seen:
            return prior
        settings = Settings()
        if len(seen) >= FEW:
            learner = _Learner.of(prior, seen[:: -(-len(seen) // MOST)])
            settings = likeliest(settings, OPTIONS, lambda s: learner.under(s)._likelihood(), 2)
        return _Learner.of(prior, seen).under(settings)

    def _likelihood(self) -> float:
        return float(-0.5 * np.sum(self._weights**2) - np.sum(np.log(np.diag(self._factor))))

    def predict(self, rows: npt.ArrayLike, epochs: npt.ArrayLike) -> tuple[Array, Array]:
        """Mean and standard deviation of the log error after `epochs` and the decay from there.

        `rows` and `epochs` are ``[n]`` each. What one training scatters by chance comes on top.
        """
        at = self._places(rows, epochs, np.ones(np.size(rows), bool))
        mean = self._prior_mean(at)
        variance = self._variance(at)
        if self.seen:
            between = self._parts(self._points(self.seen), at).covariance(self.settings)
            cross = _solve(self._factor, between)
            mean = mean + cross.T @ self._weights
            variance = variance - np.sum(cross**2, axis=0)
        return mean, np.sqrt(np.maximum(variance, 1e-8))

    def scatter(self, epochs: int) -> float:
        """Standard deviation of the log error of one candidate's trainings, after a decay."""
        return float(_noise(self.settings, np.array(epochs, float)))

    # -- the prior

    def _points(self, seen: Sequence[Seen]) -> Places:
        epochs, decayed = [s.epoch for s in seen], [s.decayed for s in seen]
        return self._places([s.row for s in seen], epochs, np.array(decayed, bool))

    def _places(self, rows: npt.ArrayLike, epochs: npt.ArrayLike, decayed: Flags) -> Places:
        epochs = np.asarray(epochs, np.intp)
        decays = np.array([self.recipe.decay_epochs(int(e)) for e in epochs])
        return Places(np.asarray(rows, np.intp), epochs + decayed * decays / 2, decayed)

    @property
    def _end(self) -> float:
        longest = self.recipe.rungs[-1]
        return longest + self.recipe.decay_epochs(longest) / 2

    def _prior_mean(self, at: Places) -> Array:
        mean: Array = LEVEL + self.trends[at.rows] @ SLOPES + usual_curve(at.epochs, self._end)
        return mean + at.decayed * DECAY

    def _variance(self, at: Places) -> Array:
        said, u = self.settings, self._u(at.epochs)
        shared = LEVEL_SD**2 + BEND_SD**2 * np.abs(u) + CURVE_SD**2 * u**2
        shared = shared + (self.trends[at.rows] ** 2) @ SLOPE_SDS**2
        own: Array = said.spread**2 + said.slope**2 * u**2 + said.own**2
        total: Array = shared + own + at.decayed * decay_sd(at.epochs) ** 2
        return total

    def _parts(self, one: Places, other: Places) -> _Parts:
        u, v = self._u(one.epochs), self._u(other.epochs)
        sloped = self.trends[one.rows] * SLOPE_SDS**2
        fixed: Array = LEVEL_SD**2 + sloped @ self.trends[other.rows].T
        # A walk from the longest back to the shortest: rungs that are near bend alike.
        fixed += BEND_SD**2 * np.minimum(np.abs(u)[:, None], np.abs(v)[None])
        fixed += CURVE_SD**2 * np.outer(u, v)
        steps = decay_sd(one.epochs)[:, None] * decay_sd(other.epochs)[None]
        both = np.outer(one.decayed, other.decayed)
        fixed += steps * (both & (one.epochs[:, None] == other.epochs[None]))
        # Lengths are of four features, as if there were no more.
        apart = 4 * mean_squares_apart(self.features[one.rows], self.features[other.rows])
        same = one.rows[:, None] == other.rows[None]
        return _Parts(fixed, apart, np.outer(u, v), same)

    def _u(self, epochs: Array) -> Array:
        u: Array = np.log(epochs / self._end) / math.log(3)
        return u


@dataclass(frozen=True)
class _Learner:
    """A prior and the scores it is to learn, with all that does not depend on the settings."""

    prior: Surrogate
    seen: tuple[Seen, ...]
    parts: _Parts
    residual: Array

    @classmethod
    def of(cls, prior: Surrogate, seen: Sequence[Seen]) -> _Learner:
        at = prior._points(seen)
        errors = np.array([math.log(max(MIN_ERROR, 1 - s.iou)) for s in seen])
        return cls(prior, tuple(seen), prior._parts(at, at), errors - prior._prior_mean(at))

    def under(self, settings: Settings) -> Surrogate:
        """The posterior under these settings."""
        noise = _noise(settings, self.prior._points(self.seen).epochs)
        covariance = self.parts.covariance(settings) + np.diag(noise**2 + 1e-8)
        factor = np.asarray(np.linalg.cholesky(covariance), np.float64)
        weights = _solve(factor, self.residual)
        return replace(
            self.prior, seen=self.seen, settings=settings, _factor=factor, _weights=weights
        )


@dataclass(frozen=True)
class _Parts:
    """What a covariance is made of, apart from the settings; each ``[n, m]``."""

    fixed: Array
    apart: Array
    slopes: Array
    same: Flags

    def covariance(self, said: Settings) -> Array:
        near = np.exp(self.apart * (-0.5 / said.length**2))
        total: Array = (said.spread**2 + said.slope**2 * self.slopes) * near
        total += self.fixed
        total += said.own**2 * self.same
        return total


def _noise(settings: Settings, epochs: Array) -> Array:
    """An average of few weights scatters more."""
    noise: Array = settings.noise * (1 + 5 / epochs)
    return noise


def usual_curve(epochs: Array, end: float) -> Array:
    """How far the log error lies over that at the end: steep first, then slow."""
    # Three times the epochs leave the error at exp(-0.2 - 0.7 / e).
    curve: Array = 0.2 * np.log(end / epochs) / math.log(3) + 1.05 * (1 / epochs - 1 / end)
    return curve


def decay_sd(epochs: Array) -> Array:
    """How unsure it is what a decay adds, before any was seen."""
    sd: Array = 0.015 + 0.05 / epochs
    return sd


def _solve(factor: Array, right: Array) -> Array:
    from scipy.linalg import solve_triangular

    solved: Array = solve_triangular(factor, right, lower=True, check_finite=False)
    return solved
