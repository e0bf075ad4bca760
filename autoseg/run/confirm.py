"""The final check: measures and scores the exported, trained file on device, val and test."""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import numpy as np

from autoseg.core.diagnostics import Diagnostics, write_diagnostics, write_sheet
from autoseg.core.errors import CandidateError, DeviceError
from autoseg.core.feasibility import (
    MIN_P_FEASIBLE,
    p_latency_met,
    rejection_reason,
    unusable,
)
from autoseg.core.records import Candidate, Evaluation, Job, Measurement, MeasurePlan, Score
from autoseg.core.serialize import file_digest, to_json
from autoseg.data.cache import SplitArrays
from autoseg.data.dataset import Array
from autoseg.device.session import class_maps
from autoseg.export.to_onnx import check
from autoseg.run.context import RunContext, export_candidate, measure
from autoseg.train.checkpoints import trained_network
from autoseg.train.contact_sheet import MAX_ROWS_AT_CONFIRMATION, drawn, examples_of
from autoseg.train.metrics import Counts
from autoseg.train.scoring import picture_counts, picture_score, score_of
from autoseg.train.task import split_arrays

log = logging.getLogger(__name__)

SAMPLE = 12  # val pictures on which the device's class maps are compared with this machine's
# Seconds of measuring again: starting, and a share of those that the counted runs took.
RETAKE_START_S, RETAKE_SHARE = 5.0, 1.5
MIN_AGREEMENT = 0.995  # share of their pixels; below it, the device's own class maps are scored


def confirm_one(context: RunContext, job: Job, onnx: Path | None = None) -> None:
    """Confirm or reject a trained candidate by its exported file, on the device and on val.

    `onnx` is that file if an earlier confirmation has left it.
    """
    candidate, began = job.candidate, time.monotonic()
    context.run.report_activity(candidate, f"confirming {candidate}")
    val = split_arrays(context.task, candidate, "val")
    try:
        path = _trained_file(context, job, val, onnx)
        maps, source, agreement = _class_maps(context, path, val)
        counts = val_counts(context, maps)
        score = _score(context, job, counts, source)
        write_val_diagnostics(context, candidate, score, maps, counts)
        # Last, since it takes longest on a board.
        measurement = measure(context, path, _plan(context, score))
    except CandidateError as error:
        context.run.record("failed", candidate, reason=str(error))
        return
    if source == "board":
        flag = _disagreement(context, agreement)
        log.warning("%s: %s", candidate.key, flag)
        measurement = replace(measurement, flags=(*measurement.flags, flag))
    took_s = time.monotonic() - began
    _judge(context, candidate, score, measurement, agreement, took_s)


def _judge(
    context: RunContext,
    candidate: Candidate,
    score: Score,
    measurement: Measurement,
    agreement: float | None,
    took_s: float,
) -> None:
    """Record that the figures of an exported file hold, or why they do not."""
    p_feasible = p_latency_met(measurement, context.constraints) * (score.p_floor or 0.0)
    holds = p_feasible >= MIN_P_FEASIBLE
    context.run.record(
        "confirmed" if holds else "rejected",
        candidate,
        score=to_json(score),
        measurement=to_json(measurement),
        onnx_bytes=context.run.artifact(candidate).stat().st_size,
        p_feasible=p_feasible,
        agreement=agreement,
        took_s=round(took_s, 3),
        reason=None if holds else rejection_reason(measurement, score, context.constraints),
    )


def retake_unusable(context: RunContext) -> None:
    """Measure once more, after all others, those whose latency its own interval makes useless."""
    for evaluation in list(context.run.evaluations.values()):
        score, found = evaluation.promised, evaluation.measurement
        if score is None or found is None or not _to_retake(context, evaluation):
            continue
        left_s, candidate = context.remaining_s, evaluation.candidate
        if left_s is not None and left_s < RETAKE_START_S + RETAKE_SHARE * found.timed_s:
            continue
        began = time.monotonic()
        context.run.report_activity(candidate, f"measuring {candidate} again")
        try:
            again = measure(context, context.run.artifact(candidate), _plan(context, score))
        except CandidateError as error:
            context.run.record("failed", candidate, reason=str(error))
            continue
        took_s = time.monotonic() - began
        _judge(context, candidate, score, again, evaluation.agreement, took_s)


def _to_retake(context: RunContext, evaluation: Evaluation) -> bool:
    statistic = context.constraints.statistic
    confirmed = [m for m in evaluation.measurements if m.phase == "confirm"]
    last = confirmed[-1] if confirmed else None
    taken = sum(m.onnx_digest == last.onnx_digest for m in confirmed) if last else 0
    return last is not None and taken == 1 and unusable(last, statistic)


def _plan(context: RunContext, score: Score) -> MeasurePlan:
    """A long measurement only where the IoU holds; else the model is rejected in any case."""
    constraints = context.constraints
    if (score.p_floor or 0.0) < MIN_P_FEASIBLE:
        return MeasurePlan.screen(constraints, both=True)
    return MeasurePlan.confirm(
        constraints.statistic, latency=constraints.latency, frame_hw=constraints.frame_hw
    )


