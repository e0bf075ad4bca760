"""Evaluations as a table, and the front as files."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import pandas as pd

from autoseg.front import PICKS, front_of, hypervolume, pick, point
from autoseg.records import Candidate, Constraints, Evaluation, Statistic, to_json
from autoseg.store import write_atomically

_WHOLE = ("rank", "params", "macs", "onnx_bytes")
_REAL = (
    "latency_p50_ms",
    "latency_p90_ms",
    "iou_val",
    "iou_test",
    "p_feasible",
    "speedup_vs_baseline",
)


class Outcome(Protocol):
    """What the files of a front are made of; `autoseg.Result` is one."""

    @property
    def folder(self) -> Path: ...
    @property
    def evaluations(self) -> Sequence[Evaluation]: ...
    @property
    def constraints(self) -> Constraints: ...
    @property
    def baseline(self) -> Candidate: ...
    @property
    def verdict(self) -> Sequence[str]: ...
    @property
    def spent_s(self) -> float: ...
    def misses(self) -> list[str]: ...


def to_pandas(
    evaluations: Sequence[Evaluation],
    baseline: Candidate | None = None,
    *,
    statistic: Statistic = "p90",
) -> pd.DataFrame:
    """One row an evaluation, the front first and fastest first, then the rest by latency.

    `rank` counts the front (over `statistic` and val IoU) from 1 and is missing elsewhere, as is
    every figure that nobody took. `speedup_vs_baseline` is the baseline's median over this one's.
    Latencies are of the measurement that counts, in ms; each knob is a column.
    """
    best = front_of(evaluations, statistic)
    ranks = {e.candidate.key: rank for rank, e in enumerate(best, start=1)}
    rest = sorted((e for e in evaluations if e.candidate.key not in ranks), key=_median_ms)
    knobs = list(dict.fromkeys(name for e in evaluations for name, _ in e.candidate.choices))
    base_ms = min((_median_ms(e) for e in evaluations if e.candidate == baseline), default=None)
    rows = [_row(e, ranks.get(e.candidate.key), knobs, base_ms) for e in [*best, *rest]]
    table = pd.DataFrame(rows, columns=_columns(knobs))
    kinds = {name: "Int64" for name in _WHOLE} | {name: "float64" for name in _REAL}
    return table.astype(kinds)


def front_json(result: Outcome) -> dict[str, Any]:
    """The front as JSON data: constraints, picks (keys), hypervolume, records, and misses.

    The records are as `records.to_json` gives them, fastest first.
    """
    constraints, best = result.constraints, front_of(result.evaluations, _promised(result))
    points = [at for e in best if (at := point(e, constraints.statistic)) is not None]
    picks = {how: pick(best, how, constraints) for how in PICKS}
    return {
        "run": result.folder.name,
        "constraints": to_json(constraints),
        "hypervolume": hypervolume(points, constraints),
        "picks": {how: chosen.candidate.key if chosen else None for how, chosen in picks.items()},
        "verdict": list(result.verdict),
        "spent_s": result.spent_s,
        "baseline": to_json(result.baseline),
        "front": [to_json(e) for e in best],
        "misses": result.misses(),
    }


def write_front(result: Outcome) -> None:
    """Writes `front.csv` (the table's rows of the front) and `front.json` into the run's folder.

    Each appears whole or not at all.
    """
    table = to_pandas(result.evaluations, result.baseline, statistic=_promised(result))
    rows = table[table["rank"].notna()]
    write_atomically(result.folder / "front.csv", rows.to_csv(index=False))
    text = json.dumps(front_json(result), indent=1, allow_nan=False)
    write_atomically(result.folder / "front.json", text + "\n")


def _promised(result: Outcome) -> Statistic:
    return result.constraints.statistic


def _columns(knobs: Sequence[str]) -> list[str]:
    return [
        "rank", "key", "state", *knobs, "params", "macs", "latency_p50_ms", "latency_p90_ms",
        "iou_val", "iou_test", "onnx_bytes", "p_feasible", "speedup_vs_baseline", "error",
    ]  # fmt: skip


def _row(
    evaluation: Evaluation, rank: int | None, knobs: Sequence[str], base_ms: float | None
) -> Mapping[str, Any]:
    measurement, cost = evaluation.measurement, evaluation.cost
    choices, test = dict(evaluation.candidate.choices), evaluation.score("test")
    speedup = base_ms / measurement.p50_ms if base_ms and measurement else None
    return {
        "rank": rank,
        "key": evaluation.candidate.key,
        "state": evaluation.state,
        **{name: choices.get(name) for name in knobs},
        "params": cost.params if cost else None,
        "macs": cost.macs if cost else None,
        "latency_p50_ms": measurement.p50_ms if measurement else None,
        "latency_p90_ms": measurement.p90_ms if measurement else None,
        "iou_val": evaluation.iou,
        "iou_test": test.iou if test else None,
        "onnx_bytes": evaluation.onnx_bytes,
        "p_feasible": evaluation.p_feasible,
        "speedup_vs_baseline": speedup if speedup and math.isfinite(speedup) else None,
        "error": evaluation.error,
    }


def _median_ms(evaluation: Evaluation) -> float:
    return evaluation.measurement.p50_ms if evaluation.measurement else math.inf
