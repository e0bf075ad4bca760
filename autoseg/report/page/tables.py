"""The tables of a page: candidates, facts about one model, the device, and the run itself."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from autoseg.core.diagnostics import Diagnostics
from autoseg.core.records import STATE_LABELS, Constraints, Evaluation, Measurement, Statistic
from autoseg.core.serialize import to_json
from autoseg.report.baseline import baseline_name
from autoseg.report.page import formatting
from autoseg.report.plot_data import POINT_LABELS, PlotPoint
from autoseg.run.result import Result
from autoseg.run.rows import (
    COLUMN_STATISTICS,
    Quantity,
    TableRow,
    beside_name,
    promised_name,
)

MAX_CLASSES = 20  # of a whole matrix; of more classes the largest confusions are listed
MAX_CONFUSIONS = 15
MIN_CONFUSION = 0.0005  # of the true pixels of a class
NOT_REPORTED = "not reported by the device"
MAX_FLAGS = 8  # different warnings that are listed
Fields = list[tuple[str, str]]


@dataclass(frozen=True)
class Cell:
    """The text of a cell, its sort key (a number or text) and a tooltip."""

    shown: str
    by: float | str
    more: str = ""
    link: str = ""


def _cell(shown: str, value: float | None, more: str = "") -> Cell:
    more = "" if more == formatting.NONE else more
    return Cell(shown, "" if value is None else float(value), more)


def columns(
    knobs: Sequence[str], constraints: Constraints, baseline: Evaluation | None
) -> list[str]:
    """The column names of `row_cells`."""
    promised = promised_name(constraints.statistic, constraints.latency)
    return [
        "#", f"{promised} ms", f"{beside_name(constraints)} ms", "IoU val", "IoU test", *knobs,
        f"× {baseline_name(baseline)}", "params", "MACs", "file", "state", "model",
    ]  # fmt: skip


def row_cells(
    point: PlotPoint, knobs: Sequence[str], statistic: Statistic, *, linked: bool = False
) -> list[Cell]:
    """One candidate, values with their intervals; `linked` if the page has a section about it."""
    row, label = point.row, STATE_LABELS[point.evaluation.state]
    link = f"#model-{point.key}" if linked else ""
    mark = " ".join([str(point.rank or ""), "★" if point.row.is_baseline else ""]).strip()
    around = formatting.interval(point.latency)
    if point.latency.statistic != statistic:
        around = f"{point.latency.statistic}: {around}"
    other, wide = row.beside(statistic), point.latency.doubt == "unusable"
    return [
        Cell(mark, float(point.rank) if point.rank else "", link=link if mark else ""),
        _cell("unusable" if wide else formatting.number(point.ms), point.ms, around),
        _cell(formatting.number(other.value), other.value, formatting.interval(other)),
        _cell(formatting.iou(point.iou), point.iou, formatting.interval(row["iou_val"])),
        _cell(formatting.iou(row["iou_test"].value), row["iou_test"].value),
        *(_knob(row.knob(knob)) for knob in knobs),
        _cell(formatting.number(speedup := row["speedup_vs_baseline"].value), speedup),
        _cell(formatting.count(params := row["params"].value), params),
        _cell(formatting.count(macs := row["macs"].value), macs),
        _cell(formatting.size(n_bytes := row["onnx_bytes"].value), n_bytes),
        Cell(label, label, point.evaluation.error or ""),
        Cell(point.key, point.key, link=link),
    ]


def _knob(value: int | float | str | None) -> Cell:
    shown = formatting.NONE if value is None else str(value)
    return Cell(shown, float(value) if isinstance(value, int | float) else shown)


def result_fields(point: PlotPoint) -> Fields:
    """State, latency, IoU, feasibility and knobs of a candidate."""
    row, evaluation, val = point.row, point.evaluation, point.evaluation.score("val")
    label, kind = STATE_LABELS[point.evaluation.state], POINT_LABELS[point.kind]
    fields = [("state", label if label == kind else f"{label}, {kind}")]
    if evaluation.error:
        fields.append(("reason", evaluation.error))
    latency = _with_interval(formatting.ms(point.ms), point.latency)
    fields.append((point.latency.name, latency))
    other = row.beside(point.latency.statistic or "p90")
    if other.value is not None:
        fields.append((other.name, _with_interval(formatting.ms(other.value), other)))
    for split in ("val", "test"):
        iou = row[f"iou_{split}"]
        if iou.value is not None:
            fields.append((f"IoU on {split}", _with_interval(formatting.iou(iou.value), iou)))
    if val:
        fields.append(("epochs", f"{val.epoch}{', decayed' if val.decayed else ''}"))
    if evaluation.p_feasible is not None:
        fields.append(("P(feasible)", f"{evaluation.p_feasible:.3f}"))
    return [*fields, ("knobs", str(evaluation.candidate))]


def _with_interval(text: str, quantity: Quantity) -> str:
    return text if quantity.ci95 is None else f"{text} (95 %: {formatting.interval(quantity)})"


def cost_fields(evaluation: Evaluation) -> Fields:
    """Parameters, MACs (in all and by kind of layer), file size, memory and loading time."""
    rows = []
    if cost := evaluation.cost:
        rows += [
            ("parameters", f"{cost.params:,}"),
            ("multiply-accumulates", formatting.count(cost.macs)),
            ("activations written (float32)", formatting.size(cost.activation_bytes)),
        ]
        kinds = ("depthwise convolutions", "1x1 convolutions", "other convolutions", "products")
        for name, kind in zip(kinds, cost.kinds, strict=False):
            if kind.macs and cost.macs:
                part = formatting.share(kind.macs / cost.macs)
                rows.append((name, f"{part} of MACs in {kind.layers} layers"))
    rows.append(("ONNX file", formatting.size(evaluation.onnx_bytes)))
    if measurement := evaluation.measurement:
        rows.append(("peak memory", formatting.size(measurement.peak_rss_bytes)))
        rows.append(("loading", formatting.ms(measurement.load_ms)))
    return rows


def latency_fields(row: TableRow) -> Fields:
    """The minimum, the mean and the percentiles of a model's runs."""
    measurement = row.evaluation.measurement
    if measurement is None:
        return []
    values = {name: row[f"latency_{name}_ms"].value for name in COLUMN_STATISTICS}
    found = {name: formatting.ms(value) for name, value in values.items() if value is not None}
    return [("min", formatting.ms(measurement.min_ms)), *found.items()]


