"""The A/A test of a device: is a model as fast as itself there?"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from autoseg.device.history import calm_median
from autoseg.device.percentiles import Interval, estimate
from autoseg.device.rpc_schema import Block
from autoseg.device.timing import BlockRequest, BlockSource

MODELS = ("a", "b")
MAX_DIFFERENCE = 0.03
BLOCK_RUNS, BLOCK_S = 10, 0.05
MIN_PAIRS, MAX_PAIRS, MORE_PAIRS = 20, 120, 10


@dataclass(frozen=True, kw_only=True)
class AAResult:
    """What the A/A test found: the same model twice, in turns.

    `ratio` is the median over neighbouring pairs of one model's median over the other's, with its
    95 % interval; `calm_ms` is the calm median of the model. It `passed` where the interval lies
    within 1 ± MAX_DIFFERENCE.
    """

    ratio: float
    ratio_ci: Interval
    pairs: int
    calm_ms: float
    passed: bool

    @property
    def doubt(self) -> str:
        """Why it did not pass, in words."""
        off, most = abs(self.ratio - 1), f"{100 * MAX_DIFFERENCE:g} %"
        if off > MAX_DIFFERENCE:
            return f"a small model differed from itself by {100 * off:.1f} %, over {most}"
        low, high = self.ratio_ci
        return (
            f"after {self.pairs} pairs of blocks a small model may still take {low:.2f} to "
            f"{high:.2f} times as long as itself: the noise hides a difference of {most}"
        )


def run_aa_test(source: BlockSource) -> AAResult:
    """Compares two sessions of the same model, named "a" and "b", block by block.

    Takes more pairs while the interval reaches over the limit, up to MAX_PAIRS.
    """
    seen = list(source(_turns(MIN_PAIRS)))
    while True:
        found = _compared(seen)
        low, high = found.ratio_ci
        outside = high < 1 - MAX_DIFFERENCE or low > 1 + MAX_DIFFERENCE
        if outside or found.passed or found.pairs >= MAX_PAIRS:
            return found
        seen += source(_turns(MORE_PAIRS))


def _turns(pairs: int) -> list[BlockRequest]:
    """Blocks in the order a b b a a b ..., so that the first of a pair has no advantage."""
    turns = [MODELS if pair % 2 == 0 else MODELS[::-1] for pair in range(pairs)]
    return [BlockRequest(name, BLOCK_RUNS, BLOCK_S) for turn in turns for name in turn]


def _compared(seen: Sequence[Block]) -> AAResult:
    medians = [statistics.median(block.times_ms) for block in seen]
    ratios = []
    for first in range(0, len(seen) - 1, 2):
        ratio = medians[first] / max(medians[first + 1], 1e-9)
        ratios.append(ratio if seen[first].model == MODELS[0] else 1 / max(ratio, 1e-9))
    ratio, interval = estimate(ratios, "p50")
    # A ratio near 1 proves nothing where the noise exceeds the difference that is looked for.
    passed = 1 - MAX_DIFFERENCE <= interval[0] and interval[1] <= 1 + MAX_DIFFERENCE
    return AAResult(
        ratio=ratio,
        ratio_ci=interval,
        pairs=len(ratios),
        calm_ms=calm_median(medians),
        passed=passed,
    )
