"""Finds a device's channel step by timing convolutions of many widths.

Libraries compute blocks of 4, 8 or 16 channels and fall back to slower code for the rest, so a
narrower network can be slower. Widths that are multiples of the found step avoid that.
"""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from autoseg.device.board import Board
from autoseg.device.graphs import conv_chain
from autoseg.device.history import calm_median
from autoseg.device.timing import BlockRequest

STEPS = (1, 2, 4, 8, 16, 32)
# For each step, widths that are multiples of it but not of the next, on both sides of 32 and 64.
WIDTHS = {
    1: (23, 25, 47, 49, 79, 81),
    2: (22, 26, 46, 50, 78, 82),
    4: (20, 28, 44, 52, 76, 84),
    8: (24, 40, 56, 72, 88),
    16: (16, 48, 80),
    32: (32, 64, 96),
}
KERNELS = {"pointwise": 1, "3 x 3": 3}
# Input sizes at which both kinds take about as long.
INPUT_SIDES = {"pointwise": 24, "3 x 3": 12}
ROUNDS, BLOCK_RUNS, BLOCK_S = 12, 8, 0.05
MAX_SCORE_RATIO = 1.02

Key = tuple[str, int]


@dataclass(frozen=True)
class ChannelProbe:
    """What a probe found.

    `times_ms` by kind and channels. `losses`, by kind and step, is the time of one MAC at widths
    of exactly that step, over the time that a smooth fit through the multiples of 16 gives (1 =
    equal). `scores` is its mean over all multiples of a step. `step` is the smallest one with a
    score within 2 % of the best.
    """

    times_ms: dict[Key, float]
    losses: dict[Key, float]
    scores: dict[int, float]
    step: int


def probe_channel_step(board: Board, folder: Path) -> ChannelProbe:
    """Times all widths; writes their models into `folder`. Raises DeviceError."""
    times_ms: dict[Key, float] = {}
    for kind in KERNELS:
        names = {f"{kind}, {width} channels": width for each in WIDTHS.values() for width in each}
        models = {name: folder / f"{KERNELS[kind]}-{width}.onnx" for name, width in names.items()}
        for name, path in models.items():
            path.write_bytes(conv_chain(KERNELS[kind], names[name], INPUT_SIDES[kind]))
        medians: dict[str, list[float]] = defaultdict(list)
        with board.connection.held(f"probing {kind} convolutions"):
            session = board.session(models, f"probing {kind} convolutions")
            for number in range(ROUNDS):
                # Widths up, then down, so that a slow drift affects narrow and wide equally.
                order = sorted(names, key=lambda name: names[name], reverse=number % 2 == 1)
                for block in session.blocks(
                    [BlockRequest(name, BLOCK_RUNS, BLOCK_S) for name in order]
                ):
                    medians[block.model].append(statistics.median(block.times_ms))
        times_ms |= {(kind, names[name]): calm_median(found) for name, found in medians.items()}
    return choose_step(times_ms)


def choose_step(times_ms: Mapping[Key, float]) -> ChannelProbe:
    """The smallest step about as fast as the best, from the times of all widths."""
    losses: dict[Key, float] = {}
    for kind, kernel in KERNELS.items():
        times = {width: ms for (which, width), ms in times_ms.items() if which == kind}
        cost = {width: math.log(ms / (kernel * width) ** 2) for width, ms in times.items()}
        known = [*WIDTHS[16], *WIDTHS[32]]
        fit = np.polyfit(np.log(known), [cost[width] for width in known], 2)
        for step, widths in WIDTHS.items():
            above = [cost[width] - np.polyval(fit, math.log(width)) for width in widths]
            losses[kind, step] = math.exp(float(np.mean(above)))
    scores = {step: _score(losses, step) for step in STEPS}
    limit = MAX_SCORE_RATIO * min(scores.values())
    step = next(step for step in STEPS if scores[step] <= limit)
    return ChannelProbe(dict(times_ms), losses, scores, step)


def _score(losses: Mapping[Key, float], step: int) -> float:
    """The mean loss over multiples of a step: half of them are no multiples of the next, etc."""
    allowed = [larger for larger in STEPS if larger >= step]
    shares = [0.5 ** (at + 1) for at in range(len(allowed))]
    shares[-1] *= 2
    means = [statistics.fmean(losses[kind, each] for kind in KERNELS) for each in allowed]
    return sum(share * mean for share, mean in zip(shares, means, strict=True))
