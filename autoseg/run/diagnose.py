"""Profiles the confirmed front on its device. Reporting only: decides nothing.

It is the last step. What cannot be found out is left out, with a warning.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

from autoseg.core.diagnostics import Diagnostics, read_diagnostics, write_diagnostics
from autoseg.core.errors import DeviceError
from autoseg.core.pareto import front_of
from autoseg.core.records import Evaluation
from autoseg.core.serialize import file_digest
from autoseg.device.profiling import operators_of
from autoseg.run.confirm import maps_from, val_counts, write_val_diagnostics
from autoseg.run.context import RunContext, quiet
from autoseg.search.overheads import BUNDLE_S, FILES_S, PROFILE_S
from autoseg.train.task import split_arrays

log = logging.getLogger(__name__)

Value = TypeVar("Value")


def diagnose(context: RunContext) -> None:
    """Profile each model on the front once; a continued run keeps earlier profiles."""
    front = front_of(context.run.evaluations.values(), context.constraints.statistic)
    confirmed = [e for e in front if e.state == "confirmed"]
    waiting = [e for e in confirmed if not _done(context, e)]
    if not waiting:
        return
    files_s, profile_s = FILES_S + BUNDLE_S * len(confirmed), PROFILE_S
    for number, evaluation in enumerate(waiting):
        left_s, began_at = context.remaining_s, time.monotonic()
        if left_s is not None and left_s <= files_s + profile_s:
            left = len(waiting) - number
            context.run.notify(f"no time was left to profile {left} model(s)")
            return
        candidate = evaluation.candidate
        context.run.report_activity(candidate, f"profiling {candidate}")
        try:
            _diagnose_one(context, evaluation)
        except DeviceError as error:  # each further model would wait for a lost board again
            log.warning("models were not profiled: %s", error)
            return
        profile_s = time.monotonic() - began_at


def _diagnose_one(context: RunContext, evaluation: Evaluation) -> None:
    began = time.monotonic()
    key, onnx = evaluation.candidate.key, context.run.artifact(evaluation.candidate)
    times = evaluation.measurement.times("model") if evaluation.measurement else None
    run_ms = times.p50_ms if times else 0.0
    known = _tried(key, lambda: _known(context, evaluation))
    if known is None:
        return
    with quiet(context):
        operators = _tried(key, lambda: operators_of(context.device, onnx, run_ms)) or ()
    found = replace(known, operators=operators)
    _tried(key, lambda: write_diagnostics(context.run.place, key, found))
    log.debug("%s: profiled in %.1f s", key, time.monotonic() - began)


def _tried(key: str, find: Callable[[], Value]) -> Value | None:
    try:
        return find()
    except DeviceError:
        raise
    # A device may be the user's own class, and nothing depends on these figures.
    except Exception as error:
        log.warning("%s: its profile is not complete: %s", key, error)
        return None


def _done(context: RunContext, evaluation: Evaluation) -> bool:
    found = _of_same_file(context, evaluation)
    return found is not None and bool(found.operators)


def _of_same_file(context: RunContext, evaluation: Evaluation) -> Diagnostics | None:
    found = read_diagnostics(context.run.place, evaluation.candidate.key)
    measurement = evaluation.measurement
    same = found and measurement and found.onnx_digest == measurement.onnx_digest
    return found if same else None


def _known(context: RunContext, evaluation: Evaluation) -> Diagnostics | None:
    """The diagnostics that confirming wrote; written again where they are missing or damaged."""
    if found := _of_same_file(context, evaluation):
        return found
    candidate, score = evaluation.candidate, evaluation.promised
    onnx = context.run.artifact(candidate)
    measurement = evaluation.measurement
    if score is None or measurement is None or file_digest(onnx) != measurement.onnx_digest:
        return None
    val = split_arrays(context.task, candidate, "val")
    maps = maps_from(score.source, context, onnx, val)
    write_val_diagnostics(context, candidate, score, maps, val_counts(context, maps))
    return _of_same_file(context, evaluation)
