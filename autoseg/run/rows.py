"""Evaluations as table rows, each value with its unit, interval and statistic; the front as files.

Every table and plot of a run formats these rows: no other place computes a value of its own.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from autoseg.core.feasibility import latency_ci_ms, unusable
from autoseg.core.files import write_atomically
from autoseg.core.pareto import PICKS, front_of, hypervolume, pick, point, reason
from autoseg.core.records import (
    LATENCIES,
    OTHER_LATENCY,
    SCHEMA,
    Constraints,
    Evaluation,
    Latency,
    Measurement,
    RunTimes,
    Score,
    Statistic,
    statistic_name,
)
from autoseg.core.serialize import to_json
from autoseg.search.status import p50_ms

if TYPE_CHECKING:
    import pandas

Interval = tuple[float, float]

COLUMN_STATISTICS: tuple[Statistic, ...] = ("mean", "p50", "p90", "p95", "p99")
# Of the model alone and of the whole frame, and the parts of a frame beside the model.
BOTH: tuple[Statistic, ...] = ("p50", "p90")
RESIZES = ("resize_ms", "resize_back_ms")
_INTEGERS = ("rank", "params", "macs", "onnx_bytes")
_TEXTS = ("key", "state", "flags", "error")


@dataclass(frozen=True)
class Quantity:
    """One value of a row; `value` is None where it was not recorded.

    `ci95` is the 95 % interval in the same `unit`; `statistic` and `name` are set for latencies.
    `doubt` is set where the interval of a latency is wide: "rough" of a screening, "unusable" of a
    confirming measurement.
    """

    value: float | None = None
    unit: str = ""
    ci95: Interval | None = None
    statistic: Statistic | None = None
    name: str = ""
    doubt: Literal["", "rough", "unusable"] = ""

    def text(self, form: str, scale: float = 1.0) -> str:
        """The scaled value in a format of Python; empty without a value."""
        return "" if self.value is None else f"{scale * self.value:{form}}"

    def interval_text(self, form: str) -> str:
        """``"0.95 to 0.97"``; empty without an interval."""
        return " to ".join(f"{end:{form}}" for end in self.ci95 or ())


@dataclass(frozen=True)
class TableRow:
    """One evaluation as a row; `quantities` go by the names of the columns of `front.csv`.

    `rank` counts the front from 1, the fastest first, and is None elsewhere. While nothing is
    confirmed, it counts the front of the scored evaluations; `on_front` is then False.
    """

    evaluation: Evaluation
    quantities: Mapping[str, Quantity]
    rank: int | None = None
    is_baseline: bool = False

    def __getitem__(self, column: str) -> Quantity:
        return self.quantities[column]

    @property
    def key(self) -> str:
        return self.evaluation.candidate.key

    @property
    def on_front(self) -> bool:
        return self.rank is not None and self.evaluation.state == "confirmed"

    def latency(self, statistic: Statistic) -> Quantity:
        """The statistic, or the nearest lower one that the runs support."""
        return latency(self.evaluation.measurement, statistic)

    def beside(self, statistic: Statistic) -> Quantity:
        """The latency that is not promised: the whole frame's, or the model's beside it."""
        return beside(self.evaluation.measurement, statistic)

    def knob(self, name: str) -> Any:
        """The candidate's choice for a knob; None where the knob is not in use."""
        return dict(self.evaluation.candidate.choices).get(name)


def table_rows(
    evaluations: Sequence[Evaluation],
    statistic: Statistic,
    baseline: Evaluation | None = None,
) -> list[TableRow]:
    """One row an evaluation: the front over `statistic` and val IoU first, fastest first, then the
    rest by median latency."""
    best = front_of(evaluations, statistic)
    ranks = {e.candidate.key: rank for rank, e in enumerate(best, start=1)}
    rest = sorted((e for e in evaluations if e.candidate.key not in ranks), key=p50_ms)
    return [
        TableRow(
            evaluation,
            _quantities(evaluation, baseline),
            rank=ranks.get(evaluation.candidate.key),
            is_baseline=baseline is not None and evaluation.candidate == baseline.candidate,
        )
        for evaluation in [*best, *rest]
    ]


