"""What a journey does with one candidate: screen it, confirm it, read test.

Every event is in the ledger before anyone acts on it, and every step looks there first.
"""

from __future__ import annotations

import shutil
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext, suppress
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import numpy as np

from autoseg.cost import cost
from autoseg.data.cache import SplitArrays
from autoseg.data.dataset import Array
from autoseg.device import Device
from autoseg.device.predict import class_maps
from autoseg.export import Exported, check, export, structure_digest
from autoseg.promise import SURE, probability_fast, why_struck
from autoseg.records import (
    AutosegError,
    Candidate,
    CandidateError,
    Constraints,
    DeviceError,
    Evaluation,
    Job,
    Measurement,
    MeasurePlan,
    Score,
    digest,
    to_json,
)
from autoseg.seams import Engine, Pool
from autoseg.store import MeasurementCache, Run
from autoseg.train import (
    Task,
    channels_of,
    network,
    picture_score,
    split_arrays,
    trained_network,
)

Timing = Callable[[], Measurement]

SAMPLE = 12  # val pictures on which the device's class maps are compared with this machine's
ALIKE = 0.995  # of their pixels; below it, the IoU that is promised is of the device's own maps


@dataclass(frozen=True)
class Trip:
    """What a journey needs: who decides, who trains, who measures, and where it is written."""

    run: Run
    task: Task
    constraints: Constraints
    engine: Engine
    pool: Pool
    device: Device
    measured_before: MeasurementCache
    budget_s: float | None = None
    trials: int | None = None

    @property
    def allowance(self) -> list[float | None]:
        """What the search may use; a continued run that is given more searches on."""
        return [self.budget_s, self.trials]

    @property
    def remaining_s(self) -> float | None:
        return None if self.budget_s is None else self.budget_s - self.run.spent_s


def screen(trip: Trip, candidates: Iterable[Candidate]) -> None:
    """Latency first: it does not depend on the weights, and what is too slow is never trained.

    Several boards time side by side; what they said is written in the order of the candidates.
    """
    info = trip.device.describe()
    side_by_side = 1 if info.here else info.boards  # on one machine they would time each other
    waiting: deque[tuple[Candidate, Exported, Timing]] = deque()
    with ThreadPoolExecutor(side_by_side) as threads:
        try:
            for candidate in candidates:
                if exported := _untrained(trip, candidate):
                    timing: Timing = partial(_screen_measurement, trip, exported)
                    if side_by_side > 1:
                        timing = threads.submit(timing).result
                    waiting.append((candidate, exported, timing))
                if len(waiting) >= side_by_side:
                    _screened(trip, *waiting.popleft())
            while waiting:
                _screened(trip, *waiting.popleft())
        except AutosegError:  # a board is lost: what the others timed is paid for
            while waiting:
                with suppress(AutosegError):
                    _screened(trip, *waiting.popleft())
            raise


def _untrained(trip: Trip, candidate: Candidate) -> Exported | None:
    """The file to time, or None where the ledger has the answer, by now at least."""
    known = trip.run.evaluations.get(candidate.key)
    if known is not None and known.state != "proposed":
        return None
    trip.run.announce(candidate, f"measuring {candidate}")
    try:
        net, structure = _proposed(trip, candidate)
        same = _same_network(trip.run, candidate, structure)
        if same is None:
            return _export(trip, net, candidate, trip.run.artifact(candidate, "-untrained"))
        trip.run.record("stopped", candidate, reason=f"the same network as {same}")
    except CandidateError as error:
        trip.run.record("failed", candidate, reason=str(error))
    return None


def _screened(trip: Trip, candidate: Candidate, exported: Exported, timing: Timing) -> None:
    try:
        measurement = timing()
    except CandidateError as error:
        trip.run.record("failed", candidate, reason=str(error))
        return
    finally:
        exported.path.unlink(missing_ok=True)
    if trip.measured_before.get(identity := _identity(trip, exported)) is None:
        trip.measured_before.put(identity, measurement)
    trip.run.record(
        "measured",
        candidate,
        measurement=to_json(measurement),
        onnx_bytes=exported.size_bytes,
        too_slow=probability_fast(measurement, trip.constraints) < 1 - SURE,
    )


def _proposed(trip: Trip, candidate: Candidate) -> tuple[Any, str]:
    """The network and its digest; the ledger tells of a candidate even if it cannot be built."""
    known = candidate.key in trip.run.evaluations
    said = {"candidate": to_json(candidate)}
    try:
        net = network(trip.task, candidate)
        structure = structure_digest(net, candidate.input_hw)
        counted = to_json(cost(net, candidate.input_hw))
    except CandidateError:
        if not known:
            trip.run.record("proposed", candidate, **said, structure=None, cost=None)
        raise
    if not known:
        trip.run.record("proposed", candidate, **said, structure=structure, cost=counted)
    return net, structure


def _same_network(run: Run, candidate: Candidate, structure: str) -> str | None:
    for event in run.events:
        if event["event"] == "proposed" and event["structure"] == structure:
            return None if event["key"] == candidate.key else str(event["key"])
    return None


def _identity(trip: Trip, exported: Exported) -> str:
    # Screening stops at the ceiling: what was cut short for another one is not good enough here.
    asked = [trip.constraints.max_latency_ms, trip.constraints.statistic]
    return digest([exported.graph_digest, trip.device.describe().fingerprint, *asked])


def _screen_measurement(trip: Trip, exported: Exported) -> Measurement:
    known = trip.measured_before.get(_identity(trip, exported))
    return known or _measure(trip, exported.path, MeasurePlan.screen(trip.constraints))


