"""Where a candidate stands: its rung, its IoU, and who is to be confirmed next elsewhere."""

from __future__ import annotations

from collections.abc import Sequence

from autoseg.core.feasibility import MIN_P_FEASIBLE
from autoseg.core.pareto import hypervolume
from autoseg.core.records import Constraints, Evaluation, Score


def p50(evaluation: Evaluation) -> float:
    """Median latency in ms; infinite while nothing was measured."""
    return evaluation.measurement.p50_ms if evaluation.measurement else float("inf")


def undecayed(evaluation: Evaluation) -> Score | None:
    """The score of the highest rung, comparable with every other candidate's at that rung."""
    return evaluation.score("val", source="torch", decayed=False)


def decayed(evaluation: Evaluation) -> bool:
    """Whether it has taken the branch of the finalists, and was not trained further since."""
    score = evaluation.score("val")
    return score is not None and score.decayed


def epoch_of(evaluation: Evaluation) -> int:
    """The highest rung that it has reached, in epochs; 0 while untrained."""
    score = undecayed(evaluation)
    return score.epoch if score else 0


def next_to_confirm(
    trained: Sequence[Evaluation], evaluations: Sequence[Evaluation], constraints: Constraints
) -> Evaluation | None:
    """Of those whose weights are there as they will ship, the one that adds most to the front.

    None when no other could enter it; one whose file has shown an IoU that is too unsure cannot.
    Where none can meet the floor, the nearest miss is worth knowing.
    """
    settled = [e for e in evaluations if e.state in ("confirmed", "rejected")]
    reached = [(p50(e), e.iou or 0.0) for e in settled if e.state == "confirmed"]
    at = {e: (p50(e), e.iou or 0.0) for e in trained}
    able = {
        e: (ms, iou)
        for e, (ms, iou) in at.items()
        if iou >= constraints.min_iou
        and not _in_doubt(e)
        and not any(m <= ms and i >= iou for m, i in reached)
    }
    if not able and not settled:
        return max(at, key=lambda e: at[e][1], default=None)
    gains = {e: hypervolume([*reached, at], constraints) for e, at in able.items()}
    return max(able, key=lambda e: (gains[e], able[e][1]), default=None)


def _in_doubt(evaluation: Evaluation) -> bool:
    score = evaluation.score("val")
    return score is not None and score.p_floor is not None and score.p_floor < MIN_P_FEASIBLE
