"""The latency model: predicts ln ms with its uncertainty from the networks measured so far.

The logarithm of the latency is a ridge regression on logarithms of the counted cost, in all and by
kind of layer, plus a Gaussian process over the same figures (Rasmussen and Williams, Gaussian
Processes for Machine Learning, 2006: 2.7, and 5.4.2 for leave-one-out predictions). Other
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
from autoseg.search.gp import Array, fit_hyperparameters, mean_squared_distances

MIN_ROWS = 6  # measurements under which nothing is predicted
MIN_SD = 0.01  # of ln ms
LEVEL_VARIANCE = 4.0  # of the mean of ln ms: it may lie anywhere
REWEIGHTINGS = 3
T_DEGREES = 4.0  # of freedom of Student's t
# Variances of ln ms; the length scale is in standard deviations of the features.
GRID = {
    "slope": (0.1, 0.3, 1.0, 3.0, 10.0),
    "length": (1.0, 2.0, 4.0),
    "spread": (0.003, 0.01, 0.03, 0.1, 0.3),
    "noise": (0.0001, 0.0004, 0.0016, 0.0064),
}


@dataclass(frozen=True)
class LeaveOneOut:
    """How well each of `rows` measurements is predicted from the others; errors are shares."""

    rows: int
    median_error: float
    mean_error: float
    rank_correlation: float

    def __str__(self) -> str:
        return (
            f"typical error {100 * self.median_error:.2g} %, rank correlation "
            f"{self.rank_correlation:.3f} (leave-one-out over {self.rows})"
        )


@dataclass(frozen=True)
class LatencyModel:
    """The posterior given the measured rows; made by `fit`."""

    _scale: _Scale
    _rows: _Rows
    _settings: _Hyperparameters
    _inverse: Array
    _weights: Array
    _sd_factor: float = 1.0

    @classmethod
    def fit(cls, rows: Sequence[tuple[Cost, HW, float]]) -> LatencyModel | None:
        """From cost, input size and p50 in ms of each network; None under six of them."""
        if len(rows) < MIN_ROWS:
            return None
        figures = _log_figures([cost for cost, _, _ in rows], [hw for _, hw, _ in rows])
        scale = _Scale.of(figures, np.log([ms for _, _, ms in rows]))
        points = _Rows.of(scale.features(figures), scale.log_ms - scale.level)
        settings = _Hyperparameters()
        # Reweighting comes first: settings that fit every row leave no outliers.
        for round_ in range(REWEIGHTINGS):
            points = points.reweighted(settings)
            sweeps = 2 if round_ == 0 else 1
            settings = fit_hyperparameters(settings, GRID, points.likelihood, sweeps)
        inverse = points.inverse(settings)
        model = cls(scale, points, settings, inverse, inverse @ points.log_ms)
        return replace(model, _sd_factor=model._calibration())

    def predict(self, costs: Sequence[Cost], sizes: Sequence[HW]) -> tuple[Array, Array]:
        """Mean and standard deviation of ln ms, ``[n]`` each, of a new measurement."""
        features = self._scale.features(_log_figures(costs, sizes))
        fitted = self._settings
        between = _covariance(fitted, *_pairs(features, self._rows.features))
        slopes = fitted.slope * _mean_squares(features)
        prior = LEVEL_VARIANCE + slopes + fitted.spread + fitted.noise
        variance = prior - np.sum((between @ self._inverse) * between, axis=1)
        mean: Array = self._scale.level + between @ self._weights
        return mean, self._sd(variance)

    def leave_one_out(self) -> LeaveOneOut:
        """How well each row is predicted from the others."""
        truth = self._scale.log_ms
        mean, _ = self._left_out()
        error = np.abs(np.expm1(mean - truth))
        return LeaveOneOut(
            rows=len(truth),
            median_error=float(np.median(error)),
            mean_error=float(np.mean(error)),
            rank_correlation=rank_correlation(mean, truth),
        )

    def _calibration(self) -> float:
        """The factor on the standard deviation with which intervals hold the rows left out."""
        left_out, sd = self._left_out()
        off = np.abs(self._scale.log_ms - left_out) / sd
        # Quantiles, as the largest of a few errors would dominate the mean square.
        sigmas = [(share, NormalDist().inv_cdf(0.5 + share / 2)) for share in (0.8, 0.95)]
        shares = [np.quantile(off, share) / usual for share, usual in sigmas]
        # Settings that were fitted to these rows are optimistic, the more so the fewer they are.
        return float(np.mean(shares)) * (1 + 8 / len(off))

    def _left_out(self) -> tuple[Array, Array]:
        diagonal = np.diag(self._inverse)
        mean: Array = self._scale.log_ms - self._weights / diagonal
        # The extra noise of an outlier is not part of a usual measurement's.
        return mean, self._sd(1 / diagonal - self._settings.noise * (self._rows.noise_factor - 1))

    def _sd(self, variance: Array) -> Array:
        sd: Array = self._sd_factor * np.sqrt(np.maximum(variance, 0.0))
        return np.maximum(sd, MIN_SD)


def measured_model(evaluations: Iterable[Evaluation]) -> LatencyModel | None:
    """Fitted to all measurements of these evaluations."""
    return LatencyModel.fit(
        [
            (e.cost, e.candidate.input_hw, e.measurement.p50_ms)
            for e in evaluations
            if e.cost and e.measurement
        ]
    )


def rank_correlation(one: Array, other: Array) -> float:
    """Spearman's, ignoring ties."""
    ranks = [np.argsort(np.argsort(values)) for values in (one, other)]
    return float(np.corrcoef(ranks[0], ranks[1])[0, 1])


