"""What no longer matters: its optimistic IoU at full length could not enter the front."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from autoseg.core.records import Candidate, Evaluation
from autoseg.search.state import View
from autoseg.search.status import decayed, p50, undecayed

EARLY = 2  # rungs at which the floor stops nobody: a slow start says little of the end
OPTIMISM = 2.5  # standard deviations: a stop is final, its checkpoint is removed
KEPT = 3  # the most hopeful are never stopped: where nothing meets the floor, they are the nearest


def stops(view: View) -> Sequence[tuple[Candidate, str]]:
    """Those whose hope is under the floor, or that surely end under what a faster one has.

    What is being trained and what has taken its decay is spared.
    """
    hopes = _hopes(view)
    best = {key: 1 - math.exp(mean - OPTIMISM * sd) for key, (mean, sd) in hopes.items()}
    busy = {job.candidate.key for job in view.running}
    spared = busy | set(sorted(best, key=lambda key: -best[key])[:KEPT])
    found = []
    for e in view.alive:
        key, score = e.candidate.key, undecayed(e)
        if key in spared or decayed(e) or score is None:
            continue
        at = f"IoU {score.iou:.3f} after {score.epoch} epochs, at best {best[key]:.3f}"
        if best[key] < view.constraints.min_iou and view.recipe.rungs.index(score.epoch) >= EARLY:
            found.append((e.candidate, f"{at}: under the floor"))
        elif better := _faster_and_better(view, e, *hopes[key]):
            found.append((e.candidate, f"{at}: {better} is better and faster"))
    return found


def _hopes(view: View) -> dict[str, tuple[float, float]]:
    """Log error after the longest training and its decay: mean, standard deviation, by key."""
    longest = view.recipe.rungs[-1]
    mean, sd = view.after(view.alive, [longest] * len(view.alive))
    # A training is itself a draw: it may turn out better than the best guess of its kind.
    sd = np.hypot(sd, view.surrogate.scatter(longest))
    pairs = zip(map(float, mean), map(float, sd), strict=True)
    return {e.candidate.key: pair for e, pair in zip(view.alive, pairs, strict=True)}


def _faster_and_better(view: View, evaluation: Evaluation, mean: float, sd: float) -> str | None:
    """A faster one whose error, if it was finished now, is surely less than this one's hope."""
    ms = p50(evaluation)
    for key, (its_mean, its_sd) in view.finished.items():
        if key != evaluation.candidate.key and p50(view.evaluations[key]) < ms:
            if mean - its_mean > OPTIMISM * math.hypot(sd, its_sd):
                return key
    return None