def _measure(trip: Trip, onnx: Path, plan: MeasurePlan) -> Measurement:
    # A latency must never be timed while something trains on the same machine.
    with trip.pool.paused() if trip.device.describe().here else nullcontext():
        return trip.device.measure(onnx, plan)


def _export(trip: Trip, net: Any, candidate: Candidate, path: Path) -> Exported:
    return export(
        net,
        path,
        input_hw=candidate.input_hw,
        channels=channels_of(candidate),
        classes=trip.task.dataset.outputs,
        metadata={
            "classes": "\n".join(trip.task.dataset.classes),
            "knobs": str(candidate),
            "key": candidate.key,
            "input_hw": "x".join(map(str, candidate.input_hw)),
        },
    )


def confirm_one(trip: Trip, job: Job, onnx: Path | None = None) -> None:
    """Promise only what the exported file, with its trained weights, does on device and val.

    `onnx` is that file where an earlier confirmation has left it.
    """
    candidate = job.candidate
    trip.run.announce(candidate, f"confirming {candidate}")
    val = split_arrays(trip.task, candidate, "val")
    try:
        path = _trained_file(trip, job, val, onnx)
        maps, source, agreement = _class_maps(trip, path, val)
        # Last: of all this it is what takes longest on a board.
        measurement = _measure(trip, path, MeasurePlan.confirm(trip.constraints.statistic))
    except CandidateError as error:
        trip.run.record("failed", candidate, reason=str(error))
        return
    if source == "board":
        measurement = replace(measurement, flags=(*measurement.flags, _differs(trip, agreement)))
    score = _score(trip, job, maps, source)
    sure = probability_fast(measurement, trip.constraints) * (score.p_floor or 0.0)
    holds = sure >= SURE
    trip.run.record(
        "confirmed" if holds else "struck",
        candidate,
        score=to_json(score),
        measurement=to_json(measurement),
        onnx_bytes=path.stat().st_size,
        p_feasible=sure,
        agreement=agreement,
        reason=None if holds else why_struck(measurement, score, trip.constraints),
    )


def _trained_file(trip: Trip, job: Job, val: SplitArrays, there: Path | None) -> Path:
    path = trip.run.artifact(job.candidate)
    if there is not None:
        shutil.copyfile(there, path)
        return path
    net = trained_network(trip.task, job)
    exported = _export(trip, net, job.candidate, path)
    check(exported, net, val.batch(range(min(16, len(val))))[0])
    return path


def _class_maps(
    trip: Trip, onnx: Path, val: SplitArrays
) -> tuple[list[Array], Literal["onnx", "board"], float]:
    """Class maps of val, who made them, and the share of pixels where the device says the same."""
    ours = class_maps(onnx, val.frames())
    theirs = trip.device.predict(onnx, val.frames(SAMPLE))
    pairs = zip(ours, theirs, strict=False)  # theirs is a sample
    same = [float(np.mean(a == b)) if a.shape == b.shape else 0.0 for a, b in pairs]
    agreement = float(np.mean(same))
    if agreement >= ALIKE:
        return ours, "onnx", agreement
    return _own_maps(trip, onnx, val), "board", agreement


def _own_maps(trip: Trip, onnx: Path, frames: SplitArrays) -> list[Array]:
    """The device's class maps, which count where they are not this machine's."""
    maps = trip.device.predict(onnx, frames.frames())
    highest = max((int(class_map.max(initial=0)) for class_map in maps), default=0)
    if len(maps) != len(frames) or highest >= len(trip.task.dataset.classes):
        raise DeviceError(
            f"{trip.device.describe().name} gave {len(maps)} class maps of {len(frames)} pictures "
            f"with classes up to {highest}: its class maps cannot be used"
        )
    return maps


def _differs(trip: Trip, agreement: float) -> str:
    there, here = trip.device.describe().runtime, version("onnxruntime")
    return (
        f"the board's class maps differ on {100 * (1 - agreement):.2g} % of pixels from this "
        f"machine's ({there} there, onnxruntime {here} here): its IoU is of the board's own maps"
    )


def _score(trip: Trip, job: Job, maps: Iterable[Array], source: str) -> Score:
    trained = trip.run.evaluations[job.candidate.key].score("val", source="torch")
    return picture_score(
        trip.task.dataset,
        maps,
        cache_dir=trip.task.cache_dir,
        split="val",
        source=source,
        epoch=job.to_epoch,
        train_s=trained.train_s if trained else 0.0,
        seed=trip.task.seed,
        decayed=job.decay,
        min_iou=trip.constraints.min_iou,
    )


def read_test(trip: Trip) -> None:
    """Read test once, after the choice is made; it is reported and decides nothing."""
    task = trip.task
    if not task.dataset.splits.get("test"):
        return
    for evaluation in list(trip.run.evaluations.values()):
        promised = evaluation.promised
        if promised is None or _tested(evaluation, promised):
            continue
        frames = split_arrays(task, evaluation.candidate, "test")
        onnx = trip.run.artifact(evaluation.candidate)
        own = promised.source == "board"
        score = picture_score(
            task.dataset,
            _own_maps(trip, onnx, frames) if own else class_maps(onnx, frames.frames()),
            cache_dir=task.cache_dir,
            split="test",
            source=promised.source,
            epoch=promised.epoch,
            train_s=promised.train_s,
            seed=promised.seed,
            decayed=promised.decayed,
        )
        trip.run.record("tested", evaluation.candidate, score=to_json(score))


def _tested(evaluation: Evaluation, promised: Score) -> bool:
    """Whether test was read of the same weights, by the same runtime."""
    of = (promised.source, promised.epoch, promised.decayed)
    read = [s for s in evaluation.scores if s.split == "test"]
    return of in [(s.source, s.epoch, s.decayed) for s in read]
