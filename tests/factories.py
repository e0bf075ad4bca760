"""Records made by hand; a field that a test does not set has a plain default."""

from dataclasses import replace

from autoseg.core.records import (
    Candidate,
    Cost,
    Evaluation,
    FrameParts,
    Measurement,
    RunTimes,
    Score,
    State,
)
from autoseg.core.units import Choice


def make_candidate(**knobs: Choice) -> Candidate:
    return Candidate.of("toy", {"resolution": 64, **knobs})


def make_cost(p50_ms: float = 1.0) -> Cost:
    """A cost in proportion to a latency."""
    return Cost(params=1000, macs=round(1e6 * p50_ms), activation_bytes=round(1e5 * p50_ms))


def make_measurement(p50_ms: float = 1.0, **fields) -> Measurement:
    """Every statistic is the median, and every interval is 1 % wide, unless a field says else."""
    ci = (0.995 * p50_ms, 1.005 * p50_ms)
    default = {
        "device": "fake", "phase": "screen", "runtime": "none", "threads": 1, "provider": "CPU",
        "runs": 1024, "warmup": 1, "min_ms": p50_ms, "mean_ms": p50_ms, "std_ms": 0.05 * p50_ms,
        "p50_ms": p50_ms, "p50_ci_ms": ci, "p90_ms": p50_ms, "p90_ci_ms": ci, "p95_ms": p50_ms,
        "p99_ms": p50_ms, "load_ms": 1.0, "peak_rss_bytes": 1, "onnx_digest": "d",
        "taken_at": "now",
    }  # fmt: skip
    return Measurement(**{**default, **fields})


def make_times(p50_ms: float) -> RunTimes:
    """The figures of a latency that is not promised, with intervals of 1 %."""
    ci = (0.995 * p50_ms, 1.005 * p50_ms)
    return RunTimes(runs=36, p50_ms=p50_ms, p50_ci_ms=ci, p90_ms=p50_ms, p90_ci_ms=ci)


def with_frame(measured: Measurement, into: float = 0.4, back: float = 0.2) -> Measurement:
    """A measurement of a model with that of whole frames of 640x480 beside it."""
    parts = FrameParts(
        hw=(480, 640), resize_ms=into, inference_ms=measured.p50_ms, resize_back_ms=back
    )
    return replace(measured, frame=parts, beside=make_times(measured.p50_ms + into + back))


def make_score(iou: float = 0.9, epoch: int = 3, *, wide: float = 0.01, **fields) -> Score:
    """A score on val whose interval reaches `wide` to either side; an epoch takes a second."""
    default = {
        "split": "val", "source": "torch", "iou": iou, "iou_ci95": (iou - wide, iou + wide),
        "class_iou": (iou, iou), "pixel_accuracy": iou, "epoch": epoch, "train_s": float(epoch),
        "seed": 0,
    }  # fmt: skip
    return Score(**{**default, **fields})


def make_evaluation(
    candidate: Candidate,
    state: State = "scored",
    p50_ms: float | None = None,
    *scores: Score,
    **fields,
) -> Evaluation:
    """A candidate measured at a latency, with a cost that fits it; unmeasured without one."""
    default = {"scores": scores}
    if p50_ms is not None:
        measurements = (make_measurement(p50_ms),)
        default |= {"cost": make_cost(p50_ms), "onnx_bytes": 100, "measurements": measurements}
    return Evaluation(candidate=candidate, state=state, **{**default, **fields})