@dataclass(frozen=True)
class _Hyperparameters:
    slope: float = 1.0
    length: float = 2.0
    spread: float = 0.03
    noise: float = 0.0016


@dataclass(frozen=True)
class _Scale:
    """Standardizes figures to features of mean 0 and sd 1; drops those that never vary."""

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
        return (figures[:, self.used] - self.middle) / self.spread


@dataclass(frozen=True)
class _Rows:
    """The measured rows; `noise_factor` multiplies the noise variance of each."""

    features: Array
    log_ms: Array
    noise_factor: Array
    products: Array
    distances: Array

    @classmethod
    def of(cls, features: Array, log_ms: Array) -> _Rows:
        products, distances = _pairs(features, features)
        return cls(features, log_ms, np.ones(len(log_ms)), products, distances)

    def covariance(self, settings: _Hyperparameters) -> Array:
        noise = np.diag(settings.noise * self.noise_factor)
        return _covariance(settings, self.products, self.distances) + noise

    def inverse(self, settings: _Hyperparameters) -> Array:
        return np.asarray(np.linalg.inv(self.covariance(settings)), np.float64)

    def likelihood(self, settings: _Hyperparameters) -> float:
        """Logarithm of the marginal likelihood, but for a constant."""
        from scipy.linalg import solve_triangular

        factor = np.linalg.cholesky(self.covariance(settings))
        residual = solve_triangular(factor, self.log_ms, lower=True, check_finite=False)
        return float(-0.5 * residual @ residual - np.sum(np.log(np.diag(factor))))

    def reweighted(self, settings: _Hyperparameters) -> _Rows:
        """The same rows, each with more noise the further it is from what the others predict."""
        inverse = self.inverse(settings)
        noise = settings.noise * self.noise_factor
        expected = (noise * (inverse @ self.log_ms)) ** 2
        expected += noise - noise**2 * np.diag(inverse)
        noise_factor: Array = (T_DEGREES + expected / settings.noise) / (T_DEGREES + 1)
        return replace(self, noise_factor=noise_factor)


def _log_figures(costs: Sequence[Cost], sizes: Sequence[HW]) -> Array:
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


def _pairs(one: Array, other: Array) -> tuple[Array, Array]:
    """Mean product and mean squared distance of each pair of rows; ``[n, m]``."""
    products: Array = one @ other.T / max(1, one.shape[1])
    return products, mean_squared_distances(one, other)


def _mean_squares(features: Array) -> Array:
    square: Array = np.sum(features**2, axis=1) / max(1, features.shape[1])
    return square


def _covariance(settings: _Hyperparameters, products: Array, distances: Array) -> Array:
    # In place where possible: for thousands of networks memory traffic takes most of the time.
    total = distances * (-0.5 / settings.length**2)
    np.exp(total, out=total)
    total *= settings.spread
    total += LEVEL_VARIANCE
    total += settings.slope * products
    return total