def _trained_file(context: RunContext, job: Job, val: SplitArrays, there: Path | None) -> Path:
    path = context.run.artifact(job.candidate)
    if there is not None:
        shutil.copyfile(there, path)
        return path
    net = trained_network(context.task, job)
    exported = export_candidate(context.task, net, job.candidate, path)
    check(exported, net, val.batch(range(min(16, len(val))))[0])
    return path


def _class_maps(
    context: RunContext, onnx: Path, val: SplitArrays
) -> tuple[list[Array], Literal["onnx", "board"], float]:
    """Class maps of val, their source, and the share of pixels where both runtimes agree."""
    ours = class_maps(onnx, val.frames())
    theirs = context.device.predict(onnx, val.frames(SAMPLE))
    pairs = zip(ours, theirs, strict=False)  # theirs is a sample
    same = [float(np.mean(a == b)) if a.shape == b.shape else 0.0 for a, b in pairs]
    agreement = float(np.mean(same))
    if agreement >= MIN_AGREEMENT:
        return ours, "onnx", agreement
    return maps_from("board", context, onnx, val), "board", agreement


def maps_from(source: str, context: RunContext, onnx: Path, frames: SplitArrays) -> list[Array]:
    """Class maps by the device ("board"), or by this machine's runtime."""
    if source != "board":
        return class_maps(onnx, frames.frames())
    maps = context.device.predict(onnx, frames.frames())
    highest = max((int(class_map.max(initial=0)) for class_map in maps), default=0)
    if len(maps) != len(frames) or highest >= len(context.task.dataset.classes):
        raise DeviceError(
            f"{context.device.describe().name} gave {len(maps)} class maps of "
            f"{len(frames)} pictures "
            f"with classes up to {highest}: its class maps cannot be used"
        )
    return maps


def _disagreement(context: RunContext, agreement: float) -> str:
    there, here = context.device.describe().runtime, version("onnxruntime")
    return (
        f"the board's class maps differ on {100 * (1 - agreement):.2g} % of pixels from this "
        f"machine's ({there} there, onnxruntime {here} here): the IoU is of the board's own maps"
    )


def val_counts(context: RunContext, maps: Iterable[Array]) -> Counts:
    """The confusion matrix of each picture of val, ``[N, C, C]``."""
    return picture_counts(
        context.task.dataset, maps, cache_dir=context.task.cache_dir, split="val"
    )


def write_val_diagnostics(
    context: RunContext, candidate: Candidate, score: Score, maps: Sequence[Array], counts: Counts
) -> None:
    """Write contact sheet and confusion matrix of the exported file on val, for reporting."""
    place, dataset = context.run.place, context.task.dataset
    examples = examples_of(dataset, MAX_ROWS_AT_CONFIRMATION)
    sheet = drawn(examples, dataset, candidate, score, maps=maps, counts=counts)
    write_sheet(place, candidate.key, sheet)
    digest = file_digest(context.run.artifact(candidate))
    confusion = tuple(tuple(int(pixels) for pixels in row) for row in counts.sum(0))
    try:
        write_diagnostics(place, candidate.key, Diagnostics(digest, confusion))
    except OSError as error:
        log.warning("%s: its diagnostics were not written (%s)", candidate.key, error)


def _score(context: RunContext, job: Job, counts: Counts, source: str) -> Score:
    trained = context.run.evaluations[job.candidate.key].score("val", source="torch")
    return score_of(
        context.task.dataset,
        counts,
        split="val",
        source=source,
        epoch=job.to_epoch,
        seed=context.task.seed,
        decayed=job.decay,
        min_iou=context.constraints.min_iou,
        **(_of_training(trained) if trained else {"train_s": 0.0}),
    )


def _of_training(score: Score) -> dict[str, Any]:
    """What all scores of the same weights say of their training."""
    names = ("train_s", "trained_on", "micro_batches")
    return {name: getattr(score, name) for name in names}


def read_test(context: RunContext) -> None:
    """Score confirmed and rejected models on test, once, after every choice; reporting only."""
    task = context.task
    if not task.dataset.splits.get("test"):
        return
    for evaluation in list(context.run.evaluations.values()):
        promised = evaluation.promised
        if promised is None or _tested(evaluation, promised):
            continue
        frames = split_arrays(task, evaluation.candidate, "test")
        onnx = context.run.artifact(evaluation.candidate)
        try:
            maps = maps_from(promised.source, context, onnx, frames)
        except CandidateError as error:
            context.run.record("failed", evaluation.candidate, reason=str(error))
            continue
        score = picture_score(
            task.dataset,
            maps,
            cache_dir=task.cache_dir,
            split="test",
            source=promised.source,
            epoch=promised.epoch,
            seed=promised.seed,
            decayed=promised.decayed,
            **_of_training(promised),
        )
        context.run.record("tested", evaluation.candidate, score=to_json(score))


def _tested(evaluation: Evaluation, promised: Score) -> bool:
    """Whether the last score on test is of the same weights, by the same runtime."""
    read = evaluation.score("test")
    of = (promised.source, promised.epoch, promised.decayed)
    return read is not None and (read.source, read.epoch, read.decayed) == of
