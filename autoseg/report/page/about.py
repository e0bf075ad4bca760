"""What a page tells of the run itself: the device, how calm it was, and how to repeat it."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from autoseg.core.records import Measurement
from autoseg.core.serialize import to_json
from autoseg.report.page import words
from autoseg.run.result import Result

Rows = list[tuple[str, str]]


def device_rows(result: Result) -> Rows:
    """The device as it said of itself, and as its measurements found it."""
    info = to_json(result.measured_on) if result.measured_on else {}
    named = {
        "name": "name", "model": "model", "runtime": "runtime", "provider": "provider",
        "threads": "threads", "affinity": "cores", "channel_step": "channel step",
        "boards": "boards side by side",
    }  # fmt: skip
    rows = [(shown, _text(info[name])) for name, shown in named.items() if info.get(name)]
    return [*rows, *condition_rows([m for e in result.evaluations for m in e.measurements])]


def condition_rows(taken: Sequence[Measurement]) -> Rows:
    """Clock, temperature, drift and warnings over all measurements."""
    if not taken:
        return [("measurements", "none")]
    screens = [m.phase for m in taken].count("screen")
    rows = [
        ("measurements", f"{screens} to screen, {len(taken) - screens} to confirm"),
        ("clock", _range([mhz for m in taken for mhz in m.clock_mhz or ()], "MHz")),
        ("governor", ", ".join(sorted({m.governor for m in taken if m.governor})) or NOT_SAID),
        ("temperature", _range([m.temperature_c for m in taken], "°C")),
        ("throttled", _throttled(taken)),
        ("drift", _drift([m.reference_ratio for m in taken])),
        ("other cores busy", _range([m.other_cores for m in taken], "cores")),
        ("blocks timed again", str(sum(m.redone_blocks for m in taken))),
    ]  # fmt: skip
    flags = {flag: sum(flag in m.flags for m in taken) for m in taken for flag in m.flags}
    rows += [(f"warning ({count}×)", flag) for flag, count in [*flags.items()][:MAX_FLAGS]]
    if len(flags) > MAX_FLAGS:
        rows.append(("more warnings", str(len(flags) - MAX_FLAGS)))
    return rows


NOT_SAID = "the device does not say"
MAX_FLAGS = 8


def _throttled(taken: Sequence[Measurement]) -> str:
    known = [m.throttled for m in taken if m.throttled is not None]
    return f"in {sum(known)} of {len(known)} measurements" if known else NOT_SAID


def _drift(ratios: Sequence[float | None]) -> str:
    known = [ratio for ratio in ratios if ratio is not None]
    if not known:
        return "not recorded"
    more = f"{100 * (max(known) - 1):.0f} % longer"
    return f"a reference model beside each one took up to {more} than on the calm device"


def _range(values: Sequence[float | None], unit: str) -> str:
    known = [value for value in values if value is not None]
    if not known:
        return NOT_SAID
    low, high = words.number(min(known), 4), words.number(max(known), 4)
    return f"{low} {unit}" if low == high else f"{low} to {high} {unit}"


def _text(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def command(result: Result) -> str:
    """The command that repeats the run, with its paths as they were typed."""
    if result.device is None:
        return result.declaration.command(result.folder.name)
    ceiling = str(result.declaration.max_latency)
    again = ["remeasure", result.folder.name, "--device", result.device]
    return shlex.join(["autoseg", *again, "--max-latency", ceiling])


def run_rows(result: Result, said: Mapping[str, Any]) -> Rows:
    """What was searched on what."""
    pictures = said.get("pictures") or {}
    knobs = said.get("knobs") or {}
    rows = {
        "run": result.folder.name,
        "data": said.get("data") or "the synthetic parcels",
        "pictures": ", ".join(f"{split} {count}" for split, count in pictures.items()),
        "data digest": said.get("data_digest"),
        "classes": ", ".join(map(str, said.get("classes") or ())),
        "space": f"{result.declaration.space}, {result.declaration.effort} effort",
        "knobs": "; ".join(f"{name}: {_text(values)}" for name, values in knobs.items()),
        "budget": said.get("budget") or (f"{said['trials']} trials" if said.get("trials") else ""),
        "seed": said.get("seed"),
        "searched with": said.get("sampler"),
        "trained on": _text_of(said.get("machine")),
        "versions": _text_of(said.get("versions")),
    }
    return [(name, str(value)) for name, value in rows.items() if value not in (None, "")]


def _text_of(facts: Mapping[str, Any] | None) -> str:
    return ", ".join(f"{name} {value}" for name, value in (facts or {}).items())
