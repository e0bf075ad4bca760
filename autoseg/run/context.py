"""RunContext: what all pipeline steps share; export and measure."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from autoseg.core.records import Candidate, Constraints, Measurement, MeasurePlan
from autoseg.core.signals import StopRequest
from autoseg.core.units import HW
from autoseg.data.cache import truths
from autoseg.data.dataset import FULL_RANGE, Dataset
from autoseg.device import Device
from autoseg.device.protocol import measured
from autoseg.export.to_onnx import Exported, export
from autoseg.networks.space import channels_of
from autoseg.pools.protocol import Pool
from autoseg.run.store import MeasurementCache, Run
from autoseg.search.scheduler import SearchScheduler
from autoseg.train.task import Task


@dataclass(frozen=True, kw_only=True)
class RunContext:
    """What all pipeline steps share: the run and its task, search, pool, device and limits."""

    run: Run
    task: Task
    constraints: Constraints
    search: SearchScheduler
    pool: Pool
    device: Device
    measured_before: MeasurementCache
    budget_s: float | None = None
    trials: int | None = None
    stop: StopRequest = field(default_factory=StopRequest)
    # When each running job was submitted, by its id.
    submitted_at: dict[str, float] = field(default_factory=dict)

    @property
    def scheduler(self) -> SearchScheduler:
        """The search's scheduler, for the slots that the pool has at this moment."""
        return self.search.having(self.pool.capacity, self.pool.kind)

    @property
    def trains_beside_survey(self) -> bool:
        """Whether training begins while the survey still measures, on a board elsewhere.

        Only under a budget: without one nothing may depend on time, so that a seed repeats.
        """
        return self.budget_s is not None and not self.device.describe().here

    @property
    def allowance(self) -> list[float | None]:
        """The limits of the search: seconds and trials; a continued run may get higher ones."""
        return [self.budget_s, self.trials]

    @property
    def budget_left_s(self) -> float | None:
        return None if self.budget_s is None else self.budget_s - self.run.spent_s

    @property
    def remaining_s(self) -> float | None:
        """What the budget leaves; after a stop request, at most the time for finishing."""
        left_s = self.budget_left_s
        if not self.stop.requested:
            return left_s
        return self.stop.time_left_s if left_s is None else min(left_s, self.stop.time_left_s)


def typical_hw(task: Task) -> HW:
    """The typical size of a picture of val: the median height and width."""
    samples = task.dataset.splits["val"]
    sizes = [sample.hw for sample in samples if all(sample.hw)]
    if not sizes:
        sizes = [truths(task.dataset, "val", task.cache_dir, 1)[0].shape]
    height, width = np.median(np.array(sizes), axis=0).astype(int).tolist()
    return height, width


def export_candidate(task: Task, net: Any, candidate: Candidate, path: Path) -> Exported:
    """The candidate's network as one ONNX file at `path`."""
    return export(
        net,
        path,
        input_hw=candidate.input_hw,
        channels=channels_of(candidate),
        classes=task.dataset.outputs,
        metadata={
            "classes": "\n".join(task.dataset.classes),
            "knobs": str(candidate),
            "key": candidate.key,
            "input_hw": "x".join(map(str, candidate.input_hw)),
            **_grey_range(task.dataset),
        },
    )


def _grey_range(dataset: Dataset) -> dict[str, str]:
    """The values of grey pictures of 16 bits that become 0 to 255, if these are not all."""
    low, high = dataset.grey_range
    return {} if (low, high) == FULL_RANGE else {"grey_range": f"{low} {high}"}


def measure(context: RunContext, onnx: Path, plan: MeasurePlan) -> Measurement:
    with quiet(context):
        return measured(context.device, onnx, plan)


def quiet(context: RunContext) -> AbstractContextManager[None]:
    """Pauses training on the machine that measures: it would disturb the timing."""
    return context.pool.paused() if context.device.describe().here else nullcontext()
