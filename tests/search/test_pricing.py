"""What training will cost follows from what was seen, and starts from a sane guess."""

from dataclasses import replace

import pytest
from factories import make_evaluation, make_score
from worlds import RESOLUTION, WIDTH, space_of

from autoseg.core.records import Cost
from autoseg.search.status import decayed
from autoseg.search.training_time import observed_ratio, prior_s

SPACE = space_of(RESOLUTION, WIDTH)
ALL = list(SPACE.candidates("expert"))


def test_prior_s_of_an_epoch_follows_observed_times():
    guess = prior_s(Cost(params=1, macs=1, activation_bytes=10**6), 100)
    trained = make_evaluation(ALL[0], "scored", 1.0, replace(make_score(0.5, 3), train_s=3 * 50.0))
    same = replace(trained, cost=Cost(params=1, macs=1, activation_bytes=10**6))
    assert guess > 0 and observed_ratio(100, []) == 1.0
    assert guess * observed_ratio(100, [same]) == pytest.approx(50.0)


def test_decayed_excludes_a_candidate_trained_on_after_its_decay():
    again = make_evaluation(
        ALL[0], "scored", 1.0, make_score(0.8, 9), make_score(0.9, 11, decayed=True)
    )
    assert decayed(again)
    further = replace(again, scores=(*again.scores, make_score(0.85, 27)))
    assert not decayed(further)
