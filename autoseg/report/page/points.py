"""Every measured candidate as a point of the front's picture, and in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from autoseg.core.pareto import front_of, meets, point
from autoseg.core.records import Evaluation, Statistic
from autoseg.report.page.words import iou, ms
from autoseg.run.result import Result

Kind = Literal["front", "best", "beaten", "rejected", "too_slow", "untrained"]

KINDS: dict[Kind, str] = {
    "front": "on the front",
    "best": "best so far, not confirmed",
    "beaten": "beaten or stopped",
    "rejected": "rejected at confirmation",
    "too_slow": "too slow",
    "untrained": "not trained",
}


@dataclass(frozen=True)
class Spot:
    """One candidate in the picture: `ms` is of the `statistic` that its runs support, and `iou` is
    None for what was never scored.

    `rank` counts the front from 1, the fastest first; `near` marks the nearest misses of a run
    without a front.
    """

    evaluation: Evaluation
    kind: Kind
    statistic: Statistic
    ms: float
    iou: float | None
    rank: int | None = None
    baseline: bool = False
    near: bool = False

    @property
    def key(self) -> str:
        return self.evaluation.candidate.key

    @property
    def said(self) -> str:
        """What a tooltip tells, and what is heard when the point has the focus."""
        marks = [f"{self.rank}." if self.rank else "", "baseline" if self.baseline else ""]
        figures = [KINDS[self.kind], f"{self.statistic} {ms(self.ms)}", f"IoU {iou(self.iou)}"]
        first = " ".join(mark for mark in marks if mark)
        return ", ".join([*([first] if first else []), *figures, str(self.evaluation.candidate)])


def spots(result: Result) -> list[Spot]:
    """The measured candidates, those of the front first and fastest first."""
    statistic = result.constraints.statistic
    confirmed = bool(result.front)
    best = result.front if confirmed else _best(result.evaluations, result)
    ranks = {e.candidate.key: rank for rank, e in enumerate(best, start=1)}
    explained = result.explanation()
    # What meets both figures and only waits for its confirmation misses nothing.
    missed = [e for e in (explained.nearest if explained else ()) if _misses(e, result)]
    near = {e.candidate.key for e in missed}
    own = result.baseline.candidate.key if result.baseline else None
    order = [*best, *(e for e in result.evaluations if e.candidate.key not in ranks)]
    found = []
    for evaluation in order:
        measurement, key = evaluation.measurement, evaluation.candidate.key
        if measurement is None:
            continue
        kind: Kind = "front" if confirmed else "best"
        found.append(
            Spot(
                evaluation,
                kind if key in ranks else _kind(evaluation),
                measurement.supported(statistic),
                measurement.latency_ms(statistic),
                evaluation.iou,
                ranks.get(key) if confirmed else None,
                key == own,
                key in near,
            )  # fmt: skip
        )
    return found


def _misses(evaluation: Evaluation, result: Result) -> bool:
    return evaluation.state == "rejected" or not meets(evaluation, result.constraints)


def _best(evaluations: Sequence[Evaluation], result: Result) -> list[Evaluation]:
    """What no other scored one beats, of those that fit the ceiling: the front to come."""
    found = front_of(evaluations, result.constraints.statistic)
    at = [(e, point(e, result.constraints.statistic)) for e in found]
    return [e for e, p in at if p and p[0] <= result.constraints.max_latency_ms]


def _kind(evaluation: Evaluation) -> Kind:
    if evaluation.state == "rejected":
        return "rejected"
    if evaluation.state == "too_slow":
        return "too_slow"
    return "untrained" if evaluation.iou is None else "beaten"
