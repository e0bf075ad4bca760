"""Where a candidate stands: its rung, its IoU, who is ahead, what a decay would make of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from autoseg.front import Point, front, hypervolume
from autoseg.promise import SURE
from autoseg.records import Constraints, Evaluation, Score

# What the decay leaves of the error, by the epoch from which it branches: at best, and likely.
DECAY_HOPE = {3: 0.75, 9: 0.75, 27: 0.7}
DECAY_EXPECT = {3: 0.95, 9: 0.95, 27: 0.92}


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


def iou_at(evaluation: Evaluation, epoch: int) -> float | None:
    """Its undecayed IoU at one rung, or None."""
    trained = [s for s in evaluation.scores if s.source == "torch" and not s.decayed]
    return next((s.iou for s in trained if s.epoch == epoch), None)


def layers(evaluations: Sequence[Evaluation], rung: int) -> list[Evaluation]:
    """Non-dominated layers over (p50, IoU at this rung), each from the highest IoU down."""
    rest = [(e, iou) for e in evaluations if (iou := iou_at(e, rung)) is not None]
    ordered: list[Evaluation] = []
    while rest:
        best = [rest[i] for i in front([(p50(e), iou) for e, iou in rest])]
        ordered += [e for e, _ in sorted(best, key=lambda pair: -pair[1])]
        rest = [pair for pair in rest if pair not in best]
    return ordered


def after_decay(evaluation: Evaluation, shares: Mapping[int, float]) -> float:
    """IoU after the decay from where it stands (early rungs gain most); 0 while untrained."""
    score = evaluation.score("val")
    if score is None or score.decayed:
        return score.iou if score else 0.0
    share = next((s for epoch, s in shares.items() if score.epoch <= epoch), shares[max(shares)])
    return 1 - (1 - score.iou) * share


def faster_and_better(
    evaluation: Evaluation, hope: float, others: Sequence[Evaluation]
) -> str | None:
    """The key of one that is faster and has now what this one may at best have, or None."""
    for other in others:
        score = undecayed(other)
        if other.state in ("failed", "struck"):
            continue  # what does not hold beats nobody
        if score and p50(other) < p50(evaluation) and score.iou >= hope:
            return other.candidate.key
    return None


def by_gain(
    able: Mapping[Evaluation, Point],
    reached: Sequence[Point],
    constraints: Constraints,
    *,
    most: int,
) -> list[Evaluation]:
    """Each next one adds most to the hypervolume of those before it: few, spread well."""
    points, rest = list(reached), dict(able)
    ordered: list[Evaluation] = []
    while rest and len(ordered) < most:
        gains = {e: hypervolume([*points, at], constraints) for e, at in rest.items()}
        best = max(rest, key=lambda e: (gains[e], rest[e][1]))
        points.append(rest.pop(best))
        ordered.append(best)
    return ordered


def next_to_confirm(
    trained: Sequence[Evaluation], evaluations: Sequence[Evaluation], constraints: Constraints
) -> Evaluation | None:
    """Of those whose weights are there as they will ship, the one that adds most to the front.

    None when no other could enter it; one whose file has shown an IoU that is too unsure cannot.
    Where none can meet the floor, the nearest miss is worth knowing.
    """
    settled = [e for e in evaluations if e.state in ("confirmed", "struck")]
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
    return next(iter(by_gain(able, reached, constraints, most=1)), None)


def _in_doubt(evaluation: Evaluation) -> bool:
    score = evaluation.score("val")
    return score is not None and score.p_floor is not None and score.p_floor < SURE
