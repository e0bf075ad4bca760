"""What going on is expected to add: possible ends of the search, drawn from the surrogate."""

from __future__ import annotations

import math

import numpy as np

from autoseg.search.gp import Array
from autoseg.search.protocol import Outlook
from autoseg.search.state import View
from autoseg.search.status import p50
from autoseg.search.surrogate import Rows

DRAWS = 64
MOST = 60  # candidates in a draw: what comes after them adds next to nothing


def outlook(
    view: View, rows: Rows, rungs: Rows, log_ms: Array, horizon_s: float, seed: int
) -> Outlook:
    """The hypervolume now, and its rise if `rows` are taken to `rungs`, best first, in draws.

    Candidates are drawn each for itself, so the rise is rather too large than too small.
    """
    known = {key: view.evaluations[key] for key in view.now}
    points = [(p50(e), view.now[k]) for k, e in known.items() if view.p_latency_met(e) > 0.5]
    now = view.steps_of(points).hypervolume()
    rows, rungs = rows[:MOST], rungs[:MOST]
    rises = np.zeros(DRAWS)
    if len(rows):
        mean, sd = view.surrogate.predict(rows, rungs)
        rng = np.random.default_rng(seed)
        for draw in range(DRAWS):
            ious = 1 - np.exp(rng.normal(mean, sd))
            reached = list(zip(np.exp(log_ms[rows]), ious, strict=True))
            rises[draw] = view.steps_of([*points, *reached]).hypervolume() - now
    span = _span(view)
    return Outlook(
        hypervolume=now,
        horizon_s=horizon_s,
        gain_hypervolume=float(rises.mean()),
        gain_iou=float(rises.mean()) / span,
        gain_iou_at_most=float(np.quantile(rises, 0.9)) / span,
    )


def _span(view: View) -> float:
    """From the fastest that is trained to the ceiling, in ln ms."""
    ceiling = math.log(view.constraints.max_latency_ms)
    fastest = min((math.log(p50(view.evaluations[key])) for key in view.now), default=ceiling)
    return max(ceiling - fastest, 0.1)
