"""What the plots and tables of a run share: points and their kinds, axis limits, ticks, labels.

The PNG, the HTML page and the Optuna dashboard draw these points.
"""

from __future__ import annotations

import math
from collections.abc import Sequence, Set
from dataclasses import dataclass
from typing import Literal

from autoseg.core.pareto import meets
from autoseg.core.records import STATE_LABELS, Constraints, Evaluation, Score, Statistic
from autoseg.run.result import Result
from autoseg.run.rows import Interval, Quantity, TableRow, promised_name, table_rows

PointKind = Literal["front", "best", "dominated", "rejected", "too_slow", "untrained"]

POINT_LABELS: dict[PointKind, str] = {
    "front": "on the front",
    "best": "best so far, not confirmed",
    "dominated": "dominated or stopped",
    "rejected": STATE_LABELS["rejected"],
    "too_slow": STATE_LABELS["too_slow"],
    "untrained": STATE_LABELS["measured"],
}
BEST: tuple[PointKind, ...] = ("front", "best")


@dataclass(frozen=True)
class PlotPoint:
    """A measured candidate. `latency` is of the statistic that its runs support; `iou` is None
    without a score on val.

    `near` marks the nearest misses of a run without a front.
    """

    row: TableRow
    kind: PointKind
    latency: Quantity
    near: bool = False

    @property
    def key(self) -> str:
        return self.row.key

    @property
    def evaluation(self) -> Evaluation:
        return self.row.evaluation

    @property
    def ms(self) -> float:
        return self.latency.value or 0.0

    @property
    def iou(self) -> float | None:
        return self.row["iou_val"].value

    @property
    def rank(self) -> int | None:
        """The place on a confirmed front, the fastest first."""
        return self.row.rank if self.kind == "front" else None


@dataclass(frozen=True)
class FrontPlot:
    """The points of one run on one device, the front first and fastest first."""

    points: tuple[PlotPoint, ...]
    constraints: Constraints
    name: str = ""

    def of_kind(self, *kinds: PointKind) -> list[PlotPoint]:
        return [point for point in self.points if point.kind in kinds]

    @property
    def highlights(self) -> list[PlotPoint]:
        """The front or the best so far, the baseline, rejected models and nearest misses."""
        return [
            p for p in self.points
            if p.kind in (*BEST, "rejected") or p.row.is_baseline or p.near
        ]  # fmt: skip


def front_plot(
    evaluations: Sequence[Evaluation],
    constraints: Constraints,
    baseline: Evaluation | None = None,
    *,
    name: str = "",
    near: Set[str] = frozenset(),
) -> FrontPlot:
    """The plot of all measured evaluations; `near` are the keys of the nearest misses."""
    statistic = constraints.statistic
    points = [
        PlotPoint(row, _kind(row, constraints), row.latency(statistic), near=row.key in near)
        for row in table_rows(evaluations, statistic, baseline)
        if row.evaluation.measurement
    ]
    return FrontPlot(tuple(points), constraints, name)


def plot_of_run(result: Result) -> FrontPlot:
    """The plot of a run with its nearest misses where it has no front."""
    explained = result.explanation()
    # A scored candidate that meets both constraints misses nothing: it awaits its confirmation.
    near = {
        e.candidate.key
        for e in (explained.nearest if explained else ())
        if e.state == "rejected" or not meets(e, result.constraints)
    }
    return front_plot(result.evaluations, result.constraints, result.baseline, near=near)


def _kind(row: TableRow, constraints: Constraints) -> PointKind:
    state, latency = row.evaluation.state, row.latency(constraints.statistic)
    if row.on_front:
        return "front"
    if row.rank is not None and (latency.value or 0.0) <= constraints.max_latency_ms:
        return "best"
    if state == "rejected" or state == "too_slow":
        return state
    return "untrained" if row.evaluation.iou is None else "dominated"


def plot_ms_limits(plots: Sequence[FrontPlot]) -> tuple[float, float]:
    """The limits of the latency axis (log): all points and ceilings, and 25 % on both sides."""
    seen_ms = [point.ms for plot in plots for point in plot.points]
    seen_ms += [plot.constraints.max_latency_ms for plot in plots]
    return min(seen_ms) / 1.25, max(seen_ms) * 1.25


