"""What `autoseg devices check` finds out: facts, what is wrong, the A/A test, the channel step."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from autoseg.core.errors import CandidateError, DeviceError
from autoseg.device.findings import Finding, blockers, facts, findings

if TYPE_CHECKING:
    from autoseg.device.aa_comparison import AAResult
    from autoseg.device.board import Board
    from autoseg.device.channel_step import ChannelProbe

ROUND_TRIPS = 7
# As long as a measurement's block: what is quiet for a moment only should not look quiet.
WATCH_S = 1.0


@dataclass(frozen=True)
class CheckReport:
    """`trust` is None where no model can be run, or where a board failed: a finding says why.

    `probe` is None where none was asked for, and where the device cannot be trusted with one.
    """

    facts: dict[str, str | None]
    findings: list[Finding]
    trust: AAResult | None
    probe: ChannelProbe | None

    @property
    def trustworthy(self) -> bool:
        return not any(finding.severe for finding in self.findings)


def check_device(
    board: Board, called: str, say: Callable[[str], None], ladder: Path | None = None
) -> CheckReport:
    """Examines a device, that the user called so; `ladder` is a folder for the models of a probe.

    Raises DeviceError where it cannot be reached, InputError for what the user must decide.
    """
    say(f"connecting to {board.launcher.name}")
    hello = board.hello()
    with board.connection.held("checking it"):
        round_trip_ms, skew_s = _round_trip_ms(board), _skew_s(board)
        status = board.status(WATCH_S)
        told = facts(hello, status, skew_s=skew_s, round_trip_ms=round_trip_ms)
        found = findings(board.profile, hello, status, skew_s=skew_s, called=called)
        if blockers(board.profile, hello, called):
            return CheckReport(told, found, None, None)
        say("comparing a small model with itself")
        trust, doubt = _trust(board)
        seen = None
        # Where a model differs from itself, a ladder says nothing.
        if ladder and not doubt:
            say("timing a ladder of convolutions")
            seen, doubt = _probe(board, ladder)
    return CheckReport(told, [*doubt, *found], trust, seen)


def _trust(board: Board) -> tuple[AAResult | None, list[Finding]]:
    try:
        trust = board.trust()
    except DeviceError as error:
        return None, [Finding(str(error), "fix what stands here, and check again")]
    if trust.passed:
        return trust, []
    return trust, [Finding(trust.doubt, "stop other programs, and check again")]


def _probe(board: Board, ladder: Path) -> tuple[ChannelProbe | None, list[Finding]]:
    from autoseg.device.channel_step import probe

    try:
        return probe(board, ladder), []
    except (CandidateError, DeviceError) as error:
        text = f"the ladder of convolutions was not timed to its end: {error}"
        return None, [Finding(text, "fix what stands here, and probe again")]


def _round_trip_ms(board: Board) -> float:
    times_ms = []
    for _ in range(ROUND_TRIPS):
        begin = time.perf_counter()
        board.connection.ask("has", digest="0" * 64)
        times_ms.append(1e3 * (time.perf_counter() - begin))
    return statistics.median(times_ms)


def _skew_s(board: Board) -> float:
    before = time.time()
    told = board.status(0.01).time
    after = time.time()
    # The board looked at its clock at some moment in between.
    return 0.0 if told is None or before <= told <= after else told - (before + after) / 2
