"""Features of candidates, also where a knob is inactive and so absent."""

from dataclasses import dataclass

import numpy as np
from worlds import RESOLUTION, WIDTH, space_of

from autoseg.core.records import Candidate, Cost
from autoseg.networks.space import Knob
from autoseg.search.candidate_set import CandidateSet
from autoseg.search.training_time import TrainingTime
from autoseg.train.recipe import Recipe

DEPTH = Knob("t", (4, 2), 4, "expert")
WORD = Knob("kind", ("thin", "wide"), "wide", "expert")
SPACE = space_of(RESOLUTION, WIDTH, DEPTH)


@dataclass(frozen=True)
class ByWidth(TrainingTime):
    """Counts a cost that follows from the width."""

    def cost(self, candidate: Candidate) -> Cost:
        macs = round(1e6 * candidate["a"])
        return Cost(params=macs, macs=macs, activation_bytes=macs)


TIMES = ByWidth(space=SPACE, recipe=Recipe(), outputs=1, pictures=100)


def candidates_without(knob: str) -> list[Candidate]:
    """Those of the space, without a knob's choice where the width is 0.25."""
    return [
        Candidate.of(c.space, {k: v for k, v in c.choices if k != knob or c["a"] != 0.25})
        for c in SPACE.candidates("expert")
        if c["a"] != 0.25 or c["t"] == DEPTH.baseline
    ]


def test_features_of_an_inactive_knob_are_those_of_its_baseline():
    present = [c for c in SPACE.candidates("expert") if c["a"] != 0.25 or c["t"] == DEPTH.baseline]
    knobs = SPACE.knobs_at("expert")
    with_it = CandidateSet.of(knobs, present, TIMES)
    without = CandidateSet.of(knobs, candidates_without("t"), TIMES)
    assert len(without.rows) == len(present)
    np.testing.assert_array_equal(without.features, with_it.features)


def test_features_have_a_column_for_each_word():
    bare = CandidateSet.of((), SPACE.candidates("expert"), TIMES)
    words = CandidateSet.of((WORD,), SPACE.candidates("expert"), TIMES)
    assert words.features.shape[0] == bare.features.shape[0] == SPACE.count("expert")
    assert words.features.shape[1] == bare.features.shape[1]  # all have the baseline: no column


def test_spread_begins_with_the_given_and_names_none_twice():
    every = CandidateSet.of(SPACE.knobs, SPACE.candidates("expert"), TIMES)
    first = [SPACE.baseline, SPACE.candidate(a=0.125)]
    chosen = every.spread(first, 7)
    assert chosen[:2] == first and len(set(chosen)) == 7
    assert len(every.spread(first, 1000)) == SPACE.count("expert")
