"""Profiles a model on a device: its time by kind of operator."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from autoseg.core.diagnostics import OperatorTime
from autoseg.device.protocol import Device
from autoseg.device.rpc_schema import Node

PROFILE_S, MIN_RUNS, MAX_RUNS = 0.5, 3, 20


def operator_times(nodes: Iterable[Node]) -> tuple[OperatorTime, ...]:
    """Number of nodes and ms by kind of operator, the slowest kind first."""
    kinds: dict[str, list[float]] = defaultdict(list)
    for node in nodes:
        kinds[node.op].append(node.ms)
    each = [OperatorTime(op, len(ms), sum(ms)) for op, ms in kinds.items()]
    return tuple(sorted(each, key=lambda kind: kind.ms, reverse=True))


def operators_of(device: Device, onnx: Path, run_ms: float) -> tuple[OperatorTime, ...]:
    """Time by operator on a device; a slow model, whose latency is `run_ms`, is run less often.

    Raises as the device does.
    """
    runs = round(1e3 * PROFILE_S / max(run_ms, 1e-3))
    return operator_times(device.nodes(onnx, min(max(runs, MIN_RUNS), MAX_RUNS)))
