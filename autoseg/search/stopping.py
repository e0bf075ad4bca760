"""What no longer matters: its optimistic IoU at full length could not enter the front."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from autoseg.records import Candidate, Evaluation
from autoseg.search.standing import decayed, p50, undecayed
from autoseg.search.view import View

EARLY = 2  # rungs at which the floor stops nobody: a slow start says little of the end
OPTIMISM = 2.5  # standard deviations: a stop is final, its checkpoint is removed
KEPT = 3  # the most hopeful are never stopped: where nothing meets the floor, they are the nearest


def stops(view: View) -> Sequence[tuple[Candidate, str]]:
    """Those whose hope is under the floor, or under what a faster one would have if finished now.

    What is being trained and what has taken its decay is spared.
    """
    hopes = _hopes(view)
    busy = {job.candidate.key for job in view.running}
    spared = busy | set(sorted(hopes, key=lambda key: -hopes[key])[:KEPT])
    found = []
    for e in view.alive:
        key, score = e.candidate.key, undecayed(e)
        if key in spared or decayed(e) or score is None:
            continue
        at = f"IoU {score.iou:.3f} after {score.epoch} epochs, at best {hopes[key]:.3f}"
        if hopes[key] < view.constraints.min_iou and view.recipe.rungs.index(score.epoch) >= EARLY:
            found.append((e.candidate, f"{at}: under the floor"))
        elif better := _faster_and_better(view, e, hopes[key]):
            found.append((e.candidate, f"{at}: {better} has that and is faster"))
    return found


def _hopes(view: View) -> dict[str, float]:
    """The optimistic IoU after the longest training and its decay, by key."""
    longest = view.recipe.rungs[-1]
    mean, sd = view.after(view.alive, [longest] * len(view.alive))
    # A training is itself a draw: it may turn out better than the best guess of its kind.
    sd = np.hypot(sd, view.surrogate.scatter(longest))
    pairs = zip(view.alive, mean, sd, strict=True)
    return {e.candidate.key: 1 - math.exp(m - OPTIMISM * s) for e, m, s in pairs}


def _faster_and_better(view: View, evaluation: Evaluation, hope: float) -> str | None:
    ms = p50(evaluation)
    for key, iou in view.now.items():
        if key != evaluation.candidate.key and iou >= hope and p50(view.evaluations[key]) < ms:
            return key
    return None
