"""Candidates of the space itself: all of a small one, a seeded sample of a large one."""

from __future__ import annotations

import numpy as np

from autoseg.core.records import Candidate
from autoseg.networks.space import SearchSpace

MAX_NETWORKS = 300  # of a sample: each is built, counted, and proposed at all resolutions


def known_candidates(space: SearchSpace, effort: str, seed: int, count: int) -> list[Candidate]:
    """All candidates if they are few, else a sample of networks, each at every resolution.

    A sample begins with the baseline and the smallest candidate.
    """
    resolutions = [c for k in space.knobs_at(effort) if k.name == "resolution" for c in k.choices]
    size = space.count(effort)
    if size <= count and size / max(1, len(resolutions)) <= MAX_NETWORKS:
        return list(space.candidates(effort))
    networks = sample(space, effort, MAX_NETWORKS, seed)
    drawn = [space.baseline, smallest(space, effort), *networks]
    at_all = [
        space.candidate(**{**dict(c.choices), "resolution": resolution})
        for c in drawn
        for resolution in resolutions
    ]
    return list({c.key: c for c in [*drawn, *at_all]}.values())[:count]


def smallest(space: SearchSpace, effort: str) -> Candidate:
    """The candidate with every ordered knob at its smallest choice."""
    knobs = [k for k in space.knobs_at(effort) if k.ordered or k.name == "resolution"]
    return space.candidate(**{k.name: k.ordered_choices[0] for k in knobs})


def sample(space: SearchSpace, effort: str, count: int, seed: int) -> list[Candidate]:
    """At most `count` different candidates in a seeded order: all if there are no more."""
    rng = np.random.default_rng(seed)
    if space.count(effort) <= count:
        everything = list(space.candidates(effort))
        return [everything[i] for i in rng.permutation(len(everything))]
    knobs = space.knobs_at(effort)
    drawn: dict[str, Candidate] = {}
    while len(drawn) < count:
        candidate = space.candidate(
            **{k.name: k.choices[int(rng.integers(len(k.choices)))] for k in knobs}
        )
        drawn[candidate.key] = candidate
    return list(drawn.values())