@dataclass(frozen=True)
class Confusion:
    """Shares of the true pixels of each class: a whole matrix, or only the largest confusions
    (truth, predicted, share) where there are many classes."""

    names: Sequence[str]
    shares: Sequence[Sequence[float]]
    mistakes: Sequence[tuple[str, str, float]]


def confusion(diagnostics: Diagnostics | None, classes: Sequence[str]) -> Confusion | None:
    """The confusions of a model; None where they were not recorded."""
    if diagnostics is None or len(diagnostics.confusion) != len(classes):
        return None
    rows = [[count / (sum(row) or 1) for count in row] for row in diagnostics.confusion]
    if len(classes) <= MAX_CLASSES:
        return Confusion(classes, rows, [])
    wrong = [
        (classes[i], classes[j], share)
        for i, row in enumerate(rows)
        for j, share in enumerate(row)
        if i != j and share >= MIN_CONFUSION
    ]
    return Confusion(classes, [], sorted(wrong, key=lambda each: -each[2])[:MAX_CONFUSIONS])


def class_ious(evaluation: Evaluation, classes: Sequence[str]) -> list[tuple[str, float | None]]:
    """IoU of each class on val."""
    score = evaluation.score("val")
    if score is None or len(score.class_iou) != len(classes):
        return []
    return list(zip(classes, score.class_iou, strict=True))


def device_fields(result: Result) -> Fields:
    """The description of the device, and its conditions during the measurements."""
    info = to_json(result.measured_on) if result.measured_on else {}
    named = {
        "name": "name", "model": "model", "runtime": "runtime", "provider": "provider",
        "threads": "threads", "affinity": "cores", "channel_step": "channel step",
        "boards": "boards side by side",
    }  # fmt: skip
    rows = [(shown, _text(info[name])) for name, shown in named.items() if info.get(name)]
    return [*rows, *condition_fields([m for e in result.evaluations for m in e.measurements])]


