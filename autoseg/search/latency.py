"""How fast a network will be, and how sure that is, from those measured so far.

The logarithm of the latency is a ridge regression on logarithms of the counted cost, in all and by
kind of layer, plus a Gaussian process over the same figures (Rasmussen and Williams, Gaussian
Processes for Machine Learning, 2006: 2.7, and 5.4.2 for what leaving one out gives). Other
programs may have slowed a measurement, so a row that the others contradict counts less, as
under Student's t (Lange, Little and Taylor 1989).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from autoseg.core.records import Cost, Evaluation
from autoseg.core.units import HW
from autoseg.search.gp import Array, likeliest, mean_squares_apart

FEWEST = 6
MIN_SD = 0.01
LEVEL = 4.0  # variance of the mean: it may lie anywhere
ROUNDS = 3  # of doubting rows
FREEDOM = 4.0  # degrees of Student's t
# Variances of ln ms but for the length, which is in standard deviations of the features.
OPTIONS = {
    "slope": (0.1, 0.3, 1.0, 3.0, 10.0),
    "length": (1.0, 2.0, 4.0),
    "spread": (0.003, 0.01, 0.03, 0.1, 0.3),
    "noise": (0.0001, 0.0004, 0.0016, 0.0064),
}


@dataclass(frozen=True)
class LeaveOneOut:
    """How well each of `rows` measurements is predicted from the others.

    Errors are shares of the latency; `inside_80` and `inside_95` are the shares of the rows that
    lie within those intervals.
    """

    rows: int
    median_error: float
    mean_error: float
    rank_correlation: float
    inside_80: float
    inside_95: float

    def __str__(self) -> str:
        return (
            f"typical error {100 * self.median_error:.2g} %, rank correlation "
            f"{self.rank_correlation:.3f} (leave-one-out over {self.rows})"
        )


@dataclass(frozen=True)
class LatencyModel:
    """What the measured rows say of all networks; made by `fit`."""

    _scale: _Scale
    _points: _Points
    _settings: _Settings
    _inverse: Array
    _weights: Array
    _widening: float = 1.0

    @classmethod
    def fit(cls, rows: Sequence[tuple[Cost, HW, float]]) -> LatencyModel | None:
        """From cost, input size and p50 in ms of each network; None under six of them."""
        if len(rows) < FEWEST:
            return None
        figures = _figures([cost for cost, _, _ in rows], [hw for _, hw, _ in rows])
        scale = _Scale.of(figures, np.log([ms for _, _, ms in rows]))
        points = _Points.of(scale.features(figures), scale.log_ms - scale.level)
        settings = _Settings()
        # Doubt comes first: settings that bend to every row leave nothing to doubt.
        for round_ in range(ROUNDS):
            points = points.doubted(settings)
            settings = likeliest(settings, OPTIONS, points.likelihood, 2 if round_ == 0 else 1)
        inverse = points.inverse(settings)
        model = cls(scale, points, settings, inverse, inverse @ points.log_ms)
        return replace(model, _widening=model._needed_widening())

    def predict(self, costs: Sequence[Cost], sizes: Sequence[HW]) -> tuple[Array, Array]:
        """Mean and standard deviation of ln ms, ``[n]`` each, of what would be measured."""
        features = self._scale.features(_figures(costs, sizes))
        said = self._settings
        between = _covariance(said, *_between(features, self._points.features))
        before = LEVEL + said.slope * _square(features) + said.spread + said.noise
        variance = before - np.sum((between @ self._inverse) * between, axis=1)
        mean: Array = self._scale.level + between @ self._weights
        return mean, self._sd(variance)

    def leave_one_out(self) -> LeaveOneOut:
        """How well each row is predicted from the others."""
        truth = self._scale.log_ms
        mean, sd = self._left_out()
        error, off = np.abs(np.expm1(mean - truth)), np.abs(mean - truth) / sd
        return LeaveOneOut(
            rows=len(truth),
            median_error=float(np.median(error)),
            mean_error=float(np.mean(error)),
            rank_correlation=rank_correlation(mean, truth),
            inside_80=float(np.mean(off <= _sigmas(0.8))),
            inside_95=float(np.mean(off <= _sigmas(0.95))),
        )

    def _needed_widening(self) -> float:
        """By how much the intervals must be wider to hold the rows that were left out."""
        left_out, sd = self._left_out()
        off = np.abs(self._scale.log_ms - left_out) / sd
        # The largest of few may be anything, so not the mean square.
        shares = [np.quantile(off, share) / _sigmas(share) for share in (0.8, 0.95)]
        # Settings that were chosen on these rows flatter, the more so the fewer they are.
        return float(np.mean(shares)) * (1 + 8 / len(off))

    def _left_out(self) -> tuple[Array, Array]:
        diagonal = np.diag(self._inverse)
        mean: Array = self._scale.log_ms - self._weights / diagonal
        # A doubted row's own noise is no part of what a usual measurement scatters.
        return mean, self._sd(1 / diagonal - self._settings.noise * (self._points.doubt - 1))

    def _sd(self, variance: Array) -> Array:
        sd: Array = self._widening * np.sqrt(np.maximum(variance, 0.0))
        return np.maximum(sd, MIN_SD)


def _sigmas(share: float) -> float:
    """How many standard deviations to either side hold this share of a normal distribution."""
    return NormalDist().inv_cdf(0.5 + share / 2)


def measured_model(evaluations: Iterable[Evaluation]) -> LatencyModel | None:
    """Of everything that these evaluations have measured."""
    return LatencyModel.fit(
        [
            (e.cost, e.candidate.input_hw, e.measurement.p50_ms)
            for e in evaluations
            if e.cost and e.measurement
        ]
    )


def rank_correlation(one: Array, other: Array) -> float:
    """Spearman's, without regard to ties."""
    ranks = [np.argsort(np.argsort(values)) for values in (one, other)]
    return float(np.corrcoef(ranks[0], ranks[1])[0, 1])


