"""What a journey takes along, and the two things that all its steps do: export and measure."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from autoseg.core.records import Candidate, Constraints, Measurement, MeasurePlan
from autoseg.core.signals import Stop
from autoseg.device import Device
from autoseg.export.to_onnx import Exported, export
from autoseg.networks.candidate import channels_of
from autoseg.pools.protocol import Pool
from autoseg.run.store import MeasurementCache, Run
from autoseg.search.protocol import Scheduler
from autoseg.train.task import Task


@dataclass(frozen=True)
class RunContext:
    """What a journey needs: who decides, who trains, who measures, and where it is written."""

    run: Run
    task: Task
    constraints: Constraints
    scheduler: Scheduler
    pool: Pool
    device: Device
    measured_before: MeasurementCache
    budget_s: float | None = None
    trials: int | None = None
    stop: Stop = field(default_factory=Stop)

    @property
    def allowance(self) -> list[float | None]:
        """What the search may use; a continued run that is given more searches on."""
        return [self.budget_s, self.trials]

    @property
    def budget_left_s(self) -> float | None:
        return None if self.budget_s is None else self.budget_s - self.run.spent_s

    @property
    def remaining_s(self) -> float | None:
        """What the budget leaves, or less where somebody wants to leave."""
        left_s = self.budget_left_s
        if not self.stop.asked:
            return left_s
        return self.stop.left_s if left_s is None else min(left_s, self.stop.left_s)


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
        },
    )


def measure(context: RunContext, onnx: Path, plan: MeasurePlan) -> Measurement:
    """What the device says about one file."""
    with quiet(context):
        return context.device.measure(onnx, plan)


def quiet(context: RunContext) -> AbstractContextManager[None]:
    """A latency must never be timed while something trains on the same machine."""
    return context.pool.paused() if context.device.describe().here else nullcontext()