def condition_fields(taken: Sequence[Measurement]) -> Fields:
    """Clock, temperature, drift and warnings over all measurements."""
    if not taken:
        return [("measurements", "none")]
    screens = [m.phase for m in taken].count("screen")
    rows = [
        ("measurements", f"{screens} screening, {len(taken) - screens} confirming"),
        ("clock", _range([mhz for m in taken for mhz in m.clock_mhz or ()], "MHz")),
        ("governor", ", ".join(sorted({m.governor for m in taken if m.governor})) or NOT_REPORTED),
        ("temperature", _range([m.temperature_c for m in taken], "°C")),
        ("throttled", _throttled(taken)),
        ("drift", _drift([m.reference_ratio for m in taken])),
        ("other cores busy", _range([m.other_cores for m in taken], "cores")),
        ("repeated blocks", str(sum(m.redone_blocks for m in taken))),
    ]  # fmt: skip
    flags = {flag: sum(flag in m.flags for m in taken) for m in taken for flag in m.flags}
    rows += [(f"warning ({count}×)", flag) for flag, count in [*flags.items()][:MAX_FLAGS]]
    if len(flags) > MAX_FLAGS:
        rows.append(("more warnings", str(len(flags) - MAX_FLAGS)))
    return rows


def _throttled(taken: Sequence[Measurement]) -> str:
    known = [m.throttled for m in taken if m.throttled is not None]
    return f"in {sum(known)} of {len(known)} measurements" if known else NOT_REPORTED


def _drift(ratios: Sequence[float | None]) -> str:
    known = [ratio for ratio in ratios if ratio is not None]
    if not known:
        return "not recorded"
    more = 100 * (max(known) - 1)
    return f"the reference model was up to {more:.0f} % slower than on the idle device"


def _range(values: Sequence[float | None], unit: str) -> str:
    known = [value for value in values if value is not None]
    if not known:
        return NOT_REPORTED
    low, high = formatting.number(min(known), 4), formatting.number(max(known), 4)
    return f"{low} {unit}" if low == high else f"{low} to {high} {unit}"


def _text(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def command(result: Result) -> str:
    """The command that repeats the run, with its paths as the user typed them."""
    if result.device is None:
        return result.declaration.command(result.folder.name)
    again = ["autoseg", "remeasure", result.folder.name, "--device", result.device]
    return shlex.join([*again, "--max-latency", str(result.declaration.max_latency)])


def iou_of(evaluations: Iterable[Evaluation]) -> str:
    """Of which classes the IoU of a run is; empty in older ledgers."""
    told = (score.iou_of for each in evaluations for score in each.scores if score.iou_of)
    return next((f"of {text}" for text in told), "")


def run_fields(result: Result, declaration: Mapping[str, Any]) -> Fields:
    """Data, space, budget, machine and versions of the run."""
    knobs, trials = declaration.get("knobs") or {}, declaration.get("trials")
    rows = {
        "run": result.folder.name,
        "data": declaration.get("data") or "synthetic parcels",
        "pictures": _text_of(declaration.get("pictures")),
        "data digest": declaration.get("data_digest"),
        "classes": _text(declaration.get("classes") or ()),
        "IoU": iou_of(result.evaluations),
        "space": f"{result.declaration.space}, {result.declaration.effort} effort",
        "knobs": "; ".join(f"{name}: {_text(values)}" for name, values in knobs.items()),
        "budget": declaration.get("budget") or (f"{trials} trials" if trials else ""),
        "seed": declaration.get("seed"),
        "sampler": declaration.get("sampler"),
        "trained on": _text_of(declaration.get("machine")),
        "versions": _text_of(declaration.get("versions")),
    }
    return [(name, str(value)) for name, value in rows.items() if value not in (None, "")]


def _text_of(facts: Mapping[str, Any] | None) -> str:
    return ", ".join(f"{name} {value}" for name, value in (facts or {}).items())
