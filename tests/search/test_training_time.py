"""What training will cost follows from what was seen, and starts from a sane guess."""

from dataclasses import replace

import pytest
from factories import make_evaluation, make_score
from worlds import RESOLUTION, WIDTH, space_of

from autoseg.core.records import Cost
from autoseg.search.status import decayed
from autoseg.search.training_time import observed_ratio, prior_epoch_s

SPACE = space_of(RESOLUTION, WIDTH)
ALL = list(SPACE.candidates("expert"))
KINDS = ("cpu", "cuda")


def test_prior_epoch_s_follows_observed_times():
    guess = prior_epoch_s(Cost(params=1, macs=1, activation_bytes=10**6), 100)
    trained = make_evaluation(ALL[0], "scored", 1.0, replace(make_score(0.5, 3), train_s=3 * 50.0))
    same = replace(trained, cost=Cost(params=1, macs=1, activation_bytes=10**6))
    assert guess > 0 and observed_ratio(100, []) == 1.0
    assert guess * observed_ratio(100, [same]) == pytest.approx(50.0)


LIGHT = Cost(params=1, macs=1, activation_bytes=10**6)
HEAVY = Cost(params=1, macs=1, activation_bytes=10**9)


def test_prior_epoch_s_of_a_gpu_depends_less_on_the_size_of_a_network():
    ratios = [prior_epoch_s(HEAVY, 8, kind) / prior_epoch_s(LIGHT, 8, kind) for kind in KINDS]
    assert ratios[0] > 10 * ratios[1] > 10
    assert prior_epoch_s(LIGHT, 16, "cuda") == pytest.approx(2 * prior_epoch_s(LIGHT, 8, "cuda"))


def test_observed_ratio_takes_epochs_of_one_kind_of_slot():
    """Begun on cores at 50 s an epoch, gone on with on a GPU at 2."""
    scores = [
        replace(make_score(0.5, 3), train_s=150.0),
        replace(make_score(0.6, 9), train_s=162.0, trained_on="cuda"),
        replace(make_score(0.7, 11, decayed=True), train_s=166.0, trained_on="cuda"),
    ]
    both = replace(make_evaluation(ALL[0], "scored", 1.0, *scores), cost=LIGHT)
    seconds = [prior_epoch_s(LIGHT, 100, k) * observed_ratio(100, [both], k) for k in KINDS]
    assert seconds == pytest.approx([50.0, 2.0])
    on_cores = replace(both, scores=both.scores[:1])
    assert observed_ratio(100, [on_cores], "cuda") == 1.0


def test_decayed_excludes_a_candidate_trained_on_after_its_decay():
    again = make_evaluation(
        ALL[0], "scored", 1.0, make_score(0.8, 9), make_score(0.9, 11, decayed=True)
    )
    assert decayed(again)
    further = replace(again, scores=(*again.scores, make_score(0.85, 27)))
    assert not decayed(further)
