"""Table rows of a model's time on a device, by operator."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from autoseg.core.diagnostics import OperatorTime
from autoseg.core.text import bounded
from autoseg.device.profiling import operator_times

if TYPE_CHECKING:
    from autoseg.device.rpc_schema import Node

MAX_ROWS, MAX_NAME = 15, 24
SLOWEST_HEAD = ["operator", "node", "provider", "ms", "share", "output"]
TOTALS_HEAD = ["operator", "nodes", "ms", "share"]


def slowest(nodes: Sequence[Node]) -> list[list[str]]:
    """The slowest nodes, and the sum of the rest."""
    whole_ms = _whole_ms(nodes)
    ordered = sorted(nodes, key=lambda node: node.ms, reverse=True)
    rows = [
        [_clean(n.op), _end(n.name), _provider(n), *_ms(n.ms, whole_ms), _shape(n)]
        for n in ordered[:MAX_ROWS]
    ]
    rest = ordered[MAX_ROWS:]
    if rest:
        rest_ms = sum(node.ms for node in rest)
        rows.append([f"and {len(rest)} more", "", "", *_ms(rest_ms, whole_ms), ""])
    return rows


def totals(nodes: Sequence[Node]) -> list[list[str]]:
    """Nodes and time by kind of operator, the slowest kind first, then all of them."""
    whole_ms = _whole_ms(nodes)
    rows = [
        [_clean(kind.op), str(kind.nodes), *_ms(kind.ms, whole_ms)]
        for kind in operator_times(nodes)
    ]
    return [*rows, ["all", str(len(nodes)), *_ms(whole_ms, whole_ms)]]


def side_by_side(nodes: Sequence[Node], others: Sequence[Node]) -> list[list[str]]:
    """Two models by kind of operator: nodes and ms of each; the largest difference first."""
    ours, theirs = ({kind.op: kind for kind in operator_times(each)} for each in (nodes, others))
    pairs = {
        op: (ours.get(op, OperatorTime(op, 0, 0.0)), theirs.get(op, OperatorTime(op, 0, 0.0)))
        for op in {*ours, *theirs}
    }
    rows = [
        _pair(_clean(op), *pairs[op])
        for op in sorted(pairs, key=lambda op: -abs(pairs[op][0].ms - pairs[op][1].ms))
    ]
    return [*rows, _pair("all", _all(nodes), _all(others))]


def side_by_side_head(file: Path, other: Path) -> list[str]:
    """Columns are named by file, or by folder for equal names: a bundle's is always `model`."""
    alike = file.stem == other.stem
    ours, theirs = (each.parent.name if alike else each.stem for each in (file, other))
    return ["operator", f"{ours}: nodes", "ms", f"{theirs}: nodes", "ms", "difference, ms"]


def _pair(op: str, ours: OperatorTime, theirs: OperatorTime) -> list[str]:
    first, second = [str(ours.nodes), f"{ours.ms:.3f}"], [str(theirs.nodes), f"{theirs.ms:.3f}"]
    return [op, *first, *second, f"{ours.ms - theirs.ms:+.3f}"]


def _all(nodes: Sequence[Node]) -> OperatorTime:
    return OperatorTime("all", len(nodes), _whole_ms(nodes))


def _whole_ms(nodes: Iterable[Node]) -> float:
    return sum(node.ms for node in nodes)


def _ms(ms: float, whole_ms: float) -> list[str]:
    return [f"{ms:.3f}", f"{100 * ms / max(whole_ms, 1e-9):.0f} %"]


def _provider(node: Node) -> str:
    return _clean(node.provider).removesuffix("ExecutionProvider")


def _shape(node: Node) -> str:
    return _clean("x".join(str(size) for size in node.output))


def _end(name: str) -> str:
    """The end of a node's name; its beginning is the path, which nodes share."""
    whole = re.sub(r"_output_\d+|_nchwc$", "", bounded(name, 1000))
    return whole if len(whole) <= MAX_NAME else f"…{whole[1 - MAX_NAME :]}"


def _clean(text: str) -> str:
    return bounded(text, 60)
