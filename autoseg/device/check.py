"""Runs `autoseg devices check`: facts, findings, the A/A test, the channel step."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from autoseg.core.errors import CandidateError, DeviceError
from autoseg.device.aa_comparison import AAResult
from autoseg.device.board import Board
from autoseg.device.channel_step import ChannelProbe, probe_channel_step
from autoseg.device.findings import Finding, blockers, facts, findings

ROUND_TRIPS = 7
# As long as a block of a measurement, so that a short pause of other programs does not count.
WATCH_S = 1.0


@dataclass(frozen=True)
class CheckReport:
    """The result of a check.

    `aa_result` is None where no model runs or a board failed the test: a finding says why.
    `probe` is None where none was requested or the device failed the A/A test.
    """

    facts: dict[str, str | None]
    findings: list[Finding]
    aa_result: AAResult | None
    probe: ChannelProbe | None

    @property
    def trustworthy(self) -> bool:
        return not any(finding.severe for finding in self.findings)


def check_device(
    board: Board, called: str, progress: Callable[[str], None], probe_folder: Path | None = None
) -> CheckReport:
    """Checks a device; `called` is the user's name for it, `probe_folder` is for a probe's models.

    Raises DeviceError where it cannot be reached, InputError where the user must decide.
    """
    progress(f"connecting to {board.launcher.name}")
    hello = board.hello()
    with board.connection.held("checking it"):
        round_trip_ms, skew_s = _round_trip_ms(board), _skew_s(board)
        status = board.status(WATCH_S)
        described = facts(hello, status, skew_s=skew_s, round_trip_ms=round_trip_ms)
        found = findings(board.profile, hello, status, skew_s=skew_s, called=called)
        if blockers(board.profile, hello, called):
            return CheckReport(described, found, None, None)
        progress("comparing a small model with itself")
        aa_result, doubt = _aa_test(board)
        probe = None
        # Where a model differs from itself, a probe shows nothing.
        if probe_folder and not doubt:
            progress("timing convolutions of many widths")
            probe, doubt = _probe(board, probe_folder)
    return CheckReport(described, [*doubt, *found], aa_result, probe)


def _aa_test(board: Board) -> tuple[AAResult | None, list[Finding]]:
    try:
        result = board.compare_with_itself()
    except DeviceError as error:
        return None, [Finding(str(error), "fix that, and check again")]
    if result.passed:
        return result, []
    return result, [Finding(result.doubt, "stop other programs, and check again")]


def _probe(board: Board, folder: Path) -> tuple[ChannelProbe | None, list[Finding]]:
    try:
        return probe_channel_step(board, folder), []
    except (CandidateError, DeviceError) as error:
        text = f"the probe of the channel step failed: {error}"
        return None, [Finding(text, "fix that, and probe again")]


def _round_trip_ms(board: Board) -> float:
    times_ms = []
    for _ in range(ROUND_TRIPS):
        begin = time.perf_counter()
        board.connection.ask("has", digest="0" * 64)
        times_ms.append(1e3 * (time.perf_counter() - begin))
    return statistics.median(times_ms)


def _skew_s(board: Board) -> float:
    before = time.time()
    board_time = board.status(0.01).time
    after = time.time()
    # The board read its clock at some moment in between.
    if board_time is None or before <= board_time <= after:
        return 0.0
    return board_time - (before + after) / 2