def latency(measurement: Measurement | None, statistic: Statistic) -> Quantity:
    """The statistic, or the nearest lower one that the runs support, in ms."""
    if measurement is None:
        return Quantity(unit="ms")
    name = measurement.supported(statistic)
    return Quantity(
        measurement.latency_ms(name),
        "ms",
        latency_ci_ms(measurement, name),
        statistic=name,
        name=promised_name(name, measurement.latency),
        doubt=_doubt(measurement, name),
    )


def _doubt(measurement: Measurement, statistic: Statistic) -> Literal["", "rough", "unusable"]:
    if not unusable(measurement, statistic):
        return ""
    return "rough" if measurement.phase == "screen" else "unusable"


def promised_name(statistic: Statistic, latency: Latency) -> str:
    """``"latency p90"`` of the model alone, or ``"frame p90"``."""
    return statistic_name(statistic, latency) if latency == "frame" else f"latency {statistic}"


def beside(measurement: Measurement | None, statistic: Statistic) -> Quantity:
    """The latency that is not promised, in ms: its p90, or its p50 beside a promised p50 and
    where its runs are too few. It is called "frame p90" or "model p90"."""
    if measurement is None:
        return Quantity(unit="ms")
    other, times = OTHER_LATENCY[measurement.latency], measurement.beside
    few = times is not None and times.p90_ms is None
    return _of_times(times, other, "p50" if few or statistic == "p50" else "p90")


def beside_name(constraints: Constraints) -> str:
    """What `beside` is of, as the head of a column: ``"frame p90"``, or ``"model p90"``."""
    statistic = "p50" if constraints.statistic == "p50" else "p90"
    return f"{OTHER_LATENCY[constraints.latency]} {statistic}"


def _of_times(times: RunTimes | None, latency: Latency, statistic: Statistic) -> Quantity:
    name = f"{latency} {statistic}"
    if times is None:
        return Quantity(unit="ms", statistic=statistic, name=name)
    p50, p90 = (times.p50_ms, times.p50_ci_ms), (times.p90_ms, times.p90_ci_ms)
    value, ci95 = p90 if statistic == "p90" else p50
    return Quantity(value, "ms", ci95, statistic, name)


def _quantities(evaluation: Evaluation, baseline: Evaluation | None) -> Mapping[str, Quantity]:
    cost = evaluation.cost
    return {
        "params": Quantity(cost.params if cost else None),
        "macs": Quantity(cost.macs if cost else None),
        **{
            f"latency_{name}_ms": _exact_latency(evaluation.measurement, name)
            for name in COLUMN_STATISTICS
        },
        **_both(evaluation.measurement),
        "iou_val": _iou(evaluation.score("val")),
        "iou_test": _iou(evaluation.score("test")),
        "onnx_bytes": Quantity(evaluation.onnx_bytes, "bytes"),
        "p_feasible": Quantity(evaluation.p_feasible),
        "agreement": Quantity(evaluation.agreement),
        "speedup_vs_baseline": Quantity(_speedup(evaluation, baseline), "x"),
    }


def _both(measurement: Measurement | None) -> Mapping[str, Quantity]:
    """The model's latency and the frame's, whichever is promised, and the resizes of a frame."""
    times = {of: measurement.times(of) if measurement else None for of in LATENCIES}
    frame = measurement.frame if measurement else None
    return {
        **{
            f"{latency}_{statistic}_ms": _of_times(each, latency, statistic)
            for latency, each in times.items()
            for statistic in BOTH
        },
        **{name: Quantity(getattr(frame, name) if frame else None, "ms") for name in RESIZES},
    }


def _exact_latency(measurement: Measurement | None, statistic: Statistic) -> Quantity:
    """Without a value where the runs do not support this very statistic."""
    supported = measurement is not None and measurement.supported(statistic) == statistic
    return latency(measurement if supported else None, statistic)


def _iou(score: Score | None) -> Quantity:
    return Quantity(score.iou, ci95=score.iou_ci95) if score else Quantity()


def _speedup(evaluation: Evaluation, baseline: Evaluation | None) -> float | None:
    """The baseline's median latency divided by this one's."""
    if not (evaluation.measurement and baseline and baseline.measurement):
        return None
    return baseline.measurement.p50_ms / evaluation.measurement.p50_ms