def plot_iou_limits(plots: Sequence[FrontPlot]) -> tuple[float, float]:
    """The limits of the IoU axis: floors, fronts, rejected models and nearest misses are seen;
    low IoU of other candidates is not, so that the front keeps the room."""
    known = [(p, p.iou) for plot in plots for p in plot.points if p.iou is not None]
    shown = [(p, iou) for p, iou in known if p.kind in (*BEST, "rejected") or p.near]
    ends = [end for p, _ in shown if p.kind in BEST for end in p.row["iou_val"].ci95 or ()]
    floors = [plot.constraints.min_iou for plot in plots]
    return iou_limits([*floors, *(iou for _, iou in shown)], ends, [iou for _, iou in known])


def iou_limits(
    must: Sequence[float], ends: Sequence[float], every: Sequence[float]
) -> tuple[float, float]:
    """The limits of an IoU axis: they include `must` and the `ends` of intervals, and of `every`
    IoU only those near them, so that the worst do not compress the front."""
    top, bottom = max([*must, *ends, *every]), min([*must, *ends])
    room = max(0.02, top - bottom)
    low = max(0.0, min([*must, *ends, *every]) - 0.1 * room, bottom - 0.6 * room)
    return low - 0.04 * room, min(1.0 + 0.02 * room, top + 0.08 * room)


def whiskers(
    intervals: Sequence[Interval | None], at: Sequence[float]
) -> tuple[list[float], list[float]]:
    """The lengths of error bars down and up from each point; zero without an interval."""
    known = [interval or (x, x) for interval, x in zip(intervals, at, strict=True)]
    down = [max(0.0, x - low) for (low, _), x in zip(known, at, strict=True)]
    return down, [max(0.0, high - x) for (_, high), x in zip(known, at, strict=True)]


def varied_knobs(evaluations: Sequence[Evaluation]) -> list[str]:
    """The knobs whose choice differs between candidates."""
    names = dict.fromkeys(name for e in evaluations for name, _ in e.candidate.choices)
    return [n for n in names if len({dict(e.candidate.choices).get(n) for e in evaluations}) > 1]


def latency_text(latency: Quantity, asked: Statistic, digits: int = 3) -> str:
    """``"12.3"`` ms; ``"12.3 (p50)"`` where the runs do not support the statistic `asked`.

    ``"~12.3"`` where a screening's interval is wide, ``"unusable (2 to 19)"`` where a confirmed
    one's is.
    """
    if latency.doubt == "unusable":
        return f"unusable ({latency.interval_text('.2g')})"
    lower = latency.value is not None and latency.statistic != asked
    rough = "~" if latency.doubt == "rough" else ""
    name = f" ({latency.statistic})" if lower else ""
    return f"{rough}{latency.text(f'.{digits}g')}{name}"


def beside_text(beside: Quantity, asked: Statistic, digits: int = 3) -> str:
    """The same of the latency that is not promised, which has a p50 or a p90."""
    return latency_text(beside, "p50" if asked == "p50" else "p90", digits)


def latency_name(plots: Sequence[FrontPlot]) -> str:
    """The label of a latency axis; it names the lower statistics that are shown where the runs
    were too few."""
    constraints = plots[0].constraints
    names = {str(point.latency.statistic) for plot in plots for point in plot.points}
    lower = ", ".join(sorted(names - {constraints.statistic}, reverse=True))
    few = f" (few runs: {lower})" if lower else ""
    return f"{promised_name(constraints.statistic, constraints.latency)}{few}"


def learning_curve(evaluation: Evaluation) -> list[Score]:
    """The scores on val during training, one a rung, by epoch; the last one may be decayed."""
    scores = [s for s in evaluation.scores if s.split == "val" and s.source == "torch"]
    return sorted(scores, key=lambda score: score.epoch)


def ms_ticks(low: float, high: float, most: int = 10) -> list[float]:
    """Round numbers on a log axis, 4 to about `most`: 1-2-5 a decade, finer in narrow ranges."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    finest = tuple(i / 10 for i in range(10, 100))
    for steps in ((1,), (1, 3), (1, 2, 5), (1, 1.5, 2, 3, 4, 5, 7), finest):
        ticks = [step * 10.0**decade for decade in decades for step in steps]
        inside = [tick for tick in ticks if low <= tick <= high]
        if len(inside) >= 4:
            return inside[:: math.ceil(len(inside) / most)]
    return inside


def ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Round numbers on a linear axis, at most `most`."""
    if not high > low:
        return [low]
    raw = (high - low) / most
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(s * power for s in (1, 2, 2.5, 5, 10) if s * power >= raw)
    return [n * step for n in range(math.ceil(low / step), math.floor(high / step) + 1)]
