"""Finds the multiple of channels that a device likes: a ladder of convolutions, timed in turns.

Libraries work on blocks of channels (4, 8, 16 ...) and fall back to slower code for the rest, so
that a narrower network can be slower. Widths that are multiples of the found step avoid that.
"""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from autoseg.device.timing import BlockRequest, calm_median

if TYPE_CHECKING:
    from autoseg.device.board import Board

STEPS = (1, 2, 4, 8, 16, 32)
# For each step, widths that it divides and the next one does not, on both sides of 32 and 64.
WIDTHS = {
    1: (23, 25, 47, 49, 79, 81),
    2: (22, 26, 46, 50, 78, 82),
    4: (20, 28, 44, 52, 76, 84),
    8: (24, 40, 56, 72, 88),
    16: (16, 48, 80),
    32: (32, 64, 96),
}
KERNELS = {"pointwise": 1, "3 x 3": 3}
# Pictures of these sizes, so that both kinds take about as long.
INPUT_SIDES = {"pointwise": 24, "3 x 3": 12}
# A convolution alone would mostly time the change of layout at its ends.
CONVS_PER_MODEL = 4
ROUNDS, BLOCK_RUNS, BLOCK_S = 12, 8, 0.05
MAX_SCORE_RATIO = 1.02

Key = tuple[str, int]


@dataclass(frozen=True)
class ChannelProbe:
    """What the ladder said.

    `times_ms` by kind and channels. `losses`, by kind and step, is how much longer a
    multiply-accumulate takes at widths that a step just divides than the smooth course over
    multiples of 16 says (1 = as long); `scores` the mean of that over all widths that the step
    allows. `step` is the smallest one whose score is within 2 % of the best.
    """

    times_ms: dict[Key, float]
    losses: dict[Key, float]
    scores: dict[int, float]
    step: int


def probe(board: Board, folder: Path) -> ChannelProbe:
    """Times the ladder, whose models are written into a folder. Raises DeviceError."""
    from autoseg.device.model_session import ModelSession

    times_ms: dict[Key, float] = {}
    for kind in KERNELS:
        names = {f"{kind}, {width} channels": width for each in WIDTHS.values() for width in each}
        models = {name: folder / f"{KERNELS[kind]}-{width}.onnx" for name, width in names.items()}
        for name, path in models.items():
            path.write_bytes(conv_chain(KERNELS[kind], names[name], INPUT_SIDES[kind]))
        medians: dict[str, list[float]] = defaultdict(list)
        with board.connection.held(f"probing {kind} convolutions"):
            session = ModelSession(board, models, f"probing {kind} convolutions")
            for number in range(ROUNDS):
                # There and back: what drifts slowly meets narrow and wide alike.
                turn = sorted(names, key=lambda name: names[name], reverse=number % 2 == 1)
                for block in session.blocks(
                    [BlockRequest(name, BLOCK_RUNS, BLOCK_S) for name in turn]
                ):
                    medians[block.model].append(statistics.median(block.times_ms))
        times_ms |= {(kind, names[name]): calm_median(found) for name, found in medians.items()}
    return judge(times_ms)


def judge(times_ms: Mapping[Key, float]) -> ChannelProbe:
    """The step that the times of a whole ladder speak for."""
    import numpy as np

    losses: dict[Key, float] = {}
    for kind, kernel in KERNELS.items():
        times = {width: ms for (which, width), ms in times_ms.items() if which == kind}
        cost = {width: math.log(ms / (kernel * width) ** 2) for width, ms in times.items()}
        known = [*WIDTHS[16], *WIDTHS[32]]
        course = np.polyfit(np.log(known), [cost[width] for width in known], 2)
        for step, widths in WIDTHS.items():
            above = [cost[width] - np.polyval(course, math.log(width)) for width in widths]
            losses[kind, step] = math.exp(float(np.mean(above)))
    scores = {step: _score(losses, step) for step in STEPS}
    limit = MAX_SCORE_RATIO * min(scores.values())
    step = next(step for step in STEPS if scores[step] <= limit)
    return ChannelProbe(dict(times_ms), losses, scores, step)


def _score(losses: Mapping[Key, float], step: int) -> float:
    """The mean over multiples of a step: half of them are no multiples of the next, and so on."""
    allowed = [larger for larger in STEPS if larger >= step]
    shares = [0.5 ** (at + 1) for at in range(len(allowed))]
    shares[-1] *= 2
    means = [statistics.fmean(losses[kind, each] for kind in KERNELS) for each in allowed]
    return sum(share * mean for share, mean in zip(shares, means, strict=True))


def conv_chain(kernel: int, channels: int, side: int) -> bytes:
    """An ONNX file of a few convolutions (kernel x kernel) in a row, each with its ReLU."""
    import numpy as np
    from onnx import TensorProto, helper, numpy_helper

    names = ["x", *[f"y{number}" for number in range(CONVS_PER_MODEL - 1)], "y"]
    shape = [1, channels, side, side]
    count = channels * channels * kernel * kernel
    # No zeros and no denormals, which some processors treat in their own way.
    values = ((np.arange(count) * 37 % 101 - 50.5) / (30 * channels * kernel)).astype(np.float32)
    weights = numpy_helper.from_array(values.reshape(channels, channels, kernel, kernel), "w")
    pads = [kernel // 2] * 4
    nodes = []
    for number, (before, after) in enumerate(zip(names, names[1:], strict=False)):
        nodes += [
            helper.make_node("Conv", [before, "w"], [f"c{number}"], pads=pads),
            helper.make_node("Relu", [f"c{number}"], [after]),
        ]
    graph = helper.make_graph(
        nodes,
        "chain",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)],
        [weights],
    )
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9, producer_name="autoseg"
    )
    return bytes(model.SerializeToString(deterministic=True))
