"""Profiles a model on a device: time by operator, and of a whole frame with its resizes."""

from __future__ import annotations

import itertools
import os
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from autoseg.core.diagnostics import FrameTime, OperatorTime
from autoseg.core.errors import CandidateError
from autoseg.core.records import MeasurePlan
from autoseg.core.units import HW
from autoseg.data.resize import resize_frame, resize_mask
from autoseg.device.board import Board
from autoseg.device.graphs import frame_resize, map_resize
from autoseg.device.protocol import Device
from autoseg.device.rpc_schema import Node
from autoseg.device.session import open_session

PROFILE_S, MIN_RUNS, MAX_RUNS = 0.5, 3, 20
LOOP_S, MIN_PICTURES, MAX_PICTURES = 0.6, 5, 200
SHORT_PLAN = MeasurePlan(
    phase="screen", statistic="p50", min_runs=10, max_runs=40, max_s=0.25, warmup_s=0.02
)


def operator_times(nodes: Iterable[Node]) -> tuple[OperatorTime, ...]:
    """Number of nodes and ms by kind of operator, the slowest kind first."""
    kinds: dict[str, list[float]] = defaultdict(list)
    for node in nodes:
        kinds[node.op].append(node.ms)
    each = [OperatorTime(op, len(ms), sum(ms)) for op, ms in kinds.items()]
    return tuple(sorted(each, key=lambda kind: kind.ms, reverse=True))


@dataclass(frozen=True)
class Profiler:
    """Profiles models on one device, for pictures of one size.

    Its methods raise as the device's do. Models of one input size share the time of the resizes.
    """

    device: Device
    picture_hw: HW
    _resizes: dict[bytes, float] = field(default_factory=dict)

    def operators(self, onnx: Path, run_ms: float) -> tuple[OperatorTime, ...]:
        """Time by operator; `run_ms` is the model's latency: slow models are run less often."""
        runs = round(1e3 * PROFILE_S / max(run_ms, 1e-3))
        return operator_times(self.device.nodes(onnx, min(max(runs, MIN_RUNS), MAX_RUNS)))

    def frame(self, onnx: Path, run_ms: float) -> FrameTime | None:
        """Time from a camera's picture to its class map; None where the device cannot resize.

        On this machine it is timed as `autoseg predict` runs it. A board is only sure to have
        onnxruntime: it resizes with that, and the model takes its confirmed `run_ms`.
        """
        board = self.device
        # Not `info.here`: a board in an emulator on this machine runs other code.
        if isinstance(board, Board) and board.profile.kind == "local":
            return _here(board, onnx, self.picture_hw)
        try:
            return self._there(onnx, run_ms)
        except CandidateError:  # no Resize of such a kind in its runtime
            return None

    def _there(self, onnx: Path, run_ms: float) -> FrameTime:
        session = open_session(onnx)
        _, height, width, channels = session.get_inputs()[0].shape
        _, *map_hw = session.get_outputs()[0].shape
        into = frame_resize(self.picture_hw, (height, width), channels)
        back = map_resize((map_hw[0], map_hw[1]), self.picture_hw)
        info = self.device.describe()
        return FrameTime(
            self.picture_hw, self._timed(into), run_ms, self._timed(back),
            f"on {info.name}: {info.runtime} resizes there, the model takes the p50 that was "
            "confirmed; medians",
        )  # fmt: skip

    def _timed(self, graph: bytes) -> float:
        if graph not in self._resizes:
            with tempfile.TemporaryDirectory(prefix="autoseg-") as folder:
                path = Path(folder) / "resize.onnx"
                path.write_bytes(graph)
                self._resizes[graph] = self.device.measure(path, SHORT_PLAN).p50_ms
        return self._resizes[graph]


def _here(board: Board, onnx: Path, picture_hw: HW) -> FrameTime:
    threads = board.profile.threads
    with board.connection.held(f"timing pictures through {onnx.name}"):
        runtime = board.describe().runtime
        with ThreadPoolExecutor(1) as one:  # a thread of its own, as it may be pinned to cores
            rounds = one.submit(_rounds, board, onnx, picture_hw).result()
    into, run, back = (statistics.median(times) for times in zip(*rounds, strict=True))
    return FrameTime(
        picture_hw, into, run, back,
        f"on this machine as `autoseg predict` does it: Pillow resizes, {runtime} on {threads} "
        f"thread{'s' * (threads > 1)} runs the model; medians of {len(rounds)} pictures",
    )  # fmt: skip


def _rounds(board: Board, onnx: Path, picture_hw: HW) -> list[list[float]]:
    """Milliseconds of the three parts, by picture."""
    if board.profile.affinity and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, board.profile.affinity)
    session = open_session(onnx, board.profile.threads, board.profile.provider_names)
    node = session.get_inputs()[0]
    _, height, width, channels = node.shape
    picture = np.random.default_rng(0).integers(0, 256, (*picture_hw, 3), dtype=np.uint8)
    rounds: list[list[float]] = []
    for _ in _for_a_while():
        at = [time.perf_counter()]
        frame = resize_frame(picture, (height, width), channels)
        at.append(time.perf_counter())
        class_map: Any = session.run(None, {node.name: frame[None]})[0]
        at.append(time.perf_counter())
        resize_mask(class_map[0], picture_hw)
        at.append(time.perf_counter())
        rounds.append([1e3 * (b - a) for a, b in itertools.pairwise(at)])
    return rounds[2:]  # the first two also allocate memory


def _for_a_while() -> Iterator[int]:
    end = time.perf_counter() + LOOP_S
    for number in range(2 + MAX_PICTURES):
        if number >= 2 + MIN_PICTURES and time.perf_counter() > end:
            return
        yield number
