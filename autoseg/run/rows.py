"""Rows: evaluations as a table, the front as CSV and JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from autoseg.core.pareto import PICKS, front_of, hypervolume, pick, point, reason
from autoseg.core.records import SCHEMA, Constraints, Evaluation, Statistic
from autoseg.core.serialize import to_json
from autoseg.run.store import write_atomically

_WHOLE = ("rank", "params", "macs", "onnx_bytes")
_REAL = (
    "latency_mean_ms",
    "latency_p50_ms",
    "latency_p90_ms",
    "latency_p95_ms",
    "latency_p99_ms",
    "iou_val",
    "iou_val_low",
    "iou_val_high",
    "iou_test",
    "p_feasible",
    "agreement",
    "speedup_vs_baseline",
)
_TEXT = ("key", "state", "flags", "error")


def to_pandas(
    evaluations: Sequence[Evaluation],
    baseline: Evaluation | None = None,
    *,
    statistic: Statistic = "p90",
) -> pd.DataFrame:
    """One row per evaluation, the front first and fastest first, then the rest by latency.

    `rank` counts the front (over `statistic` and val IoU) from 1. It is missing elsewhere, as is
    every figure not taken. `speedup_vs_baseline` is the baseline's median over this one's.
    Latencies are those of the last measurement, in ms; `iou_val_low` and `iou_val_high` are the
    95 % interval of val IoU; each knob is a column. `agreement` is the
    share of pixels where the device's class maps equal this machine's; `flags` are the warnings of
    the measurement.
    """
    best = front_of(evaluations, statistic)
    ranks = {e.candidate.key: rank for rank, e in enumerate(best, start=1)}
    rest = sorted((e for e in evaluations if e.candidate.key not in ranks), key=_median_ms)
    knobs = list(dict.fromkeys(name for e in evaluations for name, _ in e.candidate.choices))
    base_ms = _median_ms(baseline) if baseline else math.inf
    rows = [_row(e, ranks.get(e.candidate.key), knobs, base_ms) for e in [*best, *rest]]
    table = pd.DataFrame(rows, columns=_columns(knobs))
    kinds = {"Int64": _WHOLE, "float64": _REAL, "string": _TEXT}
    return table.astype({name: kind for kind, names in kinds.items() for name in names})


def write_front(
    run_dir: Path,
    evaluations: Sequence[Evaluation],
    constraints: Constraints,
    baseline: Evaluation | None = None,
) -> None:
    """Writes `front.csv` (the table) and `front.json` (records, picks, hypervolume) into a run.

    Only the front of the evaluations is written. Each file is written whole or not at all;
    `front.json` holds the evaluations as `serialize.to_json` gives them.
    """
    best = front_of(evaluations, constraints.statistic)
    table = to_pandas(best, baseline, statistic=constraints.statistic)
    write_atomically(run_dir / "front.csv", table.to_csv(index=False))
    facts = {"schema": SCHEMA, **front_json(best, constraints, baseline)}
    text = json.dumps(facts, indent=1, allow_nan=False)
    write_atomically(run_dir / "front.json", text + "\n")


def front_json(
    best: Sequence[Evaluation], constraints: Constraints, baseline: Evaluation | None
) -> dict[str, Any]:
    """The content of front.json for a front, fastest first."""
    points = [at for e in best if (at := point(e, constraints.statistic)) is not None]
    picks = {how: pick(best, how, constraints) for how in PICKS}
    return {
        "constraints": to_json(constraints),
        "hypervolume": hypervolume(points, constraints),
        "picks": {how: chosen.candidate.key if chosen else None for how, chosen in picks.items()},
        "reasons": {how: reason(how, best, constraints) or None for how in PICKS},
        "baseline": to_json(baseline) if baseline else None,
        "front": [to_json(e) for e in best],
    }


def _columns(knobs: Sequence[str]) -> list[str]:
    return [
        "rank", "key", "state", *knobs, "params", "macs", "latency_mean_ms", "latency_p50_ms",
        "latency_p90_ms", "latency_p95_ms", "latency_p99_ms", "iou_val", "iou_val_low",
        "iou_val_high", "iou_test", "onnx_bytes", "p_feasible", "agreement", "speedup_vs_baseline",
        "flags", "error",
    ]  # fmt: skip


def _row(
    evaluation: Evaluation, rank: int | None, knobs: Sequence[str], base_ms: float
) -> Mapping[str, Any]:
    measurement, cost = evaluation.measurement, evaluation.cost
    choices, test = dict(evaluation.candidate.choices), evaluation.score("test")
    low, high = val.iou_ci95 if (val := evaluation.score("val")) else (None, None)
    compares = measurement is not None and math.isfinite(base_ms)
    return {
        "rank": rank,
        "key": evaluation.candidate.key,
        "state": evaluation.state,
        **{name: choices.get(name) for name in knobs},
        "params": cost.params if cost else None,
        "macs": cost.macs if cost else None,
        "latency_mean_ms": measurement.mean_ms if measurement else None,
        "latency_p50_ms": measurement.p50_ms if measurement else None,
        "latency_p90_ms": measurement.p90_ms if measurement else None,
        "latency_p95_ms": measurement.p95_ms if measurement else None,
        "latency_p99_ms": measurement.p99_ms if measurement else None,
        "iou_val": evaluation.iou,
        "iou_val_low": low,
        "iou_val_high": high,
        "iou_test": test.iou if test else None,
        "onnx_bytes": evaluation.onnx_bytes,
        "p_feasible": evaluation.p_feasible,
        "agreement": evaluation.agreement,
        "speedup_vs_baseline": base_ms / _median_ms(evaluation) if compares else None,
        "flags": "; ".join(measurement.flags) or None if measurement else None,
        "error": evaluation.error,
    }


def _median_ms(evaluation: Evaluation) -> float:
    return evaluation.measurement.p50_ms if evaluation.measurement else math.inf