@dataclass(frozen=True)
class _Settings:
    slope: float = 1.0
    length: float = 2.0
    spread: float = 0.03
    noise: float = 0.0016


@dataclass(frozen=True)
class _Scale:
    """How figures become features of mean 0 and spread 1; what never varies is left out."""

    middle: Array
    spread: Array
    used: npt.NDArray[np.bool_]
    log_ms: Array
    level: float

    @classmethod
    def of(cls, figures: Array, log_ms: Array) -> _Scale:
        used = np.std(figures, axis=0) > 1e-6
        known = figures[:, used]
        middle, spread = np.mean(known, axis=0), np.std(known, axis=0)
        return cls(middle, spread, used, log_ms, float(np.median(log_ms)))

    def features(self, figures: Array) -> Array:
        features: Array = (figures[:, self.used] - self.middle) / self.spread
        return features


@dataclass(frozen=True)
class _Points:
    """The measured rows; `doubt` is how many times the usual noise each has."""

    features: Array
    log_ms: Array
    doubt: Array
    along: Array
    apart: Array

    @classmethod
    def of(cls, features: Array, log_ms: Array) -> _Points:
        along, apart = _between(features, features)
        return cls(features, log_ms, np.ones(len(log_ms)), along, apart)

    def covariance(self, said: _Settings) -> Array:
        return _covariance(said, self.along, self.apart) + np.diag(said.noise * self.doubt)

    def inverse(self, said: _Settings) -> Array:
        return np.asarray(np.linalg.inv(self.covariance(said)), np.float64)

    def likelihood(self, said: _Settings) -> float:
        """Logarithm of the marginal likelihood, but for a constant."""
        from scipy.linalg import solve_triangular

        factor = np.linalg.cholesky(self.covariance(said))
        residual = solve_triangular(factor, self.log_ms, lower=True, check_finite=False)
        return float(-0.5 * residual @ residual - np.sum(np.log(np.diag(factor))))

    def doubted(self, said: _Settings) -> _Points:
        """The same rows, each doubted as far as the others contradict it."""
        inverse = self.inverse(said)
        noise = said.noise * self.doubt
        expected = (noise * (inverse @ self.log_ms)) ** 2
        expected += noise - noise**2 * np.diag(inverse)
        doubt: Array = (FREEDOM + expected / said.noise) / (FREEDOM + 1)
        return replace(self, doubt=doubt)


def _figures(costs: Sequence[Cost], sizes: Sequence[HW]) -> Array:
    """Logarithms, ``[n, figures]``."""
    figures = [
        (
            cost.params,
            cost.macs,
            cost.activation_bytes,
            height * width,
            sum(kind.layers for kind in cost.kinds),
            cost.depthwise.macs,
            cost.depthwise.bytes_moved,
            # A 1x1 convolution is a product of matrices.
            cost.pointwise.macs + cost.product.macs,
            cost.pointwise.bytes_moved + cost.product.bytes_moved,
            cost.convolution.macs,
            cost.convolution.bytes_moved,
            cost.other.bytes_moved,
        )
        for cost, (height, width) in zip(costs, sizes, strict=True)
    ]
    logarithms: Array = np.log(np.maximum(1.0, np.array(figures, float)))
    return logarithms


def _between(one: Array, other: Array) -> tuple[Array, Array]:
    """Mean products and mean squared distances of each pair of rows."""
    along: Array = one @ other.T / max(1, one.shape[1])
    return along, mean_squares_apart(one, other)


def _square(features: Array) -> Array:
    square: Array = np.sum(features**2, axis=1) / max(1, features.shape[1])
    return square


def _covariance(said: _Settings, along: Array, apart: Array) -> Array:
    # In place where it can be: for thousands of networks memory is what takes the time.
    total = apart * (-0.5 / said.length**2)
    np.exp(total, out=total)
    total *= said.spread
    total += LEVEL
    total += said.slope * along
    return total
