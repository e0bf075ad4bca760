"""A proposer knows nothing but the history, and never gives what is not allowed."""

from dataclasses import replace

import pytest
from worlds import ASKED, DEPENDENT, RESOLUTION, WIDTH, space_of

from autoseg.core.records import Candidate
from autoseg.networks.space import Knob
from autoseg.search.proposers.optuna import OptunaProposer
from autoseg.search.proposers.space import sample
from autoseg.search.protocol import Observation

SPACE = space_of(RESOLUTION, WIDTH, Knob("pp", (1, 0), 0, "expert"))
ALL = list(SPACE.candidates("expert"))
HISTORY = [
    Observation(candidate=c, latency_ms=1.0 + n, iou=0.9 if n % 2 else 0.95)
    for n, c in enumerate(ALL[:12])
]


def proposer(sampler: str, seed: int = 0) -> OptunaProposer:
    return OptunaProposer(SPACE, "expert", ASKED, seed, sampler)


def first(ask: OptunaProposer, history=(), allowed=lambda c: True):
    """The first allowed proposal."""
    return next(filter(allowed, ask.propose(history, 500)), None)


@pytest.mark.parametrize("sampler", ["gp", "tpe", "nsga2", "nsga3", "random"])
def test_proposer_with_the_same_history_gives_the_same_proposal(sampler):
    given = [list(proposer(sampler).propose(HISTORY, 20)) for _ in range(2)]
    assert given[0] == given[1] and len(given[0]) == 20 and set(given[0]) <= set(ALL)


@pytest.mark.parametrize(
    "sampler", [pytest.param("gp", marks=pytest.mark.slow), "tpe", "nsga2", "nsga3", "random"]
)
def test_proposer_gives_only_allowed_candidates_and_none_when_none_is_left(sampler):
    left = ALL[-1]
    assert first(proposer(sampler), HISTORY, lambda c: c == left) == left
    assert first(proposer(sampler), HISTORY, lambda c: False) is None


def test_proposer_with_a_genetic_sampler_breeds_from_the_best():
    front = {c.key for c in ALL[:2]}
    told = [
        Observation(
            candidate=c,
            latency_ms=1.0 if c.key in front else 9.0,
            iou=0.95 if c.key in front else 0.5,
        )
        for c in ALL[:12] * 2
    ]
    ask = proposer("nsga2")
    bred = [next(ask.proposals(told, number)) for number in range(24, 44)]
    alike = [sum(c[k] == ALL[0][k] for k in ("resolution", "a")) for c in bred]
    assert sum(alike) / len(alike) > 1.2  # a random one agrees on two thirds of a knob


def test_proposer_can_propose_the_first_candidate():
    assert first(proposer("gp")) in ALL


def test_proposer_of_one_candidate_gives_it_once():
    alone = space_of(Knob("resolution", (64,), 64, "entry"))
    ask = OptunaProposer(alone, "expert", ASKED, 0, "gp")
    assert first(ask) == alone.baseline
    seen = [Observation(candidate=alone.baseline, latency_ms=1.0, iou=0.9)]
    assert first(ask, seen, lambda c: c != alone.baseline) is None


@pytest.mark.parametrize("sampler", ["gp", "tpe", "nsga2"])
def test_proposer_learns_from_and_proposes_candidates_with_inactive_knobs(sampler):
    *history, left = list(DEPENDENT.candidates("expert"))
    assert len(history) == 3 * 3 - 1
    seen = [Observation(candidate=c, latency_ms=1.0 + n, iou=0.9) for n, c in enumerate(history)]
    ask = OptunaProposer(DEPENDENT, "expert", ASKED, 0, sampler)
    assert first(ask, seen, lambda c: c == left) == left
    assert first(ask, seen) in [*history, left]


def test_proposer_orders_sizes_by_area_and_keeps_words():
    sizes = Knob("resolution", (256, "192x256", 64, "64x128"), 256, "entry")
    assert sizes.ordered_choices == [64, "64x128", "192x256", 256]
    assert list(Knob("kind", ("wide", "thin"), "wide", "expert").ordered_choices) == [
        "wide",
        "thin",
    ]
    mixed = space_of(sizes, Knob("t", ("thin", 2), "thin", "expert"))
    seen = [
        Observation(candidate=c, latency_ms=1.0 + n, iou=0.9)
        for n, c in enumerate(mixed.candidates("expert"))
    ]
    for sampler in ("gp", "tpe"):
        ask = OptunaProposer(mixed, "expert", ASKED, 0, sampler)
        assert first(ask, seen) in [s.candidate for s in seen]


def test_sample_is_the_whole_space_or_distinct_candidates_in_seed_order():
    assert {c.key for c in sample(SPACE, "expert", 100, 0)} == {c.key for c in ALL}
    some = sample(SPACE, "expert", 5, 1)
    assert len({c.key for c in some}) == 5 and some == sample(SPACE, "expert", 5, 1)
    assert some != sample(SPACE, "expert", 5, 2)


def test_proposer_reads_an_absent_knob_as_its_baseline():
    def without(observation: Observation) -> Observation:
        chosen = {k: v for k, v in observation.candidate.choices if k != "pp"}
        return replace(observation, candidate=Candidate.of("toy", chosen))

    history = [seen for seen in HISTORY if seen.candidate["pp"] == 0]
    absent = [without(seen) for seen in history]
    given = [list(proposer("tpe").propose(seen, 4)) for seen in (history, absent)]
    assert given[0] == given[1]
