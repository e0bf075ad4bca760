"""Several boards of one kind as one device: screens on a free one, confirms on all."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from queue import SimpleQueue
from threading import Lock

from autoseg.core.errors import InputError
from autoseg.core.records import BoardLatency, DeviceInfo, Measurement, MeasurePlan
from autoseg.device.board import Board
from autoseg.device.model_session import Image
from autoseg.device.protocol import Device
from autoseg.device.rpc_schema import Node

log = logging.getLogger(__name__)

MATCHING_FIELDS = ("model", "runtime", "threads", "provider", "affinity", "channel_step")
MAX_BOARD_RATIO = 1.05  # slowest over fastest median, from which a flag says that boards differ


class Group:
    """Boards with the same description, each used for one call at a time.

    A screening measurement uses one free board, so several run in parallel. A confirming
    measurement uses all boards at once, and the slowest counts.
    """

    def __init__(self, members: Sequence[Device]) -> None:
        self.members = tuple(members)
        self._info: DeviceInfo | None = None
        self._free: SimpleQueue[Device] = SimpleQueue()
        self._all = Lock()
        for member in self.members:
            self._free.put(member)

    def describe(self) -> DeviceInfo:
        """The common description. Raises InputError for the first field that differs."""
        if self._info is None:
            # Before connecting: a board that is given twice would wait for its own claim.
            _require_different([m.launcher.name for m in self.members if isinstance(m, Board)])
            infos = [member.describe() for member in self.members]
            _require_different([info.name for info in infos])
            _require_alike(infos)
            self._info = replace(
                infos[0],
                name="+".join(info.name for info in infos),
                here=any(info.here for info in infos),
                boards=len(infos),
            )
        return self._info

    def measure(self, onnx: Path, plan: MeasurePlan) -> Measurement:
        if plan.phase == "screen":
            with self._one() as member:
                return member.measure(onnx, plan)
        with self._every() as members:
            return _slowest(self._all_measured(members, onnx, plan), plan)

    def predict(self, onnx: Path, images: Iterable[Image]) -> list[Image]:
        with self._one() as member:
            return member.predict(onnx, images)

    def nodes(self, onnx: Path, runs: int = 20) -> list[Node]:
        with self._one() as member:
            return member.nodes(onnx, runs)

    def close(self) -> None:
        with ExitStack() as closing:  # closes the others too when one fails
            for member in self.members:
                closing.callback(member.close)

    @contextmanager
    def _one(self) -> Iterator[Device]:
        member = self._free.get()
        try:
            yield member
        finally:
            self._free.put(member)

    @contextmanager
    def _every(self) -> Iterator[Sequence[Device]]:
        with self._all, ExitStack() as taken:  # two calls that each hold a part would deadlock
            yield [taken.enter_context(self._one()) for _ in self.members]

    def _all_measured(
        self, members: Sequence[Device], onnx: Path, plan: MeasurePlan
    ) -> list[Measurement]:
        # Boards that are all this machine would disturb each other.
        threads = ThreadPoolExecutor(1 if self.describe().here else len(members))
        wait = True
        try:
            return list(threads.map(lambda member: member.measure(onnx, plan), members))
        except KeyboardInterrupt:  # closing the boards ends their work
            wait = False
            raise
        finally:
            threads.shutdown(wait, cancel_futures=True)


def _require_different(names: Sequence[str]) -> None:
    if repeated := [name for name in names if names.count(name) > 1]:
        raise InputError(
            f"{repeated[0]!r} is given {len(repeated)} times; devices that share a run must be "
            "different boards, each with its own name in its profile"
        )


def _require_alike(infos: Sequence[DeviceInfo]) -> None:
    first = infos[0]
    for info in infos[1:]:
        for name in MATCHING_FIELDS:
            if getattr(info, name) != getattr(first, name):
                raise InputError(
                    "several devices share a run only where they are alike; "
                    f"{name.replace('_', ' ')} is {getattr(first, name)!r} on {first.name} "
                    f"and {getattr(info, name)!r} on {info.name}: name one of them alone, and "
                    "the other to `autoseg remeasure` afterwards"
                )


def _slowest(found: Sequence[Measurement], plan: MeasurePlan) -> Measurement:
    found = sorted(found, key=lambda m: m.device)  # in a fixed order
    slowest = max(found, key=lambda m: m.latency_ms(plan.statistic))
    medians = sorted(found, key=lambda m: m.p50_ms)
    ratio = medians[-1].p50_ms / medians[0].p50_ms
    flags = [f"{m.device}: {flag}" for m in found for flag in m.flags]
    if ratio > MAX_BOARD_RATIO:
        p50s = ", ".join(f"{m.device} {m.p50_ms:.3g} ms" for m in medians)
        differ = f"the boards differ by {100 * (ratio - 1):.0f} % (p50: {p50s})"
        log.warning("%s: %s", slowest.onnx_digest[:12], differ)
        flags.append(differ)
    each = tuple(BoardLatency(m.device, m.p50_ms, m.p90_ms) for m in found)
    return replace(slowest, boards=each, boards_ratio=ratio, flags=tuple(flags))
