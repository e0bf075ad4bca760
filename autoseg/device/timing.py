"""Decides how long to time a model and which blocks count; pure functions over a source of blocks.

Blocks of the candidate alternate with short blocks of a small reference model. The reference is
always the same, so where it runs slower, something else disturbed the machine, and the block
beside it is timed again. The candidate's own times never decide that: it would make every model
look steadier than it is.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from autoseg.core.records import MeasurePlan
from autoseg.device.history import calm_median
from autoseg.device.percentiles import estimate
from autoseg.device.rpc_schema import Block

CANDIDATE, REFERENCE = "candidate", "reference"

# Width of the 95 % interval over the estimate at which a figure is precise enough.
MAX_CI_WIDTH = 0.02
# The median of fewer runs has no 95 % interval.
MIN_RUNS = 6
# Reference over its calm median from which the block beside it counts as disturbed.
MAX_REFERENCE_SLOWDOWN = 1.10
# A process with a core of its own gets over 99 % of it.
MIN_CPU_SHARE = 0.95
# Disturbed blocks are set aside up to so many per undisturbed block, plus a few; a machine with
# more of them is timed as it is.
MAX_DISTURBED_PER_BLOCK, MAX_DISTURBED_EXTRA = 6, 8
REFERENCE_SHARE, MIN_REFERENCE_RUNS, MAX_REFERENCE_RUNS = 0.1, 5, 200
MIN_BLOCK_RUNS = 4
# The time for which a scheduler lets a process run: shorter blocks are not calmer.
SCHEDULER_SLICE_S = 3e-3
# Longest request: more than a round trip to a board, less than one would want to time again.
MAX_REQUEST_S, MAX_PAIRS_PER_REQUEST = 0.5, 1000
# Wall time of a timing over the plan's `max_s`, which counts neither set-aside blocks nor waits.
MAX_WALL_FACTOR, MAX_WALL_FACTOR_FEW_RUNS = 3.0, 10
REFERENCE_WARMUP_S = 0.02
# Run over ceiling from which a screening stops at once. The first, untimed run also allocates
# memory, so it must be further over.
FAR_OVER_CEILING, FAR_OVER_CEILING_COLD = 4.0, 10.0


@dataclass(frozen=True)
class BlockRequest:
    """A block to time: it ends after `runs`, or after `max_s` and at least one run."""

    model: str
    runs: int
    max_s: float


BlockSource = Callable[[Sequence[BlockRequest]], Iterable[Block]]


@dataclass(frozen=True, kw_only=True)
class Timing:
    """The candidate's runs that count, and the reference beside them.

    `reference_ms` is the reference's median, `reference_p90_ms` its p90 over all its runs, and
    `calm_ms` the median of the faster half of its blocks.
    `redone` blocks were set aside; `disturbed` of `blocks` count in spite of the disturbance.
    `spent_s` is the time of the blocks that count, their reference blocks included; `beside_ms`
    is the median of these. `parts_ms` are the medians of the parts of whole frames.
    """

    times_ms: list[float]
    spent_s: float
    reference_ms: float
    reference_p90_ms: float
    beside_ms: float
    calm_ms: float
    redone: int
    disturbed: int
    blocks: int
    parts_ms: tuple[float, ...] = ()

    @property
    def relative_p50(self) -> float:
        """The median over that of the reference beside it."""
        return statistics.median(self.times_ms) / self.beside_ms


def time_candidate(
    source: BlockSource,
    plan: MeasurePlan,
    *,
    calm_ms: float | None = None,
    judge_core: bool = True,
    clock: Callable[[], float] = time.monotonic,
) -> Timing:
    """Times blocks until the plan is fulfilled.

    `calm_ms` is the reference's median on the calm machine, where known. With `judge_core` a block
    without its core for most of the time is disturbed (an accelerator leaves the core idle).
    """
    begin, seen = clock(), list(source(_first_request(plan)))
    while True:
        wall_s = clock() - begin
        # A slow model must not be timed again and again, least of all one far over the ceiling.
        hopeless = far_over_ceiling(plan, _fastest_ms(seen), FAR_OVER_CEILING_COLD)
        late = hopeless or wall_s >= MAX_WALL_FACTOR * plan.max_s
        counted = count_blocks(seen, calm_ms, judge_core, min_runs=MIN_RUNS if late else 0)
        if _enough(counted, plan, wall_s):
            return counted
        seen += source(_next_request(seen, counted, plan))


def count_blocks(
    seen: Sequence[Block], calm_ms: float | None, judge_core: bool, min_runs: int = 0
) -> Timing:
    """Decides which blocks count.

    Disturbed blocks are set aside unless they are the great majority, or the other blocks have
    less than `min_runs` runs; then all blocks count.
    """
    medians = [statistics.median(block.times_ms) for block in seen]
    references = [ms for ms, block in zip(medians, seen, strict=True) if block.model == REFERENCE]
    own_calm_ms = calm_median(references)
    limit_ms = MAX_REFERENCE_SLOWDOWN * min(own_calm_ms, calm_ms or math.inf)
    every: list[_Judged] = []
    for at, block in enumerate(seen):
        if block.model == CANDIDATE:
            beside_ms = medians[at - 1 : at] + medians[at + 1 : at + 2]
            shared = judge_core and block.cpu_share < MIN_CPU_SHARE
            every.append(_Judged(block, beside_ms, max(beside_ms) > limit_ms or shared))
    good = [each for each in every if not each.disturbed]
    blocks, bad = len(every), len(every) - len(good)
    setting_aside = bad <= MAX_DISTURBED_PER_BLOCK * len(good) + MAX_DISTURBED_EXTRA
    setting_aside &= sum(len(each.block.times_ms) for each in good) >= min_runs
    kept = good if setting_aside else every
    spent_s = sum(_block_took_s(each.block) for each in kept)
    of_reference = [block for block in seen if block.model == REFERENCE]
    references_s = sum(map(_block_took_s, of_reference))
    return Timing(
        times_ms=[ms for each in kept for ms in each.block.times_ms],
        spent_s=spent_s + references_s * len(kept) / blocks,
        reference_ms=statistics.median(references),
        reference_p90_ms=estimate([ms for b in of_reference for ms in b.times_ms], "p90")[0],
        beside_ms=statistics.median([ms for each in kept for ms in each.beside_ms] or references),
        calm_ms=own_calm_ms,
        redone=bad if setting_aside else 0,
        disturbed=0 if setting_aside else bad,
        blocks=blocks,
        parts_ms=_median_parts([each.block for each in kept]),
    )


class _Judged(NamedTuple):
    """A block of the candidate, and the medians of the reference's blocks around it."""

    block: Block
    beside_ms: list[float]
    disturbed: bool


