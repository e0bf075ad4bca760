"""The status of a candidate: its latency, its rung, its score, and the job that could follow."""

from __future__ import annotations

from collections.abc import Sequence

from autoseg.core.feasibility import MIN_P_FEASIBLE
from autoseg.core.pareto import hypervolume
from autoseg.core.records import Constraints, Evaluation, Job, Score
from autoseg.train.recipe import Recipe


def p50_ms(evaluation: Evaluation) -> float:
    """Median latency in ms; infinite while nothing was measured."""
    return evaluation.measurement.p50_ms if evaluation.measurement else float("inf")


def undecayed(evaluation: Evaluation) -> Score | None:
    """The score of the highest rung, comparable with every other candidate's at that rung."""
    return evaluation.score("val", source="torch", decayed=False)


def decayed(evaluation: Evaluation) -> bool:
    """Whether it has taken its decay, and was not trained further since."""
    score = evaluation.score("val")
    return score is not None and score.decayed


def epoch_of(evaluation: Evaluation) -> int:
    """The highest rung that it has reached, in epochs; 0 while untrained."""
    score = undecayed(evaluation)
    return score.epoch if score else 0


def next_job(evaluation: Evaluation, recipe: Recipe) -> Job | None:
    """The training to the next rung; None at the top and after a decay."""
    epoch = epoch_of(evaluation)
    rung = recipe.next_rung(epoch)
    if not rung or decayed(evaluation):
        return None
    return Job(evaluation.candidate, epoch, rung, decay=False)


def decay_job(evaluation: Evaluation, recipe: Recipe) -> Job:
    """The decay from the highest rung that is reached."""
    epoch = epoch_of(evaluation)
    return Job(evaluation.candidate, epoch, epoch + recipe.decay_epochs(epoch), decay=True)


def next_to_confirm(
    trained: Sequence[Evaluation], evaluations: Sequence[Evaluation], constraints: Constraints
) -> Evaluation | None:
    """Of those that have the weights that will ship, the one that adds most to the front.

    None when no other could enter it; an uncertain IoU of its ONNX file (P < 0.9) excludes one.
    Where none can meet the floor, the nearest miss is worth knowing.
    """
    settled = [e for e in evaluations if e.state in ("confirmed", "rejected")]
    reached = [(p50_ms(e), e.iou or 0.0) for e in settled if e.state == "confirmed"]
    points = {e: (p50_ms(e), e.iou or 0.0) for e in trained}
    able = {
        e: (ms, iou)
        for e, (ms, iou) in points.items()
        if iou >= constraints.min_iou
        and not _is_uncertain(e)
        and not any(m <= ms and i >= iou for m, i in reached)
    }
    if not able and not settled:
        return max(points, key=lambda e: points[e][1], default=None)
    gains = {e: hypervolume([*reached, point], constraints) for e, point in able.items()}
    return max(able, key=lambda e: (gains[e], able[e][1]), default=None)


def _is_uncertain(evaluation: Evaluation) -> bool:
    score = evaluation.score("val")
    return score is not None and score.p_floor is not None and score.p_floor < MIN_P_FEASIBLE
