"""For people to look at: where the time of each front model goes, on its device.

It comes last, and decides nothing: what cannot be found out is left out, and said.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeVar

import numpy as np

from autoseg.core.diagnostics import Diagnostics, OperatorTime, read_diagnostics, write_diagnostics
from autoseg.core.errors import DeviceError
from autoseg.core.pareto import front_of
from autoseg.core.records import Evaluation
from autoseg.core.serialize import file_digest
from autoseg.core.units import HW
from autoseg.data.cache import truths
from autoseg.device.profiling import Profiler
from autoseg.device.session import class_maps
from autoseg.run.confirm import own_maps, show
from autoseg.run.context import RunContext, quiet
from autoseg.train.scoring import picture_counts
from autoseg.train.task import split_arrays

log = logging.getLogger(__name__)

Layout = TypeVar("Layout")

NOTHING: tuple[OperatorTime, ...] = ()
FILES_S = 3.0  # of the budget, kept for the files that are written last


def exhibit(context: RunContext) -> None:
    """Once for each model on the front; a run that goes on finds what is there already."""
    front = front_of(context.run.evaluations.values(), context.constraints.statistic)
    confirmed = [e for e in front if e.state == "confirmed"]
    waiting = [e for e in confirmed if not _done(context, e)]
    if not waiting:
        return
    left: Sequence[Evaluation] = waiting
    breakdown = Profiler(context.device, picture_hw(context))
    while left and _time_left(context):
        first, *left = left
        context.run.announce(first.candidate, f"looking where the time of {first.candidate} goes")
        try:
            _exhibit_one(context, breakdown, first)
        except DeviceError as error:  # a lost board would be waited for, model by model
            log.warning("where the time of models goes was not found out: %s", error)
            return
    if left:
        context.run.say(f"no time was left to look where the time of {len(left)} model(s) goes")


def _exhibit_one(context: RunContext, breakdown: Profiler, evaluation: Evaluation) -> None:
    began = time.monotonic()
    key, onnx = evaluation.candidate.key, context.run.artifact(evaluation.candidate)
    run_ms = evaluation.measurement.p50_ms if evaluation.measurement else 0.0
    known = _found(key, lambda: _known(context, evaluation), None)
    if known is None:
        return
    with quiet(context):
        operators = _found(key, lambda: breakdown.operators(onnx, run_ms), NOTHING)
        frame = _found(key, lambda: breakdown.frame(onnx, run_ms), None)
    told = replace(known, operators=operators, frame=frame)
    _found(key, lambda: write_diagnostics(context.run.place, key, told), None)
    log.debug("%s: looked where its time goes in %.1f s", key, time.monotonic() - began)


def _found(key: str, find: Callable[[], Layout], otherwise: Layout) -> Layout:
    try:
        return find()
    except DeviceError:
        raise
    # A device may be of somebody's own making, and nothing depends on what is found here.
    except Exception as error:
        log.warning("%s: where its time goes was not found out: %s", key, error)
        return otherwise


def _done(context: RunContext, evaluation: Evaluation) -> bool:
    found = _same_file(context, evaluation)
    return found is not None and bool(found.operators or found.frame)


def _same_file(context: RunContext, evaluation: Evaluation) -> Diagnostics | None:
    found = read_diagnostics(context.run.place, evaluation.candidate.key)
    measurement = evaluation.measurement
    same = found and measurement and found.onnx_digest == measurement.onnx_digest
    return found if same else None


def _known(context: RunContext, evaluation: Evaluation) -> Diagnostics | None:
    """What confirming wrote down; made anew where it did not, or the file was damaged since."""
    if found := _same_file(context, evaluation):
        return found
    candidate, score = evaluation.candidate, evaluation.promised
    onnx = context.run.artifact(candidate)
    measurement = evaluation.measurement
    if score is None or measurement is None or file_digest(onnx) != measurement.onnx_digest:
        return None
    val = split_arrays(context.task, candidate, "val")
    own = score.source == "board"
    maps = own_maps(context, onnx, val) if own else class_maps(onnx, val.frames())
    counts = picture_counts(
        context.task.dataset, maps, cache_dir=context.task.cache_dir, split="val"
    )
    show(context, candidate, score, maps, counts)
    return _same_file(context, evaluation)


def _time_left(context: RunContext) -> bool:
    return context.remaining_s is None or context.remaining_s > FILES_S


def picture_hw(context: RunContext) -> HW:
    """The typical size of a picture of val: the median height and width."""
    dataset = context.task.dataset
    sizes = [sample.hw for sample in dataset.splits["val"] if all(sample.hw)]
    if not sizes:
        sizes = [truths(dataset, "val", context.task.cache_dir, 1)[0].shape]
    height, width = np.median(np.array(sizes), axis=0).astype(int).tolist()
    return height, width
