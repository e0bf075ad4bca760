"""The survey: which untrained networks are measured before anything is trained."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from autoseg.core.records import Candidate
from autoseg.search.candidate_set import CandidateSet
from autoseg.search.problem import SearchProblem
from autoseg.search.proposers.space import smallest

MAX_SURVEYED = 28


def survey(problem: SearchProblem, candidates: CandidateSet) -> Sequence[Candidate]:
    """The baseline, the smallest, and what fills the space between them (greedy maximin).

    At most half of the trials.
    """
    ends = dict.fromkeys([problem.space.baseline, smallest(problem.space, problem.effort)])
    chosen = [candidates.rows[c.key] for c in ends if c.key in candidates.rows]
    features = candidates.features
    half = max(1, (problem.trials or 2 * MAX_SURVEYED) // 2)
    count = min(MAX_SURVEYED, half, len(features))
    nearest = np.full(len(features), np.inf)
    for number in range(count):
        if number >= len(chosen):
            chosen.append(int(np.argmax(nearest)))
        distances = np.linalg.norm(features - features[chosen[number]], axis=1)
        nearest = np.minimum(nearest, distances)
        nearest[chosen[: number + 1]] = -1.0
    return [candidates.candidates[row] for row in chosen[:count]]
