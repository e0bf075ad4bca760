"""Which knob matters: what each knob alone does to latency and to IoU, as far as a run shows.

An additive model is fitted to the candidates that were looked at: one effect for each choice of
each knob, over ln(latency) or over IoU. Fitting all knobs at once tells them apart where the
search turned several together, which a plain correlation cannot; knobs that always turned together
stay confounded. A knob's share is the variance of its effects over its choices, each as likely as
the others, among the sum over all knobs (a functional analysis of variance of the additive model;
Hooker, 2007). Intervals are of a bootstrap over candidates; the model is judged on those left out.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autoseg.core.records import Evaluation, Statistic
from autoseg.core.units import Choice
from autoseg.report.axes import turned

Array = NDArray[np.float64]
FEWEST = 8  # candidates; with fewer, every knob explains all of it
DRAWS = 60
_RIDGE = 0.5  # half a candidate at no effect for each choice: what was hardly tried says little


@dataclass(frozen=True)
class Effect:
    """What one knob does. `share` of what all knobs do, with its 90 % interval.

    `worst` and `best` are the choices at the ends and `swing` is from one to the other: a factor
    of latency, or a difference of IoU.
    """

    knob: str
    share: float
    share_ci90: tuple[float, float]
    worst: Choice
    best: Choice
    swing: float


@dataclass(frozen=True)
class Importance:
    """The knobs, the one that matters most first, from `candidates` of them.

    `explained` is the share of the variance that the model tells of candidates that it was not
    fitted to; under zero it knows less than their mean.
    """

    effects: tuple[Effect, ...]
    candidates: int
    explained: float


def latency_importance(
    evaluations: Sequence[Evaluation], statistic: Statistic
) -> Importance | None:
    """Over all measured candidates; None where they are too few or nothing was turned."""
    seen = [(e, e.measurement) for e in evaluations if e.measurement]
    values = [math.log(m.latency_ms(statistic)) for _, m in seen]
    found = _importance([e for e, _ in seen], values, [0] * len(seen))
    return found and _as_factors(found)


def iou_importance(evaluations: Sequence[Evaluation]) -> Importance | None:
    """Over all scored candidates, each at its last epoch; longer training is accounted for."""
    seen = [(e, score) for e in evaluations if (score := e.score("val"))]
    epochs = [2 * round(math.log2(max(1, s.epoch))) + s.decayed for _, s in seen]
    return _importance([e for e, _ in seen], [s.iou for _, s in seen], epochs)


def _importance(
    seen: Sequence[Evaluation], values: Sequence[float], nuisance: Sequence[int]
) -> Importance | None:
    knobs = turned(seen)
    if len(seen) < FEWEST or not knobs:
        return None
    table = [dict(e.candidate.choices) for e in seen]
    blocks = {knob: _indicators([row.get(knob) for row in table]) for knob in knobs}
    columns = np.hstack([block for block, _ in blocks.values()])
    inputs, y = np.hstack([columns, _indicators(nuisance)[0]]), np.array(values)
    rng = np.random.default_rng(0)
    fits, left_out = [_fit(inputs, y)], []
    for _ in range(DRAWS):
        drawn = rng.integers(0, len(y), len(y))
        fits.append(_fit(inputs[drawn], y[drawn]))
        out = np.setdiff1d(np.arange(len(y)), drawn)
        left_out.append(_residuals(fits[-1], inputs[out], y[out]))
    told = np.concatenate([each for each, _ in left_out])
    spread = np.concatenate([each for _, each in left_out])
    explained = 1 - float((told**2).sum() / max(1e-12, float((spread**2).sum())))
    effects = _effects(blocks, [weights for weights, _ in fits])
    return Importance(tuple(effects), len(seen), explained)


def _indicators(values: Sequence[Any]) -> tuple[Array, list[Any]]:
    """One column for each value that occurs."""
    kinds = sorted(set(values), key=lambda v: (v is None, isinstance(v, str), v))
    return np.array([[float(v == kind) for kind in kinds] for v in values]), kinds


def _fit(inputs: Array, y: Array) -> tuple[Array, float]:
    """Ridge weights and the mean they are added to."""
    mean = float(y.mean())
    square = inputs.T @ inputs + _RIDGE * np.eye(inputs.shape[1])
    return np.asarray(np.linalg.solve(square, inputs.T @ (y - mean)), np.float64), mean


def _residuals(fit: tuple[Array, float], inputs: Array, y: Array) -> tuple[Array, Array]:
    weights, mean = fit
    return y - mean - inputs @ weights, y - mean


def _effects(blocks: dict[str, tuple[Array, list[Any]]], fits: Sequence[Array]) -> list[Effect]:
    ends = np.cumsum([0, *(len(kinds) for _, kinds in blocks.values())])
    parts = [[weights[a:b] for a, b in zip(ends, ends[1:], strict=False)] for weights in fits]
    variances = np.array([[float(part.var()) for part in each] for each in parts])
    shares = variances / np.maximum(1e-12, variances.sum(axis=1, keepdims=True))
    effects = []
    for place, (knob, (_, kinds)) in enumerate(blocks.items()):
        own = parts[0][place]
        low, high = np.quantile(shares[1:, place], (0.05, 0.95))
        worst, best = int(own.argmin()), int(own.argmax())
        effects.append(
            Effect(
                knob,
                float(shares[0, place]),
                (float(low), float(high)),
                kinds[worst],
                kinds[best],
                float(own[best] - own[worst]),
            )  # fmt: skip
        )
    return sorted(effects, key=lambda effect: -effect.share)


def _as_factors(found: Importance) -> Importance:
    effects = tuple(
        Effect(e.knob, e.share, e.share_ci90, e.best, e.worst, math.exp(e.swing))
        for e in found.effects
    )
    return Importance(effects, found.candidates, found.explained)
