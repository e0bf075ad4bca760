"""The tables about the run itself: the device, its conditions, and how to repeat the run."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from autoseg.core.records import Measurement
from autoseg.core.serialize import to_json
from autoseg.report.page import formatting
from autoseg.report.page.tables import Fields
from autoseg.run.result import Result

NOT_REPORTED = "not reported by the device"
MAX_FLAGS = 8  # different warnings that are listed


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
    more = f"{100 * (max(known) - 1):.0f} %"
    return f"the reference model was up to {more} slower than on the idle device"


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
    ceiling = str(result.declaration.max_latency)
    again = ["remeasure", result.folder.name, "--device", result.device]
    return shlex.join(["autoseg", *again, "--max-latency", ceiling])


def run_fields(result: Result, declaration: Mapping[str, Any]) -> Fields:
    """Data, space, budget, machine and versions of the run."""
    pictures = declaration.get("pictures") or {}
    knobs = declaration.get("knobs") or {}
    rows = {
        "run": result.folder.name,
        "data": declaration.get("data") or "synthetic parcels",
        "pictures": ", ".join(f"{split} {count}" for split, count in pictures.items()),
        "data digest": declaration.get("data_digest"),
        "classes": ", ".join(map(str, declaration.get("classes") or ())),
        "space": f"{result.declaration.space}, {result.declaration.effort} effort",
        "knobs": "; ".join(f"{name}: {_text(values)}" for name, values in knobs.items()),
        "budget": declaration.get("budget")
        or (f"{declaration['trials']} trials" if declaration.get("trials") else ""),
        "seed": declaration.get("seed"),
        "sampler": declaration.get("sampler"),
        "trained on": _text_of(declaration.get("machine")),
        "versions": _text_of(declaration.get("versions")),
    }
    return [(name, str(value)) for name, value in rows.items() if value not in (None, "")]


def _text_of(facts: Mapping[str, Any] | None) -> str:
    return ", ".join(f"{name} {value}" for name, value in (facts or {}).items())
