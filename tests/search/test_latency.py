"""The latency of a network follows from what it costs and from those already measured."""

import csv
import math
from pathlib import Path

import numpy as np
import pytest
from factories import make_evaluation
from worlds import RESOLUTION, WIDTH, space_of

from autoseg.core.records import Cost
from autoseg.core.serialize import from_json
from autoseg.core.units import HW, parse_hw
from autoseg.search.latency import LatencyModel, measured_model, rank_correlation

TABLE = Path(__file__).parents[2] / "results/reference/latency-fast-scnn.csv"
Row = tuple[Cost, HW, float]


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    """Untrained networks of the shipped space, measured on a real machine, in no order."""
    with TABLE.open(newline="") as file:
        return [(cost_in(row), parse_hw(row["resolution"]), float(row["p50_ms"]))
                for row in csv.DictReader(file)]  # fmt: skip


def cost_in(row: dict[str, str]) -> Cost:
    counted: dict = {}
    for name in list(row)[list(row).index("params") :]:
        *inside, last = name.split(".")
        (counted.setdefault(inside[0], {}) if inside else counted)[last] = int(row[name])
    return from_json(Cost, counted)


def predicted(model: LatencyModel, rows: list[Row]) -> tuple[np.ndarray, np.ndarray]:
    return model.predict([cost for cost, _, _ in rows], [hw for _, hw, _ in rows])


def logs(rows: list[Row]) -> np.ndarray:
    return np.log([ms for _, _, ms in rows])


def test_latency_model_of_fifty_measurements_predicts_the_others(rows):
    mean, sd = predicted(LatencyModel.fit(rows[:50]), rows[50:])
    off = np.abs(mean - logs(rows[50:]))
    assert np.median(np.expm1(off)) < 0.08
    assert rank_correlation(mean, logs(rows[50:])) > 0.985
    assert 0.7 < np.mean(off < 1.28 * sd) < 0.95
    assert np.mean(off < 1.96 * sd) > 0.88


def test_latency_model_cross_validation_shows_the_error_on_others(rows):
    said = LatencyModel.fit(rows[:50]).leave_one_out()
    mean, _ = predicted(LatencyModel.fit(rows[:50]), rows[50:])
    truth = np.median(np.abs(np.expm1(mean - logs(rows[50:]))))
    assert 0.5 * truth < said.median_error < 2 * truth
    assert said.rows == 50 and said.rank_correlation > 0.985
    assert str(said).startswith("typical error ") and str(said).endswith("over 50)")


def test_latency_model_of_under_six_rows_is_none(rows):
    assert LatencyModel.fit(rows[:5]) is None
    mean, sd = predicted(LatencyModel.fit(rows[:6]), rows)
    assert np.all(np.isfinite(mean)) and np.all(sd >= 0.01)


def test_latency_model_is_robust_to_one_disturbed_measurement(rows):
    slowest = max(range(28), key=lambda at: rows[at][2])
    cost, hw, ms = rows[3]
    assert slowest != 3
    clean, _ = predicted(LatencyModel.fit(rows[:28]), rows)
    disturbed = [*rows[:3], (cost, hw, 3 * ms), *rows[4:28]]
    mean, _ = predicted(LatencyModel.fit(disturbed), rows)
    assert np.median(np.abs(mean - clean)) < 0.03
    assert mean[3] < math.log(2 * ms)


def test_latency_model_is_less_certain_far_from_measurements(rows):
    small = [row for row in rows if row[2] < 1][:40]
    model = LatencyModel.fit(small)
    large = max(rows, key=lambda row: row[2])
    assert predicted(model, [large])[1] > 2 * np.median(predicted(model, small)[1])


def test_latency_model_of_equal_costs_differs_by_noise_only(rows):
    same = [(*rows[0][:2], ms) for ms in (1.0, 1.01, 0.99, 1.02, 0.98, 1.0, 1.01)]
    mean, sd = predicted(LatencyModel.fit(same), same)
    assert mean == pytest.approx(np.zeros(7), abs=0.02) and np.all(sd < 0.1)


def test_latency_model_accepts_costs_without_counts_by_kind(rows):
    old = [
        (Cost(params=c.params, macs=c.macs, activation_bytes=c.activation_bytes), hw, ms)
        for c, hw, ms in rows
    ]
    mean, _ = predicted(LatencyModel.fit(old[:50]), old[50:])
    assert np.median(np.abs(mean - logs(rows[50:]))) < 0.12


def test_verdict_states_the_accuracy_of_latency_predictions():
    candidates = list(space_of(RESOLUTION, WIDTH).candidates("expert"))
    seen = [make_evaluation(c, "measured", 1.0 + at) for at, c in enumerate(candidates)]
    assert measured_model(seen[:5]) is None
    said = str(measured_model(seen).leave_one_out())
    assert "rank correlation" in said and f"over {len(candidates)}" in said
