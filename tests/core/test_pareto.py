"""Dominance, hypervolume and picks, on fronts small enough to check by hand."""

import math
import re

import pytest
from factories import make_candidate, make_evaluation, make_measurement, make_score

from autoseg.core.errors import InputError
from autoseg.core.pareto import PICKS, front, front_of, hypervolume, pick, reason
from autoseg.core.records import Constraints, Evaluation, State

WISH = Constraints(max_latency_ms=8.0, min_iou=0.5)


def evaluation(latency_ms: float, iou: float, state: State = "confirmed") -> Evaluation:
    median_ms = latency_ms * 0.9
    measurement = make_measurement(
        median_ms, phase="confirm", p90_ms=latency_ms,
        p90_ci_ms=(latency_ms * 0.99, latency_ms * 1.01), p95_ms=None, p99_ms=None,
    )  # fmt: skip
    return make_evaluation(
        make_candidate(a=latency_ms), state, median_ms, make_score(iou, 9, source="onnx"),
        measurements=(measurement,),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("points", "expected"),
    [
        ([], []),
        ([(3.0, 0.5)], [0]),
        ([(3.0, 0.5), (1.0, 0.4)], [1, 0]),
        ([(3.0, 0.5), (1.0, 0.6)], [1]),
        ([(2.0, 0.5), (2.0, 0.5), (3.0, 0.4)], [0, 1]),
        ([(2.0, 0.5), (2.0, 0.6), (1.0, 0.6)], [2]),
        ([(4.0, 0.9), (1.0, 0.1), (2.0, 0.8), (3.0, 0.7)], [1, 2, 0]),
    ],
)
def test_front_is_non_dominated_and_fastest_first(points, expected):
    assert front(points) == expected


def test_front_is_what_no_other_point_dominates():
    def dominates(one: tuple[float, float], other: tuple[float, float]) -> bool:
        return one[0] <= other[0] and one[1] >= other[1] and one != other

    points = [(1 + (i * 37) % 50, ((i * 61) % 50) / 50) for i in range(200)]
    kept = {i for i, p in enumerate(points) if not any(dominates(q, p) for q in points)}
    assert set(front(points)) == kept


def test_hypervolume_is_the_area_over_log_latency_and_iou():
    assert hypervolume([], WISH) == 0
    assert hypervolume([(4.0, 0.6)], WISH) == pytest.approx(math.log(2) * 0.1)
    both = [(4.0, 0.6), (2.0, 0.55), (4.0, 0.6), (7.0, 0.58)]
    assert hypervolume(both, WISH) == pytest.approx(math.log(2) * 0.1 + math.log(2) * 0.05)


def test_hypervolume_ignores_infeasible_points():
    assert hypervolume([(9.0, 0.99), (1.0, 0.4), (8.0, 0.9), (1.0, 0.5)], WISH) == 0


def test_pick_of_a_front_gives_three_models():
    models = [
        evaluation(ms, iou) for ms, iou in [(8, 0.91), (2, 0.89), (1, 0.6), (9, 0.99), (3, 0.7)]
    ]
    found = {how: models.index(pick(models, how, WISH)) for how in PICKS}
    assert [*found.items()] == [("accurate", 0), ("balanced", 1), ("fastest", 2)]


@pytest.mark.parametrize(
    ("front_points", "balanced"),
    [
        ([(2, 0.6)], 0),
        # Of two models, the one that is better by both limits together, on either side.
        ([(1, 0.6), (2, 0.9)], 1),
        ([(1, 0.88), (4, 0.9)], 0),
        # A faster model that hardly meets the floor does not become the balanced one.
        ([(0.2, 0.501), (2, 0.8), (7, 0.82)], 1),
        ([(2, 0.7), (2, 0.7), (2, 0.7)], 0),
        # At the floor, or at the ceiling: only IoU is left to compare.
        ([(1, 0.5), (8, 0.9)], 1),
    ],
)
def test_pick_balanced_gains_most_on_both_limits_together(front_points, balanced):
    models = [evaluation(ms, iou) for ms, iou in front_points]
    assert pick(models, "balanced", WISH) is models[balanced]


def test_reason_compares_a_pick_with_the_other_picks():
    models = [evaluation(ms, iou) for ms, iou in [(8, 0.91), (2, 0.89), (1, 0.6), (3, 0.7)]]
    fastest = reason("fastest", models, WISH)
    assert re.search(r"0\.5 \(1 ms p90, IoU 0\.6000\).* 7 ms faster .*31 IoU points", fastest)
    accurate = reason("accurate", models, WISH)
    assert re.search(r"\(8 ms p90, IoU 0\.9100\).* 7 ms slower .*31 IoU points", accurate)
    # The golden text of the longest reason.
    assert reason("balanced", models, WISH) == (
        "gains most on both limits together, 4 times as fast as 8 ms and 39 IoU points over 0.5 "
        "(2 ms p90, IoU 0.8900); "
        "6 ms faster than the most accurate for 2 IoU points less (their intervals overlap); "
        "1 ms slower than the fastest for 29 IoU points more"
    )


def test_pick_gives_none_when_nothing_is_feasible():
    models = [evaluation(9, 0.99), evaluation(1, 0.4), evaluation(2, 0.9, "rejected")]
    assert pick(models, "accurate", WISH) is None
    assert pick([], "fastest", WISH) is None and reason("fastest", [], WISH) == ""


def test_pick_prefers_a_confirmed_model_to_a_better_unconfirmed_one():
    models = [evaluation(1, 0.95, "scored"), evaluation(2, 0.9)]
    assert pick(models, "fastest", WISH) is models[1]
    assert pick(models[:1], "fastest", WISH) is models[0]


def test_front_excludes_rejected_and_unmeasured():
    bare = make_evaluation(make_candidate(), "proposed")
    models = [bare, evaluation(1, 0.99, "rejected"), evaluation(2, 0.9), evaluation(3, 0.8)]
    assert front_of(models, "p90") == [models[2]]


def test_pick_of_an_unknown_name_lists_the_known():
    with pytest.raises(InputError, match="accurate, balanced, fastest"):
        pick([], "best", WISH)


def timed(relative_p50: float, iou: float, relative_sd: float = 0.01) -> Evaluation:
    """A confirmed model whose p90 is in proportion to its median over the reference's."""
    measurement = make_measurement(
        relative_p50, phase="confirm", relative_p50=relative_p50, relative_sd=relative_sd,
        p90_ci_ms=(0.8 * relative_p50, 1.2 * relative_p50),
    )  # fmt: skip
    return make_evaluation(
        make_candidate(a=relative_p50), "confirmed", relative_p50,
        make_score(iou, 9, source="onnx"), measurements=(measurement,),
    )  # fmt: skip


def test_front_of_leaves_out_a_model_that_is_not_measurably_faster():
    """Its IoU is worse, and the difference in latency is within what blocks can tell."""
    alike, apart = [timed(1.00, 0.90), timed(1.01, 0.95)], [timed(1.00, 0.90), timed(1.05, 0.95)]
    assert front_of(alike, "p90") == alike[1:]
    assert front_of(apart, "p90") == apart
    assert pick(alike, "fastest", WISH) == alike[1]


def test_front_of_keeps_a_model_that_is_faster_than_all_that_stay():
    """In a chain of near ones, the middle gives way to the last, and the first to neither."""
    chain = [timed(1.00, 0.90), timed(1.02, 0.93), timed(1.04, 0.95)]
    assert front_of(chain, "p90") == [chain[0], chain[2]]
