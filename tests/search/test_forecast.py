"""What the engine expects follows from what it has seen, and starts from sane guesses."""

from dataclasses import replace

import pytest
from worlds import RESOLUTION, WIDTH, known, scored, space_of

from autoseg.records import Cost
from autoseg.search.forecast import CostModel, latency_model, observed_ratio, prior_s
from autoseg.search.standing import decayed

SPACE = space_of(RESOLUTION, WIDTH)
ALL = list(SPACE.candidates("expert"))


def test_latency_is_forecast_from_six_measurements_on():
    rows = [
        (Cost(1, macs, 10 * macs), (64, 64), macs / 1e6) for macs in range(10**6, 9 * 10**6, 10**6)
    ]
    assert CostModel.fit(rows[:5]) is None
    model = CostModel.fit(rows)
    assert model.predict(Cost(1, 5 * 10**6, 5 * 10**7), (64, 64)) == pytest.approx(5.0, rel=0.05)
    assert model.probability_under(50.0, *rows[0][:2]) > 0.99
    assert model.probability_under(0.1, *rows[0][:2]) < 0.01
    assert latency_model([]) is None


def test_an_epochs_price_follows_what_was_observed():
    guess = prior_s(Cost(1, 1, 10**6), 100)
    trained = known(ALL[0], "scored", 1.0, replace(scored(0.5, 3), train_s=3 * 50.0))
    same = replace(trained, cost=Cost(1, 1, 10**6))
    assert guess > 0 and observed_ratio(100, []) == 1.0
    assert guess * observed_ratio(100, [same]) == pytest.approx(50.0)


def test_who_was_trained_on_after_a_decay_is_not_a_finalist_any_more():
    again = known(ALL[0], "scored", 1.0, scored(0.8, 9), scored(0.9, 11, decayed=True))
    assert decayed(again)
    further = replace(again, scores=(*again.scores, scored(0.85, 27)))
    assert not decayed(further)
