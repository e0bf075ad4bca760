"""The outlook: the expected gain of going on, from possible ends of the search."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from autoseg.core.pareto import Point
from autoseg.search.expected_hypervolume import ExpectedHypervolume
from autoseg.search.gp import Array
from autoseg.search.protocol import Outlook
from autoseg.search.state import SearchState
from autoseg.search.status import p50_ms
from autoseg.search.surrogate import Rows

DRAWS = 64
MAX_DRAWN = 60  # candidates in a draw: what comes after them adds next to nothing


def outlook(state: SearchState, horizon_s: float) -> Outlook:
    """The hypervolume now, and its rise if the best options of `horizon_s` seconds are taken.

    Ends are drawn from the surrogate, each candidate independently, so the rise is rather too
    large than too small.
    """
    points = state.points(state.iou_if_finished)
    now = state.front_of(points).hypervolume()
    rises, span = _ends(state, points, horizon_s) - now, _span(state)
    return Outlook(
        hypervolume=now,
        horizon_s=horizon_s,
        gain_hypervolume=float(rises.mean()),
        gain_iou=float(rises.mean()) / span,
        gain_iou_at_most=float(np.quantile(rises, 0.9)) / span,
    )


def _ends(state: SearchState, points: Sequence[Point], horizon_s: float) -> Array:
    """The hypervolume at each drawn end."""
    rows, rungs = _affordable(state, horizon_s)
    mean, sd = state.surrogate.predict(rows, rungs)
    ms, rng = np.exp(_log_ms(state)[rows]), np.random.default_rng(state.problem.seed)
    ends = np.zeros(DRAWS)
    for draw in range(DRAWS):
        ious = 1 - np.exp(rng.normal(mean, sd))
        ends[draw] = state.front_of([*points, *zip(ms, ious, strict=True)]).hypervolume()
    return ends


def _affordable(state: SearchState, horizon_s: float) -> tuple[Rows, Rows]:
    """Rows and rungs that the horizon pays for, best first; each candidate once."""
    policy = ExpectedHypervolume()
    options = policy.options(state, horizon_s)
    order = np.argsort(-policy.worth(options), kind="stable")
    # Of each candidate the best rung alone.
    order = order[np.sort(np.unique(options.rows[order], return_index=True)[1])]
    total_s = horizon_s * state.problem.training_time.workers
    chosen = order[np.cumsum(options.seconds[order]) <= total_s][:MAX_DRAWN]
    return options.rows[chosen], options.rungs[chosen]


def _log_ms(state: SearchState) -> Array:
    """ln ms of every candidate, predicted where it was not measured."""
    log_ms = state.predicted_log_ms[0].copy()
    for e in state.evaluations.values():
        if (row := state.row(e)) is not None and e.measurement:
            log_ms[row] = math.log(p50_ms(e))
    return log_ms


def _span(state: SearchState) -> float:
    """From the fastest that is trained to the ceiling, in ln ms."""
    ceiling = math.log(state.problem.constraints.max_latency_ms)
    trained = (math.log(p50_ms(state.evaluations[key])) for key in state.iou_if_finished)
    return max(ceiling - min(trained, default=ceiling), 0.1)
