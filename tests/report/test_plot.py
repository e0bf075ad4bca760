"""The Pareto plot draws whatever a run holds, down to nothing."""

import numpy as np
import pytest
from factories import make_candidate, make_evaluation, make_measurement, make_score
from PIL import Image

from autoseg.core.records import Constraints, Evaluation, State
from autoseg.report.plots import pareto_png

LIMIT_RGB = (0xB5, 0x54, 0x1C)
FRONT_RGB = (0x0B, 0x6E, 0x99)
STRUCK_RGB = (0xC0, 0x39, 0x2B)


def evaluation(ms: float, iou: float | None, state: State, epoch: int = 9) -> Evaluation:
    few_runs = make_measurement(
        ms, p50_ci_ms=(ms * 0.9, ms * 1.1), p90_ms=None, p90_ci_ms=None, p95_ms=None, p99_ms=None
    )
    scores = () if iou is None else (make_score(iou, epoch, source="onnx"),)
    return make_evaluation(make_candidate(a=ms), state, ms, *scores, measurements=(few_runs,))


def has(path, rgb) -> bool:
    pixels = np.asarray(Image.open(path).convert("RGB")).astype(int)
    return bool((abs(pixels - rgb).max(axis=2) < 12).sum() > 20)


FRONT = [evaluation(1, 0.9, "confirmed"), evaluation(3, 0.95, "confirmed")]
REST = [
    evaluation(2, 0.3, "stopped"),
    evaluation(4, 0.94, "scored"),
    evaluation(0.5, 0.91, "rejected"),
    evaluation(50, None, "too_slow"),
    make_evaluation(make_candidate(resolution=96), "failed", error="NaN"),
]


@pytest.mark.parametrize(
    ("evaluations", "shows", "lacks"),
    [
        ([], [LIMIT_RGB], [FRONT_RGB, STRUCK_RGB]),
        (FRONT[:1], [LIMIT_RGB, FRONT_RGB], [STRUCK_RGB]),
        (REST[3:], [LIMIT_RGB], [FRONT_RGB, STRUCK_RGB]),
        (FRONT + REST, [LIMIT_RGB, FRONT_RGB, STRUCK_RGB], []),
    ],
)
def test_pareto_png_shows_all_groups_of_candidates(tmp_path, evaluations, shows, lacks):
    path = tmp_path / "pareto.png"
    pareto_png(
        path,
        evaluations,
        Constraints(max_latency_ms=33, min_iou=0.85),
        baseline=REST[1],
    )
    assert all(has(path, rgb) for rgb in shows)
    assert not any(has(path, rgb) for rgb in lacks)


@pytest.mark.parametrize("statistic", ["p50", "p90", "p99", "mean"])
def test_pareto_png_draws_every_statistic(tmp_path, statistic):
    path = tmp_path / "pareto.png"
    pareto_png(path, FRONT, Constraints(max_latency_ms=3, min_iou=0.9, statistic=statistic))
    assert has(path, FRONT_RGB)
