"""Which knob matters: known effects are found again, and little is claimed of little."""

import random

import pytest
from factories import make_evaluation, make_score

from autoseg.core.records import Candidate, Evaluation
from autoseg.report.importance import FEWEST, iou_importance, latency_importance


def evaluations(count: int, noise: float = 0.02, seed: int = 0) -> list[Evaluation]:
    """Latency doubles with b and is 10 % longer with c; IoU goes with c alone; d does nothing."""
    rng = random.Random(seed)
    found = []
    for n in range(count):
        b, c, d = rng.choice([1, 2, 4]), rng.choice(["x", "y"]), rng.choice([0, 1])
        ms = b * (1.1 if c == "y" else 1.0) * (1 + noise * rng.random())
        epoch = rng.choice([3, 9])
        iou = 0.8 + 0.05 * (c == "y") + 0.02 * (epoch == 9) + 0.1 * noise * rng.random()
        candidate = Candidate.of("toy", {"b": b, "c": c, "d": d, "same": 7, "n": n % 2})
        found.append(make_evaluation(candidate, "scored", ms, make_score(iou, epoch)))
    return found


def test_importance_finds_known_effects():
    found = latency_importance(evaluations(120), "p50")
    effects = {e.knob: e for e in found.effects}
    assert [e.knob for e in found.effects][:2] == ["b", "c"]
    assert "same" not in effects
    assert effects["b"].share > 0.95
    assert effects["b"].swing == pytest.approx(4, rel=0.05)
    assert effects["c"].swing == pytest.approx(1.1, rel=0.03)
    assert (effects["b"].worst, effects["b"].best) == (4, 1)
    low, high = effects["b"].share_ci90
    assert low < effects["b"].share <= high
    assert found.explained > 0.95


def test_importance_does_not_take_epochs_for_a_knob():
    found = iou_importance(evaluations(120))
    assert found.effects[0].knob == "c"
    assert found.effects[0].share > 0.95
    assert found.effects[0].swing == pytest.approx(0.05, rel=0.1)


def test_importance_reports_noise_as_noise():
    rng = random.Random(1)
    told = [
        make_evaluation(e.candidate, "scored", 1.0, make_score(rng.random(), 3))
        for e in evaluations(40)
    ]
    assert iou_importance(told).explained < 0.2


def test_importance_of_too_few_candidates_is_empty():
    assert latency_importance(evaluations(FEWEST - 1), "p50") is None
    assert iou_importance([]) is None
    alike = [evaluations(1)[0]] * 20
    assert latency_importance(alike, "p50") is None