def to_pandas(
    evaluations: Sequence[Evaluation],
    baseline: Evaluation | None = None,
    *,
    statistic: Statistic = "p90",
) -> pandas.DataFrame:
    """The rows of `table_rows` as a table; values that were not recorded are missing.

    Latencies are those of the last measurement, in ms: `latency_*` of what is promised, `model_*`
    and `frame_*` of the model alone and of the whole frame; `iou_val_low` and `iou_val_high` are
    the 95 % interval of val IoU; each knob is a column. `speedup_vs_baseline` is the baseline's
    median latency divided by the candidate's; `baseline_trained` says whether the run trained it.
    `agreement` is the share of pixels whose class on the device equals that on this machine;
    `flags` are the warnings of the measurement.
    """
    import pandas as pd

    knobs = list(dict.fromkeys(name for e in evaluations for name, _ in e.candidate.choices))
    rows = table_rows(evaluations, statistic, baseline)
    columns = _columns(knobs)
    table = pd.DataFrame([_cells(row, knobs) for row in rows], columns=columns)
    table["baseline_trained"] = None if baseline is None else baseline.iou is not None
    dtypes = {name: "float64" for name in columns if name not in ("rank", "key", "state", *knobs)}
    dtypes |= dict.fromkeys(_INTEGERS, "Int64") | dict.fromkeys(_TEXTS, "string")
    dtypes["baseline_trained"] = "boolean"
    return table.astype(dtypes)


def _columns(knobs: Sequence[str]) -> list[str]:
    return [
        "rank", "key", "state", *knobs, "params", "macs",
        *(f"latency_{s}_ms" for s in COLUMN_STATISTICS),
        *(f"{latency}_{s}_ms" for latency in LATENCIES for s in BOTH), *RESIZES,
        "iou_val", "iou_val_low", "iou_val_high", "iou_test", "onnx_bytes", "p_feasible",
        "agreement", "speedup_vs_baseline", "baseline_trained", "flags", "error",
    ]  # fmt: skip


def _cells(row: TableRow, knobs: Sequence[str]) -> Mapping[str, Any]:
    evaluation, measurement = row.evaluation, row.evaluation.measurement
    low, high = row["iou_val"].ci95 or (None, None)
    return {
        "rank": row.rank,
        "key": row.key,
        "state": evaluation.state,
        **{name: row.knob(name) for name in knobs},
        **{name: quantity.value for name, quantity in row.quantities.items()},
        "iou_val_low": low,
        "iou_val_high": high,
        "flags": "; ".join(measurement.flags) or None if measurement else None,
        "error": evaluation.error,
    }


def write_front(
    run_dir: Path,
    evaluations: Sequence[Evaluation],
    constraints: Constraints,
    baseline: Evaluation | None = None,
) -> None:
    """Write `front.csv` (the table) and `front.json` (records, picks, hypervolume) into a run.

    Only the front of the given evaluations is written. Each file is replaced atomically;
    `front.json` holds the evaluations as `to_json` gives them.
    """
    best = front_of(evaluations, constraints.statistic)
    table = to_pandas(best, baseline, statistic=constraints.statistic)
    write_atomically(run_dir / "front.csv", table.to_csv(index=False))
    data = {"schema": SCHEMA, **front_json(best, constraints, baseline)}
    text = json.dumps(data, indent=1, allow_nan=False)
    write_atomically(run_dir / "front.json", text + "\n")


def front_json(
    best: Sequence[Evaluation], constraints: Constraints, baseline: Evaluation | None
) -> dict[str, Any]:
    """The fields of front.json; `best` is the front, fastest first."""
    points = [at for e in best if (at := point(e, constraints.statistic)) is not None]
    picks = {how: pick(best, how, constraints) for how in PICKS}
    return {
        "constraints": to_json(constraints),
        "hypervolume": hypervolume(points, constraints),
        "picks": {how: chosen.candidate.key if chosen else None for how, chosen in picks.items()},
        "reasons": {how: reason(how, best, constraints) or None for how in PICKS},
        "baseline": to_json(baseline) if baseline else None,
        "baseline_trained": None if baseline is None else baseline.iou is not None,
        "front": [to_json(e) for e in best],
    }
