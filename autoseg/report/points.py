"""The model of the front's plot: its points, what kind each one is, and the limits of its axes.

The PNG, the HTML page and the Optuna dashboard draw this model.
"""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import dataclass
from typing import Literal

from autoseg.core.pareto import meets
from autoseg.core.records import STATE_LABELS, Constraints, Evaluation, State
from autoseg.report.axes import iou_limits, ms_limits
from autoseg.run.result import Result
from autoseg.run.rows import Interval, Quantity, TableRow, table_rows

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
    def state(self) -> State:
        return self.row.evaluation.state

    @property
    def ms(self) -> float:
        return self.latency.value or 0.0

    @property
    def iou(self) -> float | None:
        return self.row["iou_val"].value

    @property
    def iou_ci95(self) -> Interval | None:
        return self.row["iou_val"].ci95

    @property
    def rank(self) -> int | None:
        """The place on a confirmed front, the fastest first."""
        return self.row.rank if self.kind == "front" else None

    @property
    def is_baseline(self) -> bool:
        return self.row.is_baseline


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
            if p.kind in (*BEST, "rejected") or p.is_baseline or p.near
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
    rows = table_rows(evaluations, constraints.statistic, baseline)
    points = []
    for row in rows:
        if row.evaluation.measurement is not None:
            latency = row.latency(constraints.statistic)
            kind = _kind(row, latency, constraints)
            points.append(PlotPoint(row, kind, latency, near=row.key in near))
    return FrontPlot(tuple(points), constraints, name)


def plot_of_run(result: Result, name: str = "") -> FrontPlot:
    """The plot of a run with its nearest misses where it has no front."""
    explained = result.explanation()
    # A scored candidate that meets both constraints misses nothing: it awaits its confirmation.
    near = {
        e.candidate.key
        for e in (explained.nearest if explained else ())
        if e.state == "rejected" or not meets(e, result.constraints)
    }
    return front_plot(
        result.evaluations, result.constraints, result.baseline, name=name, near=near
    )


def _kind(row: TableRow, latency: Quantity, constraints: Constraints) -> PointKind:
    if row.on_front:
        return "front"
    if row.rank is not None and (latency.value or 0.0) <= constraints.max_latency_ms:
        return "best"
    if row.evaluation.state == "rejected":
        return "rejected"
    if row.evaluation.state == "too_slow":
        return "too_slow"
    return "untrained" if row.evaluation.iou is None else "dominated"


def plot_ms_limits(plots: Sequence[FrontPlot]) -> tuple[float, float]:
    """The limits of the latency axis: every point and every ceiling is seen."""
    ceilings = [plot.constraints.max_latency_ms for plot in plots]
    return ms_limits([*(point.ms for plot in plots for point in plot.points), *ceilings])


def plot_iou_limits(plots: Sequence[FrontPlot]) -> tuple[float, float]:
    """The limits of the IoU axis: floors, fronts, rejected models and nearest misses are seen;
    low IoU of other candidates is not, so that the front keeps the room."""
    known = [
        (point, point.iou) for plot in plots for point in plot.points if point.iou is not None
    ]
    shown = [(p, iou) for p, iou in known if p.kind in (*BEST, "rejected") or p.near]
    ends = [end for p, _ in shown if p.kind in BEST for end in p.iou_ci95 or ()]
    floors = [plot.constraints.min_iou for plot in plots]
    return iou_limits([*floors, *(iou for _, iou in shown)], ends, [iou for _, iou in known])
