"""The comparison with the space's baseline: it counts where the run has trained that network."""

from __future__ import annotations

from autoseg.core.records import Evaluation
from autoseg.run.relaxations import status_text
from autoseg.run.result import Result


def baseline_name(baseline: Evaluation | None) -> str:
    """How tables and legends call it: an untrained one has a latency and no IoU."""
    untrained = baseline is not None and baseline.iou is None
    return "untrained baseline" if untrained else "baseline"


def baseline_sentence(result: Result) -> str:
    """The most accurate pick beside a trained baseline, with both IoU; else empty."""
    baseline, chosen = result.baseline, result.pick("accurate")
    if baseline is None or chosen is None or baseline.candidate == chosen.candidate:
        return ""
    base, own = baseline.measurement, chosen.measurement
    if baseline.iou is None or base is None or own is None:
        return ""
    ratio = base.p50_ms / own.p50_ms
    speed = f"{ratio:.3g} times as fast" if ratio >= 1 else f"{1 / ratio:.3g} times as slow"
    return (
        f"the most accurate has IoU {chosen.iou:.4f}, and is {speed} as the baseline with IoU "
        f"{baseline.iou:.4f} ({status_text(baseline)})"
    )
