"""Figures of run times: what they hold, and what they refuse to say."""

import numpy as np
import pytest

from autoseg.core.records import Statistic
from autoseg.device.history import Spread
from autoseg.device.percentiles import estimate, figures


@pytest.mark.parametrize("statistic", ["p50", "p90", "mean"])
def test_estimate_interval_covers_the_truth_at_its_stated_rate(statistic: Statistic) -> None:
    random = np.random.default_rng(0)
    truth = {"p50": 1.0, "p90": float(np.exp(0.1 * 1.2816)), "mean": float(np.exp(0.005))}
    held = [
        low <= truth[statistic] <= high
        for times in np.exp(0.1 * random.standard_normal((400, 200)))
        for _, (low, high) in [estimate(list(times), statistic)]
    ]
    assert 0.93 <= np.mean(held) <= 1.0


def test_estimate_interval_is_wider_on_a_drifting_machine() -> None:
    random = np.random.default_rng(0)
    drifting = 1 + np.repeat(0.01 * random.standard_normal(20), 50)
    drifting += 0.001 * random.standard_normal(1000)

    def width(times: np.ndarray) -> float:
        low, high = estimate(list(times), "p50")[1]
        return high - low

    assert width(drifting) > 3 * width(random.permutation(drifting))


def test_figures_of_more_runs_have_more_percentiles() -> None:
    times = np.random.default_rng(0).uniform(1, 2, 1000)
    few, some, many = (figures([list(times[:runs])], Spread()) for runs in (30, 80, 1000))
    names = ("p90_ms", "p95_ms", "p99_ms")
    assert [[f[name] is None for name in names] for f in (few, some, many)] == [
        [True, True, True],
        [False, False, True],
        [False, False, False],
    ]
    assert few["p90_ci_ms"] is None and few["runs"] == 30
    assert few["min_ms"] <= few["p50_ms"]
    assert few["p50_ci_ms"][0] <= few["p50_ms"] <= few["p50_ci_ms"][1]
