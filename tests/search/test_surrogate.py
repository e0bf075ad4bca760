"""The surrogate learns level, curve and trend from few scores, and knows how unsure it is."""

import numpy as np
import pytest

from autoseg.search.surrogate import Seen, Surrogate, usual_curve
from autoseg.train.recipe import Recipe

RECIPE = Recipe(rungs=(1, 3, 9, 27, 81))
LONGEST = 81
SIZES = np.linspace(-1.5, 1.5, 30)  # one feature, standardized
FEATURES = np.stack([SIZES, SIZES**2], axis=1)
TRENDS = np.stack([SIZES, SIZES], axis=1)


def truth(row: int, epoch: int) -> float:
    """Log error: larger ones err less, and all err less the longer they train."""
    curve = usual_curve(np.array([float(epoch)]), LONGEST)[0]
    return -2.5 - 0.3 * SIZES[row] + 0.05 * np.sin(3 * SIZES[row]) + curve


def seen(*places: tuple[int, int]) -> list[Seen]:
    return [Seen(row, epoch, False, 1 - np.exp(truth(row, epoch))) for row, epoch in places]


def fit(*places: tuple[int, int]) -> Surrogate:
    return Surrogate.fit(FEATURES, TRENDS, RECIPE, seen(*places))


def test_surrogate_forecasts_untrained_candidates_with_uncertainty_by_distance():
    model = fit(*((row, 81) for row in (8, 11, 14, 17, 20)))
    mean, sd = model.predict([13, 29], [81, 81])
    assert mean[0] == pytest.approx(truth(13, 81) - 0.06, abs=0.06)  # the decay is expected
    assert sd[1] > 1.25 * sd[0]


def test_surrogate_learns_more_from_a_higher_rung():
    others = [(row, epoch) for row in (2, 9, 16) for epoch in (3, 9, 27, 81)]
    unknown, low, high = (
        fit(*others, *own).predict([25], [81])[1][0]
        for own in ([], [(25, 3)], [(25, 3), (25, 27)])
    )
    assert unknown > low > high


def test_surrogate_trusts_a_candidate_better_than_its_neighbours():
    kind = seen(*((row, 27) for row in range(0, 30, 3)))
    star = Seen(13, 27, False, 1 - np.exp(truth(13, 27) - 0.3))
    with_it = Surrogate.fit(FEATURES, TRENDS, RECIPE, [*kind, star]).predict([13], [81])[0][0]
    without = Surrogate.fit(FEATURES, TRENDS, RECIPE, kind).predict([13], [81])[0][0]
    assert with_it < without - 0.05


def test_surrogate_learns_the_decay_gain_from_observed_decays():
    plain = seen(*((row, 27) for row in range(0, 30, 4)))
    strong = [Seen(s.row, 27, True, 1 - (1 - s.iou) * 0.8) for s in plain]
    before = Surrogate.fit(FEATURES, TRENDS, RECIPE, plain).predict([29], [27])[0][0]
    after = Surrogate.fit(FEATURES, TRENDS, RECIPE, [*plain, *strong]).predict([29], [27])[0][0]
    assert after < before - 0.02


def test_surrogate_intervals_cover_later_scores():
    rng, inside = np.random.default_rng(0), 0
    for _ in range(40):
        rows = rng.permutation(30)
        noisy = [
            Seen(row, epoch, False, 1 - np.exp(truth(row, epoch) + rng.normal(0, 0.05)))
            for row in rows[:10]
            for epoch in (3, 9, 27)
        ]
        model = Surrogate.fit(FEATURES, TRENDS, RECIPE, noisy)
        mean, sd = model.predict(rows[10:15], [27] * 5)
        true = np.array([truth(row, 27) for row in rows[10:15]]) - 0.06
        inside += int(np.sum(np.abs(true - mean) < 2 * sd))
    assert inside / 200 > 0.85


def test_surrogate_has_a_prior_and_accepts_perfect_scores():
    mean, sd = Surrogate.fit(FEATURES, TRENDS, RECIPE, []).predict([0, 29], [3, 81])
    assert mean[0] > mean[1] and (sd > 0.5).all()
    perfect = [Seen(row, 3, False, 1.0) for row in range(5)]
    assert np.isfinite(
        Surrogate.fit(FEATURES, TRENDS, RECIPE, perfect).predict([9], [81])[0]
    ).all()


def test_surrogate_of_candidates_without_features_is_equal():
    empty = np.zeros((2, 0))
    model = Surrogate.fit(empty, np.zeros((2, 2)), RECIPE, [Seen(0, 3, False, 0.8)])
    assert np.isfinite(model.predict([1], [3])[0]).all()


def test_surrogate_on_flat_curves_separates_an_early_decay_from_long_training():
    flat = {1: 0.84, 3: 0.72, 9: 0.60, 27: 0.54}  # errors of 11 classes
    seen = [Seen(row, epoch, False, 1 - e) for row in range(0, 30, 6) for epoch, e in flat.items()]
    model = Surrogate.fit(FEATURES, TRENDS, RECIPE, seen)
    soon, late = np.exp(model.predict([13, 13], [1, 27])[0])
    assert late < 0.56 < 0.65 < soon < 0.84
