"""The user attributes of a study and of its trials: plain values with units in their names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from autoseg.core.records import Constraints, Evaluation
from autoseg.run.rows import Quantity, TableRow, table_rows

# The fields of run.yaml that are attributes of their own; the whole file is one more attribute.
OPTIONS = (
    "data", "device", "effort", "space", "budget", "trials", "sampler", "workers", "seed",
)  # fmt: skip


def study_attributes(declaration: Mapping[str, Any]) -> dict[str, Any]:
    """The attributes of a study: constraints, options, classes, versions, and all of run.yaml."""
    found: dict[str, Any] = {}
    if "max_latency" in declaration:
        found["asked"] = (
            f"{declaration.get('statistic')} within {declaration['max_latency']}, "
            f"IoU of at least {declaration.get('min_iou')}"
        )
    found |= {name: declaration[name] for name in OPTIONS if declaration.get(name) is not None}
    if "classes" in declaration:
        found["classes"] = ", ".join(map(str, declaration["classes"]))
    if "versions" in declaration:
        found["versions"] = ", ".join(f"{k} {v}" for k, v in declaration["versions"].items())
    return {**found, "declaration": dict(declaration)}


def trial_attributes(evaluation: Evaluation, constraints: Constraints) -> dict[str, Any]:
    """The known attributes of a candidate's trial."""
    (row,) = table_rows([evaluation], constraints.statistic)
    val = evaluation.score("val")
    found: dict[str, Any] = {
        "key": row.key,
        "state": evaluation.state,
        "reason": _reason(evaluation, constraints),
        "params": row["params"].value,
        "MACs": row["macs"].value,
        **_measured(row),
        "IoU 95 %": row["iou_val"].interval_text(".4f"),
        "epochs": val.epoch if val else None,
        "train [s]": round(val.train_s, 1) if val else None,
        "IoU test": _rounded(row["iou_test"], 4),
        "size [bytes]": row["onnx_bytes"].value,
        "p_feasible": _rounded(row["p_feasible"], 3),
    }
    return {name: value for name, value in found.items() if value not in (None, "")}


def _reason(evaluation: Evaluation, constraints: Constraints) -> str | None:
    if evaluation.state == "too_slow" and evaluation.measurement:
        p50_ms, ceiling_ms = evaluation.measurement.p50_ms, constraints.max_latency_ms
        return f"too slow: p50 is {p50_ms:.3g} ms, the ceiling {ceiling_ms:g} ms"
    return evaluation.error


def _measured(row: TableRow) -> dict[str, Any]:
    measurement = row.evaluation.measurement
    if measurement is None:
        return {}
    found: dict[str, Any] = {"device": measurement.device}
    for name in ("p50", "p90"):
        latency = row[f"latency_{name}_ms"]
        if latency.value is not None:
            found[f"latency {name} [ms]"] = float(f"{latency.value:.5g}")
            found[f"latency {name} 95 %"] = f"{latency.interval_text('.4g')} ms"
    return {**found, "warnings": "; ".join(measurement.flags)}


def _rounded(quantity: Quantity, digits: int) -> float | None:
    return None if quantity.value is None else round(quantity.value, digits)