def _median_parts(blocks: Sequence[Block]) -> tuple[float, ...]:
    parts = [block.parts_ms for block in blocks if block.parts_ms]
    return tuple(statistics.median(each) for each in zip(*parts, strict=True))


def _fastest_ms(seen: Sequence[Block]) -> float:
    return min(min(block.times_ms) for block in seen if block.model == CANDIDATE)


def _block_took_s(block: Block) -> float:
    """Seconds of a block, with the untimed run before it."""
    return (sum(block.times_ms) + block.times_ms[0]) / 1e3


def _first_request(plan: MeasurePlan) -> list[BlockRequest]:
    """One block between two of the reference, as the speed of both models is unknown."""
    reference = BlockRequest(REFERENCE, MIN_REFERENCE_RUNS, REFERENCE_SHARE * _block_s(plan))
    return [reference, BlockRequest(CANDIDATE, _block_runs(plan), _block_s(plan)), reference]


@dataclass(frozen=True)
class _Pace:
    """Median seconds of one run of each model so far, and the seconds left of the plan."""

    run_s: float
    reference_s: float
    left_s: float


def _next_request(seen: Sequence[Block], counted: Timing, plan: MeasurePlan) -> list[BlockRequest]:
    """More blocks of the candidate, each followed by one of the reference."""
    left_s = max(0.0, plan.max_s - counted.spent_s)
    pace = _Pace(_run_s(seen, CANDIDATE), _run_s(seen, REFERENCE), left_s)
    max_block_s = _max_block_s(plan, pace)
    runs = _calm_runs(_whole_runs(plan, pace, max_block_s), counted, pace)
    reference_runs = _reference_runs(runs, pace)
    candidate = BlockRequest(CANDIDATE, runs, max(max_block_s, pace.run_s * runs))
    reference = BlockRequest(REFERENCE, reference_runs, 2 * REFERENCE_SHARE * _block_s(plan))
    return [candidate, reference] * _pairs(runs, reference_runs, counted, plan, pace)


