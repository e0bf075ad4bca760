"""What the engine expects follows from what it has seen, and starts from sane guesses."""

from dataclasses import replace

import pytest
from worlds import RESOLUTION, WIDTH, known, scored, space_of

from autoseg.recipe import Recipe
from autoseg.records import Cost
from autoseg.search.forecast import CostModel, Curves, epoch_s, latency_model
from autoseg.search.standing import after_decay, decayed, faster_and_better

SPACE = space_of(RESOLUTION, WIDTH)
ALL = list(SPACE.candidates("expert"))


def seen(*figures: tuple[float, float, float]):
    """Evaluations with a latency and the scores of the first two rungs."""
    return [
        known(candidate, "scored", ms, scored(first, 3), scored(second, 9))
        for candidate, (ms, first, second) in zip(ALL, figures, strict=False)
    ]


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


def test_the_hope_for_an_iou_only_shrinks_with_the_rungs_and_follows_what_was_seen():
    guess = Curves.of(Recipe(), [])
    assert 1 > guess.optimistic(scored(0.5, 3)) > guess.optimistic(scored(0.5, 81)) > 0.5
    assert guess.optimistic(scored(0.5, 3)) > guess.expected(scored(0.5, 3)) > 0.5
    flat = Curves.of(Recipe(), seen(*[(1.0, 0.5, 0.5)] * 5))
    assert flat.optimistic(scored(0.5, 3)) < guess.optimistic(scored(0.5, 3))


def test_an_epochs_price_follows_what_was_observed():
    before = epoch_s(Cost(1, 1, 10**6), 100, [])
    trained = known(ALL[0], "scored", 1.0, replace(scored(0.5, 3), train_s=3 * 50.0))
    same = replace(trained, cost=Cost(1, 1, 10**6))
    assert before > 0
    assert epoch_s(Cost(1, 1, 10**6), 100, [same]) == pytest.approx(50.0)


def test_who_was_trained_on_after_a_decay_is_not_a_finalist_any_more():
    again = known(ALL[0], "scored", 1.0, scored(0.8, 9), scored(0.9, 11, decayed=True))
    assert decayed(again) and after_decay(again, {3: 0.5}) == 0.9
    further = replace(again, scores=(*again.scores, scored(0.85, 27)))
    assert not decayed(further)


def test_what_does_not_hold_beats_nobody():
    slow = known(ALL[0], "scored", 5.0, scored(0.8, 9))
    fast = known(ALL[1], "scored", 2.0, scored(0.95, 9))
    assert faster_and_better(slow, 0.94, [slow, fast]) == fast.candidate.key
    for state in ("failed", "struck"):
        assert faster_and_better(slow, 0.94, [slow, replace(fast, state=state)]) is None
