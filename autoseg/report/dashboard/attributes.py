"""What is said of a study and its trials as user attributes: plain values, with their units."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from autoseg.core.records import Constraints, Evaluation, Measurement, Score

# Of run.yaml, what is shown each by itself; the whole of it is one more attribute.
ASKED = (
    "data", "device", "effort", "space", "budget", "trials", "sampler", "workers", "seed",
)  # fmt: skip


def stated(declaration: Mapping[str, Any]) -> dict[str, Any]:
    """The attributes of a study: what was asked for, on what, and run.yaml as it is."""
    said: dict[str, Any] = {}
    if "max_latency" in declaration:
        said["asked"] = (
            f"{declaration.get('statistic')} within {declaration['max_latency']}, "
            f"IoU of at least {declaration.get('min_iou')}"
        )
    said |= {name: declaration[name] for name in ASKED if declaration.get(name) is not None}
    if "classes" in declaration:
        said["classes"] = ", ".join(map(str, declaration["classes"]))
    if "versions" in declaration:
        said["versions"] = ", ".join(f"{k} {v}" for k, v in declaration["versions"].items())
    return {**said, "declaration": dict(declaration)}


def facts_of(evaluation: Evaluation, constraints: Constraints) -> dict[str, Any]:
    """The attributes of a candidate's trial, as far as they are known."""
    facts: dict[str, Any] = {"key": evaluation.candidate.key, "state": evaluation.state}
    if why := _why(evaluation, constraints):
        facts["reason"] = why
    if evaluation.cost:
        facts |= {"params": evaluation.cost.params, "MACs": evaluation.cost.macs}
    if evaluation.measurement:
        facts |= _timed(evaluation.measurement)
    if score := evaluation.score("val"):
        facts |= _scored(score)
    if test := evaluation.score("test"):
        facts["IoU test"] = round(test.iou, 4)
    if evaluation.onnx_bytes:
        facts["size [bytes]"] = evaluation.onnx_bytes
    if evaluation.p_feasible is not None:
        facts["p_feasible"] = round(evaluation.p_feasible, 3)
    return facts


def _why(evaluation: Evaluation, constraints: Constraints) -> str | None:
    if evaluation.state == "too_slow" and evaluation.measurement:
        needs = f"p50 is {evaluation.measurement.p50_ms:.3g} ms"
        return f"too slow: {needs}, the ceiling {constraints.max_latency_ms:g} ms"
    return evaluation.error


def _timed(measurement: Measurement) -> dict[str, Any]:
    facts: dict[str, Any] = {"device": measurement.device}
    for name in ("p50", "p90"):
        value, interval = getattr(measurement, f"{name}_ms"), getattr(measurement, f"{name}_ci_ms")
        if value is not None:
            facts[f"latency {name} [ms]"] = float(f"{value:.5g}")
        if interval is not None:
            facts[f"latency {name} 95 %"] = f"{interval[0]:.4g} to {interval[1]:.4g} ms"
    if measurement.flags:
        facts["warnings"] = "; ".join(measurement.flags)
    return facts


def _scored(score: Score) -> dict[str, Any]:
    low, high = score.iou_ci95
    return {
        "IoU 95 %": f"{low:.4f} to {high:.4f}",
        "epochs": score.epoch,
        "train [s]": round(score.train_s, 1),
    }
