"""What training will cost follows from what was seen, and starts from a sane guess."""

from dataclasses import replace

import pytest
from worlds import RESOLUTION, WIDTH, known, scored, space_of

from autoseg.core.records import Cost
from autoseg.search.status import decayed
from autoseg.search.training_time import observed_ratio, prior_epoch_s

SPACE = space_of(RESOLUTION, WIDTH)
ALL = list(SPACE.candidates("expert"))


def test_an_epochs_price_follows_what_was_observed():
    guess = prior_epoch_s(Cost(1, 1, 10**6), 100)
    trained = known(ALL[0], "scored", 1.0, replace(scored(0.5, 3), train_s=3 * 50.0))
    same = replace(trained, cost=Cost(1, 1, 10**6))
    assert guess > 0 and observed_ratio(100, []) == 1.0
    assert guess * observed_ratio(100, [same]) == pytest.approx(50.0)


def test_who_was_trained_on_after_a_decay_is_not_a_finalist_any_more():
    again = known(ALL[0], "scored", 1.0, scored(0.8, 9), scored(0.9, 11, decayed=True))
    assert decayed(again)
    further = replace(again, scores=(*again.scores, scored(0.85, 27)))
    assert not decayed(further)
