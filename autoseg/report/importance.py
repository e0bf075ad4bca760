"""Importance of the knobs: the main effect of each knob on latency and on IoU.

An additive model is fitted to the candidates of a run: one effect for each choice of each knob,
on ln(latency) or on IoU. A joint fit separates knobs that the search changed together, which a
plain correlation cannot; knobs that always changed together stay confounded. The importance of a
knob is the variance of its effects over its choices, equally weighted, relative to the sum over
all knobs (a functional analysis of variance of the additive model; Hooker, 2007). Intervals are
from a bootstrap over candidates; the model is validated on the candidates left out of each draw.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autoseg.core.records import Evaluation, Statistic
from autoseg.core.units import Choice
from autoseg.report.plot_data import varied_knobs

Array = NDArray[np.float64]
MIN_CANDIDATES = 8  # with fewer, each knob alone explains all of the variance
DRAWS = 60  # of the bootstrap
MEASURES = (
    "The share of a knob is its part of the sum of all main effects, with a 90 % interval, over "
    "all candidates that were measured (latency) or scored (IoU): what changing it does anywhere "
    "in the space. The panel of Optuna's dashboard (PED-ANOVA) compares the best tenth of the "
    "completed trials with all completed ones, which are only those trained to the end: in which "
    "knobs they differ, so its order may be another one."
)
LIMITS = (
    "Interactions between knobs are not modelled, and knobs that always changed together cannot "
    "be separated. Most candidates are stopped early: the effects on IoU after full training may "
    "differ."
)
HEADS = ("knob", "share", "largest effect")
_RIDGE = 0.5  # half a candidate without effect for each choice: it shrinks rare choices


@dataclass(frozen=True)
class Effect:
    """The main effect of one knob: its share of all main effects, with a 90 % interval.

    `swing` is the effect of changing from the `worst` choice to the `best`: a factor of latency,
    or a difference of IoU.
    """

    knob: str
    share: float
    share_ci90: tuple[float, float]
    worst: Choice
    best: Choice
    swing: float


@dataclass(frozen=True)
class Importance:
    """The main effects, the largest first, fitted to a number of `candidates`.

    `explained` is the share of variance explained on candidates that the model was not fitted to;
    under zero it predicts worse than their mean.
    """

    effects: tuple[Effect, ...]
    candidates: int
    explained: float


def importances(
    evaluations: Sequence[Evaluation], statistic: Statistic
) -> list[tuple[str, str, Importance | None]]:
    """What it is of, the sign of its effects ("x" for factors), and the importance."""
    return [
        ("latency", "x", latency_importance(evaluations, statistic)),
        ("IoU", "+", iou_importance(evaluations)),
    ]


def importance_head(what: str, found: Importance) -> str:
    """The sentence over the table."""
    explained = max(0, round(100 * found.explained))
    return (
        f"{what}, from {found.candidates} candidates; the model explains {explained} % of the "
        "variance of candidates that it was not fitted to:"
    )


def importance_rows(sign: str, found: Importance) -> list[tuple[str, str, str]]:
    """The table under `HEADS`, the largest share first."""
    shown = []
    for each in found.effects:
        low, high = (round(100 * end) for end in each.share_ci90)
        swing = f"×{each.swing:.2g}" if sign == "x" else f"+{each.swing:.3f}"
        share, change = f"{100 * each.share:.0f} %", f"{each.worst} → {each.best}"
        shown.append((each.knob, f"{share} ({low} to {high})", f"{swing} ({change})"))
    return shown


def latency_importance(
    evaluations: Sequence[Evaluation], statistic: Statistic
) -> Importance | None:
    """From all measured candidates; None for too few candidates or without a varied knob."""
    seen = [(e, e.measurement) for e in evaluations if e.measurement]
    values = [math.log(m.latency_ms(statistic)) for _, m in seen]
    found = _importance([e for e, _ in seen], values, [0] * len(seen))
    return found and _as_factors(found)


def iou_importance(evaluations: Sequence[Evaluation]) -> Importance | None:
    """From all scored candidates at their last epoch; the number of epochs is a covariate."""
    seen = [(e, score) for e in evaluations if (score := e.score("val"))]
    epochs = [2 * round(math.log2(max(1, s.epoch))) + s.decayed for _, s in seen]
    return _importance([e for e, _ in seen], [s.iou for _, s in seen], epochs)


def _importance(
    seen: Sequence[Evaluation], values: Sequence[float], nuisance: Sequence[int]
) -> Importance | None:
    knobs = varied_knobs(seen)
    if len(seen) < MIN_CANDIDATES or not knobs:
        return None
    table = [dict(e.candidate.choices) for e in seen]
    blocks = {knob: _indicators([row.get(knob) for row in table]) for knob in knobs}
    columns = np.hstack([block for block, _ in blocks.values()])
    inputs, y = np.hstack([columns, _indicators(nuisance)[0]]), np.array(values)
    rng = np.random.default_rng(0)
    fits, residuals, spread = [_fit(inputs, y)], np.zeros(0), np.zeros(0)
    for _ in range(DRAWS):
        drawn = rng.integers(0, len(y), len(y))
        fits.append(_fit(inputs[drawn], y[drawn]))
        out, mean = np.setdiff1d(np.arange(len(y)), drawn), y[drawn].mean()
        residuals = np.append(residuals, y[out] - mean - inputs[out] @ fits[-1])
        spread = np.append(spread, y[out] - mean)
    explained = 1 - float((residuals**2).sum() / max(1e-12, float((spread**2).sum())))
    return Importance(tuple(_effects(blocks, fits)), len(seen), explained)


def _indicators(values: Sequence[Any]) -> tuple[Array, list[Any]]:
    """One-hot columns of the values that occur."""
    kinds = sorted(set(values), key=lambda v: (v is None, isinstance(v, str), v))
    return np.array([[float(v == kind) for kind in kinds] for v in values]), kinds


def _fit(inputs: Array, y: Array) -> Array:
    """Ridge weights around the mean, which is the intercept."""
    square = inputs.T @ inputs + _RIDGE * np.eye(inputs.shape[1])
    return np.asarray(np.linalg.solve(square, inputs.T @ (y - y.mean())), np.float64)


def _effects(blocks: dict[str, tuple[Array, list[Any]]], fits: Sequence[Array]) -> list[Effect]:
    ends = np.cumsum([len(kinds) for _, kinds in blocks.values()])
    # What is behind the last knob are the weights of the nuisance.
    parts = [np.split(weights, ends)[:-1] for weights in fits]
    variances = np.array([[float(part.var()) for part in each] for each in parts])
    shares = variances / np.maximum(1e-12, variances.sum(axis=1, keepdims=True))
    effects = []
    for place, (knob, (_, kinds)) in enumerate(blocks.items()):
        own = parts[0][place]
        low, high = np.quantile(shares[1:, place], (0.05, 0.95))
        worst, best = int(own.argmin()), int(own.argmax())
        share, swing = float(shares[0, place]), float(own[best] - own[worst])
        ci90 = float(low), float(high)
        effects.append(Effect(knob, share, ci90, kinds[worst], kinds[best], swing))
    return sorted(effects, key=lambda effect: -effect.share)


def _as_factors(found: Importance) -> Importance:
    """Effects on ln(latency) as factors of latency, of which the lower one is better."""
    effects = [
        replace(e, worst=e.best, best=e.worst, swing=math.exp(e.swing)) for e in found.effects
    ]
    return replace(found, effects=tuple(effects))
