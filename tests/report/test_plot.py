"""The Pareto plot draws whatever a run holds, down to nothing."""

import numpy as np
import pytest
from PIL import Image

from autoseg.core.records import Candidate, Constraints, Evaluation, Measurement, Score, State
from autoseg.report.plots import pareto_png

LIMIT_RGB = (0xB5, 0x54, 0x1C)
FRONT_RGB = (0x0B, 0x6E, 0x99)
STRUCK_RGB = (0xC0, 0x39, 0x2B)


def evaluation(ms: float, iou: float | None, state: State, epoch: int = 9) -> Evaluation:
    measurement = Measurement(
        device="here",
        phase="confirm",
        runtime="ort",
        threads=1,
        provider="CPU",
        runs=2000,
        warmup=10,
        min_ms=ms,
        mean_ms=ms,
        std_ms=0.1,
        p50_ms=ms,
        p50_ci_ms=(ms * 0.9, ms * 1.1),
        p90_ms=None,
        p90_ci_ms=None,
        p95_ms=None,
        p99_ms=None,
        load_ms=5.0,
        peak_rss_bytes=10,
        onnx_digest="d",
        taken_at="now",
    )
    score = (
        None
        if iou is None
        else Score(
            split="val",
            source="onnx",
            iou=iou,
            iou_ci95=(iou, iou),
            class_iou=(iou,),
            pixel_accuracy=1,
            epoch=epoch,
            train_s=1,
            seed=0,
        )
    )
    return Evaluation(
        candidate=Candidate.of("toy", {"resolution": 64, "a": ms}),
        state=state,
        measurements=(measurement,),
        scores=(score,) if score else (),
    )


def has(path, rgb) -> bool:
    pixels = np.asarray(Image.open(path).convert("RGB")).astype(int)
    return bool((abs(pixels - rgb).max(axis=2) < 12).sum() > 20)


FRONT = [evaluation(1, 0.9, "confirmed"), evaluation(3, 0.95, "confirmed")]
REST = [
    evaluation(2, 0.3, "stopped"),
    evaluation(4, 0.94, "scored"),
    evaluation(0.5, 0.91, "rejected"),
    evaluation(50, None, "too_slow"),
    Evaluation(candidate=Candidate.of("toy", {"resolution": 96}), state="failed", error="NaN"),
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
def test_the_plot_shows_what_there_is(tmp_path, evaluations, shows, lacks):
    path = tmp_path / "pareto.png"
    pareto_png(path, evaluations, Constraints(33, 0.85), baseline=REST[1], title="toy")
    assert all(has(path, rgb) for rgb in shows)
    assert not any(has(path, rgb) for rgb in lacks)


@pytest.mark.parametrize("statistic", ["p50", "p90", "p99", "mean"])
def test_every_statistic_can_be_drawn(tmp_path, statistic):
    path = tmp_path / "pareto.png"
    pareto_png(path, FRONT, Constraints(3, 0.9, statistic))
    assert has(path, FRONT_RGB)
