"""How long to time, and which blocks count: pure decisions over a source of blocks.

Blocks of the candidate stand between short blocks of a small reference model. The reference is
always the same, so where it runs slower, something else disturbed the machine, and the block
beside it is timed again. A block is never judged by the candidate's own times: that would make
every model look steadier than it is.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from autoseg.core.records import MeasurePlan
from autoseg.device.percentiles import Interval, estimate
from autoseg.device.rpc_schema import Block

CANDIDATE, REFERENCE = "candidate", "reference"

MAX_CI_WIDTH = 0.02
# The median of fewer runs has no 95 % interval at all.
MIN_RUNS = 6
# What the reference may lose before the block beside it counts as disturbed.
MAX_REFERENCE_SLOWDOWN = 1.10
# A process with a core of its own gets over 99 % of it.
MIN_CPU_SHARE = 0.95
# Disturbed blocks are set aside while they are at most so many a good one, and a few; a machine
# with more of them is timed as it is.
MAX_DISCARDED_PER_GOOD_BLOCK, MAX_DISCARDED_EXTRA = 6, 8
REFERENCE_SHARE, MIN_REFERENCE_RUNS, MAX_REFERENCE_RUNS = 0.1, 5, 200
MIN_WHOLE_RUNS = 4
# How long a scheduler lets a process be: no use in blocks that are shorter.
SCHEDULER_SLICE_S = 3e-3
# One request keeps the board busy so long: more than a round context, less than one cares to lose.
MAX_REQUEST_S, MAX_PAIRS_A_REQUEST = 0.5, 1000
MAX_WALL_FACTOR = 3.0
REFERENCE_WARMUP_S = 0.02
# A run of many times the ceiling says enough: of the first, untimed one it takes more, as it also
# allocates.
FAR_OVER_CEILING, FAR_OVER_CEILING_COLD = 4.0, 10.0


@dataclass(frozen=True)
class BlockRequest:
    """A block to be timed: it ends after `runs`, or after `max_s` and one run."""

    model: str
    runs: int
    max_s: float


Source = Callable[[Sequence[BlockRequest]], Iterable[Block]]


@dataclass(frozen=True)
class Timing:
    """The candidate's runs that count, and how the reference did beside them.

    `reference_ms` is the reference's median, `calm_ms` that of its best half of blocks. `redone`
    blocks were set aside; `disturbed` of `blocks` count although they should not. `spent_s` is
    what those that count took, with the reference beside them.
    """

    times_ms: list[float]
    spent_s: float
    reference_ms: float
    calm_ms: float
    redone: int
    disturbed: int
    blocks: int


def time_candidate(
    source: Source,
    plan: MeasurePlan,
    *,
    calm_ms: float | None = None,
    judge_core: bool = True,
    clock: Callable[[], float] = time.monotonic,
) -> Timing:
    """Times blocks until the plan has what it asks for.

    `calm_ms` is the reference's median on the calm machine, where known; `judge_core` says that a
    block during which others had the core is disturbed (an accelerator leaves the core idle).
    """
    begin, seen = clock(), list(source(_first(plan)))
    while True:
        wall_s = clock() - begin
        # A slow model must not be timed again and again, least of all a hopeless one.
        late = wall_s >= MAX_WALL_FACTOR * plan.max_s or far_over_ceiling(
            plan, _fastest_ms(seen), FAR_OVER_CEILING_COLD
        )
        counted = count_blocks(seen, calm_ms, judge_core, fewest=MIN_RUNS if late else 0)
        if _enough(counted, plan, wall_s):
            return counted
        seen += source(_next(seen, counted, plan))


def count_blocks(
    seen: Sequence[Block], calm_ms: float | None, judge_core: bool, fewest: int = 0
) -> Timing:
    """Which of the blocks count.

    Disturbed ones do not, as long as they are not the most by far, and the others have `fewest`
    runs at least.
    """
    medians = [statistics.median(block.times_ms) for block in seen]
    references = [ms for ms, block in zip(medians, seen, strict=True) if block.model == REFERENCE]
    own_calm_ms = calm_median(references)
    limit_ms = MAX_REFERENCE_SLOWDOWN * min(own_calm_ms, calm_ms or math.inf)
    good: list[Block] = []
    bad: list[Block] = []
    for at, block in enumerate(seen):
        if block.model == CANDIDATE:
            slow = max(medians[at - 1 : at] + medians[at + 1 : at + 2]) > limit_ms
            (bad if slow or (judge_core and block.cpu_share < MIN_CPU_SHARE) else good).append(
                block
            )
    blocks = len(good) + len(bad)
    setting_aside = len(bad) <= MAX_DISCARDED_PER_GOOD_BLOCK * len(good) + MAX_DISCARDED_EXTRA
    setting_aside &= sum(len(block.times_ms) for block in good) >= fewest
    kept = good if setting_aside else [block for block in seen if block.model == CANDIDATE]
    return Timing(
        times_ms=[ms for block in kept for ms in block.times_ms],
        spent_s=sum(map(_block_took_s, kept))
        + sum(_block_took_s(b) for b in seen if b.model == REFERENCE) * len(kept) / blocks,
        reference_ms=statistics.median(references),
        calm_ms=own_calm_ms,
        redone=len(bad) if setting_aside else 0,
        disturbed=0 if setting_aside else len(bad),
        blocks=blocks,
    )


def _fastest_ms(seen: Sequence[Block]) -> float:
    return min(min(block.times_ms) for block in seen if block.model == CANDIDATE)


def _block_took_s(block: Block) -> float:
    """With the untimed run before it."""
    return (sum(block.times_ms) + block.times_ms[0]) / 1e3


def calm_median(medians_ms: Sequence[float]) -> float:
    """The median of the best half: what others do to a machine only ever makes it slower."""
    return statistics.median(sorted(medians_ms)[: (len(medians_ms) + 1) // 2])


def _first(plan: MeasurePlan) -> list[BlockRequest]:
    """One block between two of the reference, as nothing is known of either model yet."""
    reference = BlockRequest(REFERENCE, MIN_REFERENCE_RUNS, REFERENCE_SHARE * _block_s(plan))
    return [reference, BlockRequest(CANDIDATE, _block_runs(plan), _block_s(plan)), reference]


def _next(seen: Sequence[Block], counted: Timing, plan: MeasurePlan) -> list[BlockRequest]:
    """Some more blocks, each followed by one of the reference."""
    run_s, reference_s = _run_s(seen, CANDIDATE), _run_s(seen, REFERENCE)
    left_s = max(0.0, plan.max_s - counted.spent_s)
    # An untimed run stands before each block: it must be worth it, and it counts.
    most_s = min(max(_block_s(plan), MIN_WHOLE_RUNS * run_s), left_s - run_s)
    # The reference must stay small beside the fastest models as well.
    even = math.ceil(MIN_REFERENCE_RUNS * reference_s / (REFERENCE_SHARE * run_s))
    whole = min(max(_block_runs(plan), min(even, plan.min_runs // 4)), max(1.0, most_s / run_s))
    # Where others come and go, a short block is more often left alone.
    calm_share = 1 - counted.redone / counted.blocks
    runs = max(1, round(max(whole * calm_share**2, min(whole, SCHEDULER_SLICE_S / run_s))))
    block_s = run_s * runs
    beside = round(REFERENCE_SHARE * block_s / reference_s)
    beside = min(max(beside, MIN_REFERENCE_RUNS), MAX_REFERENCE_RUNS)
    have = len(counted.times_ms)
    fewest = max(plan.min_runs - have, (plan.min_s - counted.spent_s) / run_s)
    missing = max(fewest, min(have // 4, max(1, plan.max_runs - have)))
    # A board that is cut off loses what one request asks for, and a request is one line.
    most = min(MAX_PAIRS_A_REQUEST, MAX_REQUEST_S / (block_s + beside * reference_s))
    pairs = math.ceil(min(missing * run_s / block_s, most) - 0.01)
    return [
        BlockRequest(CANDIDATE, runs, max(most_s, block_s)),
        BlockRequest(REFERENCE, beside, 2 * REFERENCE_SHARE * _block_s(plan)),
    ] * max(1, min(pairs, int(left_s / (block_s + run_s))))


def _run_s(seen: Sequence[Block], model: str) -> float:
    times = [ms for block in seen if block.model == model for ms in block.times_ms]
    return max(statistics.median(times) / 1e3, 1e-7)


def _block_runs(plan: MeasurePlan) -> int:
    return max(10, min(100, plan.min_runs // 32))


def _block_s(plan: MeasurePlan) -> float:
    return min(1.0, 0.4 * plan.max_s)


def far_over_ceiling(plan: MeasurePlan, run_ms: float, times: float = FAR_OVER_CEILING) -> bool:
    """Whether a run is so slow that a screening need not look closer."""
    ceiling = plan.ceiling_ms
    return plan.phase == "screen" and ceiling is not None and run_ms > times * ceiling


def _enough(counted: Timing, plan: MeasurePlan, wall_s: float) -> bool:
    runs = len(counted.times_ms)
    if runs == 0:
        return False
    if far_over_ceiling(plan, min(counted.times_ms)):
        return True
    overdue = counted.spent_s >= plan.max_s or wall_s >= MAX_WALL_FACTOR * plan.max_s
    if overdue and (runs >= MIN_RUNS or wall_s >= 10 * plan.max_s):
        return True
    if runs < plan.min_runs or counted.spent_s < plan.min_s:
        return False
    value, (low, high) = estimate(counted.times_ms, plan.statistic)
    if runs >= plan.max_runs or high - low < MAX_CI_WIDTH * value:
        return True
    ceiling = plan.ceiling_ms
    return plan.phase == "screen" and ceiling is not None and not low <= ceiling <= high


@dataclass(frozen=True)
class AAResult:
    """What the A/A test found: the same model twice, in turns.

    `ratio` is the median over neighbouring pairs of one's median over the other's, with its 95 %
    interval; `calm_ms` the calm median of the reference. It is `trusted` where the interval lies
    within ALIKE; else `suspects` says in words what may be wrong.
    """

    ratio: float
    ratio_ci: Interval
    pairs: int
    calm_ms: float
    passed: bool
    suspects: tuple[str, ...] = ()

    @property
    def doubt(self) -> str:
        """Why it is not trusted, in words."""
        off, most = abs(self.ratio - 1), f"{100 * MAX_AA_DIFFERENCE:g} %"
        if off > MAX_AA_DIFFERENCE:
            return f"a small model differed from itself by {100 * off:.1f} %, over {most}"
        low, high = self.ratio_ci
        return (
            f"after {self.pairs} pairs of blocks a small model may still take {low:.2f} to "
            f"{high:.2f} times as long as itself: noise hides what {most} would show"
        )


AA_MODELS = ("a", "b")
MAX_AA_DIFFERENCE = 0.03
TWIN_RUNS, TWIN_S = 10, 0.05
MIN_PAIRS, MAX_PAIRS, MORE_PAIRS = 20, 120, 10


def run_aa_test(source: Source) -> AAResult:
    """The A/A test: two sessions of the same model, called "a" and "b", must be as fast."""
    seen = list(source(_turns(MIN_PAIRS)))
    while True:
        found = _compared(seen)
        low, high = found.ratio_ci
        outside = high < 1 - MAX_AA_DIFFERENCE or low > 1 + MAX_AA_DIFFERENCE
        if outside or found.passed or found.pairs >= MAX_PAIRS:
            return found
        seen += source(_turns(MORE_PAIRS))


def _turns(pairs: int) -> list[BlockRequest]:
    """a b b a a b ...: whoever goes first has no advantage."""
    turns = [AA_MODELS if pair % 2 == 0 else AA_MODELS[::-1] for pair in range(pairs)]
    return [BlockRequest(name, TWIN_RUNS, TWIN_S) for turn in turns for name in turn]


def _compared(seen: Sequence[Block]) -> AAResult:
    medians = [statistics.median(block.times_ms) for block in seen]
    ratios = []
    for first in range(0, len(seen) - 1, 2):
        ratio = medians[first] / max(medians[first + 1], 1e-9)
        ratios.append(ratio if seen[first].model == AA_MODELS[0] else 1 / max(ratio, 1e-9))
    ratio, interval = estimate(ratios, "p50")
    # A ratio near 1 says nothing where the noise is larger than what is looked for.
    alike = 1 - MAX_AA_DIFFERENCE <= interval[0] and interval[1] <= 1 + MAX_AA_DIFFERENCE
    return AAResult(ratio, interval, len(ratios), calm_median(medians), alike)
