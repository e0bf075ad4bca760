"""How much of the ceiling the resizes of a whole frame take, as lines of the verdict."""

from __future__ import annotations

from collections.abc import Iterable

from autoseg.core.records import Constraints, Evaluation, FrameParts
from autoseg.core.units import size_text

MIN_SHARE = 0.1  # of the ceiling, from which resizes are warned of that it is not for

UNTIMED = "frame not timed: for a board, run `autoseg devices setup`, which installs Pillow"


def frame_lines(evaluations: Iterable[Evaluation], constraints: Constraints) -> list[str]:
    """What the resizes take, where the model alone is promised and that is much, or in any case
    where the whole frame is.

    They are those of the input size that takes longest, of those that fit if any does.
    """
    measured = [(e, e.measurement.frame) for e in evaluations if e.measurement]
    timed = [(e, frame) for e, frame in measured if frame]
    if measured and not timed:
        return untimed_lines(constraints)
    fitting = [each for each in timed if each[0].state != "too_slow"]
    slowest = max(fitting or timed, key=lambda each: each[1].resizes_ms, default=None)
    if slowest is None:
        return []
    share = slowest[1].resizes_ms / constraints.max_latency_ms
    takes = _takes(*slowest, share, constraints)
    if constraints.latency == "frame":
        return [f"{takes}, which is for the whole frame"]
    if share <= MIN_SHARE:
        return []
    return [f"{takes}, and is not in the model's latency: --latency frame promises the whole"]


def untimed_lines(constraints: Constraints) -> list[str]:
    """What helps where whole frames were to be timed beside the model, and none was."""
    return [] if constraints.frame_hw is None else [UNTIMED]


def _takes(
    evaluation: Evaluation, frame: FrameParts, share: float, constraints: Constraints
) -> str:
    sizes = f"{size_text(frame.hw)} to {size_text(evaluation.candidate.input_hw)}"
    return (
        f"resizing {sizes} and back takes {frame.resizes_ms:.2g} ms, {100 * share:.0f} % of the "
        f"{constraints.max_latency_ms:g} ms ceiling"
    )