def _max_block_s(plan: MeasurePlan, pace: _Pace) -> float:
    """Longest block: an untimed run precedes each, so a block has several runs, if they fit.

    The untimed run counts towards the time left.
    """
    return min(max(_block_s(plan), MIN_BLOCK_RUNS * pace.run_s), pace.left_s - pace.run_s)


def _whole_runs(plan: MeasurePlan, pace: _Pace, max_block_s: float) -> float:
    """Runs of a block on a calm machine.

    The fastest models get more, so that the fewest runs of the reference stay a tenth of a block;
    at most a quarter of the plan's `min_runs`, so that several blocks are made.
    """
    even = math.ceil(MIN_REFERENCE_RUNS * pace.reference_s / (REFERENCE_SHARE * pace.run_s))
    wanted = max(_block_runs(plan), min(even, plan.min_runs // 4))
    return min(wanted, max(1.0, max_block_s / pace.run_s))


def _calm_runs(whole: float, counted: Timing, pace: _Pace) -> int:
    """Runs of a block on this machine: the more blocks were disturbed, the fewer.

    A short block is more often left alone; one below a scheduler's slice gains nothing more.
    """
    calm_share = 1 - counted.redone / counted.blocks
    slice_runs = min(whole, SCHEDULER_SLICE_S / pace.run_s)
    return max(1, round(max(whole * calm_share**2, slice_runs)))


def _reference_runs(runs: int, pace: _Pace) -> int:
    """Runs of the reference beside a block of `runs`: about a tenth of its time."""
    wanted = round(REFERENCE_SHARE * (pace.run_s * runs) / pace.reference_s)
    return min(max(wanted, MIN_REFERENCE_RUNS), MAX_REFERENCE_RUNS)


def _missing_runs(counted: Timing, plan: MeasurePlan, pace: _Pace) -> float:
    """Runs until the plan's minimum; after it a quarter more each time, up to `max_runs`.

    A quarter, as the interval shrinks with the root of the runs.
    """
    have = len(counted.times_ms)
    to_minimum = max(plan.min_runs - have, (plan.min_s - counted.spent_s) / pace.run_s)
    return max(to_minimum, min(have // 4, max(1, plan.max_runs - have)))


def _pairs(runs: int, reference_runs: int, counted: Timing, plan: MeasurePlan, pace: _Pace) -> int:
    """Pairs of blocks in one request, at least one.

    A lost connection loses at most one request, and a request is one line of JSON: both bound it,
    as does the time left.
    """
    block_s = pace.run_s * runs
    pair_s = block_s + reference_runs * pace.reference_s
    most = min(MAX_PAIRS_PER_REQUEST, MAX_REQUEST_S / pair_s)
    wanted = _missing_runs(counted, plan, pace) * pace.run_s / block_s
    fitting = int(pace.left_s / (block_s + pace.run_s))
    return max(1, min(math.ceil(min(wanted, most) - 0.01), fitting))


def _run_s(seen: Sequence[Block], model: str) -> float:
    times = [ms for block in seen if block.model == model for ms in block.times_ms]
    return max(statistics.median(times) / 1e3, 1e-7)


def _block_runs(plan: MeasurePlan) -> int:
    return max(10, min(100, plan.min_runs // 32))


def _block_s(plan: MeasurePlan) -> float:
    return min(1.0, 0.4 * plan.max_s)


def far_over_ceiling(plan: MeasurePlan, run_ms: float, factor: float = FAR_OVER_CEILING) -> bool:
    """Whether one run is so far over the ceiling that a screening needs no more of them."""
    ceiling = plan.ceiling_ms
    return plan.phase == "screen" and ceiling is not None and run_ms > factor * ceiling


def _enough(counted: Timing, plan: MeasurePlan, wall_s: float) -> bool:
    runs = len(counted.times_ms)
    if runs == 0:
        return False
    if far_over_ceiling(plan, min(counted.times_ms)):
        return True
    overdue = counted.spent_s >= plan.max_s or wall_s >= MAX_WALL_FACTOR * plan.max_s
    if overdue and (runs >= MIN_RUNS or wall_s >= MAX_WALL_FACTOR_FEW_RUNS * plan.max_s):
        return True
    if runs < plan.min_runs or counted.spent_s < plan.min_s:
        return False
    value, (low, high) = estimate(counted.times_ms, plan.statistic)
    if runs >= plan.max_runs or high - low < MAX_CI_WIDTH * value:
        return True
    ceiling = plan.ceiling_ms
    return plan.phase == "screen" and ceiling is not None and not low <= ceiling <= high
