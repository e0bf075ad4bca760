"""A fake device for tests of pipelines: declared latency, predictions by real onnxruntime."""

import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from autoseg.core.errors import DeviceError
from autoseg.core.records import (
    DeviceInfo,
    FrameParts,
    Measurement,
    MeasurePlan,
    RunTimes,
    Statistic,
)
from autoseg.device.model_files import files_of
from autoseg.device.percentiles import NEEDED_RUNS
from autoseg.device.rpc_schema import Node
from autoseg.device.session import Array, class_maps, open_session

RESIZES_MS = (0.2, 0.1)  # of a frame and of its class map
REFERENCE_MS = 0.1


def by_size(onnx: Path) -> float:
    """A latency in ms from the input's elements and the file's bytes."""
    sizes = [size for node in open_session(onnx).get_inputs() for size in node.shape]
    elements = math.prod(size for size in sizes if isinstance(size, int))
    return elements * (1.0 + onnx.stat().st_size / 1e5) / 1e5


class FakeDevice:
    """Returns measurements without measuring: every figure follows from `latency`, the p50 in ms.

    `latency` is a number or a function of the ONNX file. Measurement number `fail_on` (1, 2, ...)
    raises DeviceError, as a lost board would. `measured` and `predicted` list the requested files;
    `channel_step` is the multiple that widths are rounded to.
    """

    def __init__(
        self,
        latency: Callable[[Path], float] | float = by_size,
        *,
        name: str = "fake",
        fail_on: int | None = None,
        channel_step: int = 1,
    ) -> None:
        self.name = name
        self.channel_step = channel_step
        self.fail_on = fail_on
        self.measured: list[Path] = []
        self.predicted: list[Path] = []
        self.closed = False
        self._latency = latency if callable(latency) else lambda onnx: latency

    def describe(self) -> DeviceInfo:
        return DeviceInfo(
            name=self.name,
            model="fake",
            runtime="fake 1.0",
            threads=1,
            provider="FakeExecutionProvider",
            channel_step=self.channel_step,
        )

    def measure(self, onnx: Path, plan: MeasurePlan) -> Measurement:
        open_session(onnx)
        self.measured.append(onnx)
        if len(self.measured) == self.fail_on:
            raise DeviceError(f"{self.name} fails on measurement {self.fail_on}, as declared")
        model_ms = float(self._latency(onnx))
        whole_frames = plan.latency == "frame"
        p50_ms = model_ms + whole_frames * sum(RESIZES_MS)
        slower: dict[Statistic, float] = {"p90": 1.02, "p95": 1.03, "p99": 1.05}
        tail = {
            name: p50_ms * factor if plan.min_runs >= NEEDED_RUNS[name] else None
            for name, factor in slower.items()
        }
        info = self.describe()
        return Measurement(
            device=self.name,
            phase=plan.phase,
            runtime=info.runtime,
            threads=info.threads,
            provider=info.provider,
            runs=plan.min_runs,
            warmup=10,
            min_ms=p50_ms * 0.99,
            mean_ms=p50_ms * 1.005,
            std_ms=p50_ms * 0.01,
            p50_ms=p50_ms,
            p50_ci_ms=(p50_ms * 0.995, p50_ms * 1.005),
            p90_ms=tail["p90"],
            p90_ci_ms=(tail["p90"] * 0.995, tail["p90"] * 1.005) if tail["p90"] else None,
            p95_ms=tail["p95"],
            p99_ms=tail["p99"],
            load_ms=1.0,
            peak_rss_bytes=onnx.stat().st_size,
            onnx_digest=files_of(onnx).digest,
            taken_at="2000-01-01T00:00:00+00:00",
            quantiles_ms=_spread(p50_ms) if plan.phase == "confirm" else (),
            reference_ms=REFERENCE_MS,
            reference_ratio=1.0,
            relative_p50=p50_ms / REFERENCE_MS,
            relative_sd=0.0025,
            process_p50_ms=(p50_ms,) * plan.processes,
            latency=plan.latency,
            **_frame_fields(model_ms, plan),
        )

    def predict(self, onnx: Path, images: Iterable[Array]) -> list[Array]:
        self.predicted.append(onnx)
        return class_maps(onnx, images)

    def nodes(self, onnx: Path, runs: int = 20) -> list[Node]:
        """The graph's nodes, each with an equal share of the p50."""
        from onnx import load

        open_session(onnx)
        graph = load(onnx).graph
        each_ms = float(self._latency(onnx)) / max(1, len(graph.node))
        provider = self.describe().provider
        return [
            Node(name=node.name, op=node.op_type, provider=provider, ms=each_ms, output=[])
            for node in graph.node
        ]

    def close(self) -> None:
        self.closed = True


def _frame_fields(model_ms: float, plan: MeasurePlan) -> dict[str, Any]:
    """Both latencies where frames are timed."""
    if plan.frame_hw is None:
        return {}
    into, back = RESIZES_MS
    parts = FrameParts(
        hw=plan.frame_hw, resize_ms=into, inference_ms=model_ms, resize_back_ms=back
    )
    other_ms = model_ms if plan.latency == "frame" else model_ms + into + back
    wide = (0.995 * other_ms, 1.005 * other_ms)
    beside = RunTimes(runs=36, p50_ms=other_ms, p50_ci_ms=wide, p90_ms=other_ms, p90_ci_ms=wide)
    return {"frame": parts, "beside": beside}


def _spread(p50_ms: float) -> tuple[float, ...]:
    """Quantiles that agree with the percentiles above."""
    known = {0: 0.99, 50: 1.0, 90: 1.02, 95: 1.03, 99: 1.05, 100: 1.06}
    factors = np.interp(np.linspace(0, 100, 41), list(known), list(known.values()))
    return tuple(p50_ms * float(factor) for factor in factors)
