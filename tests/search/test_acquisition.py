"""Expected gains are those of the hypervolume that users see, and sampling agrees with them."""

from statistics import NormalDist

import numpy as np
import pytest
from worlds import ASKED

from autoseg.core.pareto import hypervolume
from autoseg.search.acquisition import StepFront, p_iou_met

FLOOR = ASKED.min_iou
POINTS = [(2.0, 0.93), (4.0, 0.95), (3.0, 0.92), (12.0, 0.99), (1.5, 0.8)]


def steps(points=POINTS) -> StepFront:
    return StepFront.of(points, ASKED.max_latency_ms, FLOOR)


def test_steps_have_the_hypervolume_of_their_points():
    assert steps().hypervolume() == pytest.approx(hypervolume(POINTS, ASKED))
    assert steps([]).hypervolume() == 0.0 and steps([]).empty and not steps().empty


@pytest.mark.parametrize("point", [(1.0, 0.91), (2.5, 0.94), (5.0, 0.97), (9.9, 0.96), (3.0, 0.9)])
def test_expected_gain_of_a_certain_iou_is_the_difference_of_two_hypervolumes(point):
    ms, iou = point
    gain = steps().expected_gain(np.log([ms]), np.log([1 - iou]), np.array([1e-12]))[0]
    before, after = hypervolume(POINTS, ASKED), hypervolume([*POINTS, point], ASKED)
    assert gain == pytest.approx(after - before, abs=1e-12)


@pytest.mark.parametrize("points", [POINTS, []])
@pytest.mark.parametrize("ms, mean, sd", [(1.0, -2.4, 0.1), (5.0, -3.0, 0.3), (2.0, -2.7, 0.05)])
def test_expected_gain_is_the_mean_over_the_distribution(points, ms, mean, sd):
    where = np.log([ms]), np.array([mean]), np.array([sd])
    expected = steps(points).expected_gain(*where)[0]
    quantiles = NormalDist(mean, sd).quantiles(2000)
    ious = [1 - np.exp(quantile) for quantile in quantiles]
    reached = np.mean([steps([*points, (ms, iou)]).hypervolume() for iou in ious])
    before = steps(points).hypervolume()
    assert expected == pytest.approx(reached - before, rel=0.03, abs=1e-6)


def test_gain_over_the_ceiling_is_zero():
    assert steps().expected_gain(np.log([11.0]), np.array([-5.0]), np.array([0.5]))[0] == 0.0


def test_p_iou_met_is_the_probability_to_meet_the_iou_floor():
    p_met = p_iou_met(0.9, np.log([0.1, 0.05, 0.2]), np.array([0.2, 0.2, 0.2]))
    assert p_met[0] == pytest.approx(0.5) and p_met[1] > 0.99 and p_met[2] < 0.01


def test_expected_gain_averages_over_an_uncertain_latency():
    where = np.array([np.log(9.9)]), np.array([-3.5]), np.array([0.1])
    unsure = steps().expected_gain(*where, np.array([0.2]))[0]
    draws = np.random.default_rng(0).normal(np.log(9.9), 0.2, 50_000)
    each = steps().expected_gain(draws, *(np.full(len(draws), v[0]) for v in where[1:]))
    assert unsure == pytest.approx(each.mean(), rel=0.03)
    over = np.array([np.log(10.5)]), *where[1:], np.array([0.1])
    assert steps().expected_gain(*over)[0] > 0
