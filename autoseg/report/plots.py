"""The Pareto plot: what was tried, what holds, and where the user's two constraints lie."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator, StrMethodFormatter

from autoseg.core.pareto import Point, front_of, point
from autoseg.core.records import Constraints, Evaluation, Statistic
from autoseg.report.axes import (
    iou_interval,
    iou_limits,
    latency_interval,
    latency_name,
    ms_limits,
    ms_ticks,
)

_SIDES = "#0b6e99", "#b8601a"
_FRONT, _OTHER, _LIMIT, _STRUCK, _BASE = "#0b6e99", "#8a949e", "#b5541c", "#c0392b", "#5b3a8c"


@dataclass(frozen=True)
class _Layers:
    """Everything to draw, as points (ms, IoU); what was never scored has a latency only."""

    front: list[Evaluation]
    dominated: list[Point]
    rejected: list[Point]
    baseline: list[Point]
    unscored_ms: list[float]


def pareto_png(
    path: Path,
    evaluations: Sequence[Evaluation],
    constraints: Constraints,
    *,
    baseline: Evaluation | None = None,
    title: str = "",
) -> None:
    """Writes the picture of `pareto_figure`."""
    figure = pareto_figure(evaluations, constraints, baseline=baseline, title=title)
    figure.savefig(path, format="png")


def pareto_figure(
    evaluations: Sequence[Evaluation],
    constraints: Constraints,
    *,
    baseline: Evaluation | None = None,
    title: str = "",
) -> Figure:
    """Draws latency (the promised statistic, log scale) against val IoU, the front with intervals.

    Numbers at the front are ranks, as in its table. What lies far below the floor is marked on the
    lower edge, so that the front keeps the room. Without evaluations, the constraints are drawn.
    """
    figure = Figure(figsize=(8, 5), dpi=150, layout="constrained")
    axes = figure.add_subplot()
    layers = _sort(evaluations, constraints.statistic, baseline)
    iou_limits, ms_limits = _iou_limits(layers, constraints), _ms_limits(layers, constraints)
    axes.set_xscale("log")
    axes.set(xlim=ms_limits, ylim=iou_limits)
    _draw_constraints(axes, constraints)
    _draw_front(axes, layers.front, constraints.statistic)
    _draw_rest(axes, layers, iou_limits[0])
    _dress(axes, latency_name(evaluations, constraints.statistic), title)
    return figure


@dataclass(frozen=True)
class Side:
    """One of two runs, or of two devices of a run, by the name that tells them apart."""

    name: str
    evaluations: Sequence[Evaluation]
    constraints: Constraints


def fronts_figure(sides: Sequence[Side]) -> Figure:
    """Draws two fronts as `pareto_figure` does one, each with what was asked for in its colour."""
    figure = Figure(figsize=(8, 5), dpi=150, layout="constrained")
    axes = figure.add_subplot()
    layers = [_sort(s.evaluations, s.constraints.statistic, None) for s in sides]
    pairs = list(zip(layers, (s.constraints for s in sides), strict=True))
    axes.set_xscale("log")
    axes.set(
        xlim=_around([_ms_limits(*pair) for pair in pairs]),
        ylim=_around([_iou_limits(*pair) for pair in pairs]),
    )
    low = axes.get_ylim()[0]
    for row, (side, layer, color) in enumerate(zip(sides, layers, _SIDES, strict=True)):
        _draw_constraints(axes, side.constraints, color, row)
        rest = [at for at in layer.dominated + layer.rejected if at[1] >= low]
        _scatter(axes, rest, "o", color, f"other networks of {side.name}", alpha=0.25, size=5)
        of, statistic = f" of {side.name}", side.constraints.statistic
        _draw_front(axes, layer.front, statistic, color=color, of=of, row=row)
    seen = [e for s in sides for e in s.evaluations]
    _dress(axes, latency_name(seen, sides[0].constraints.statistic), "", columns=2)
    return figure


def _around(limits: Sequence[tuple[float, float]]) -> tuple[float, float]:
    return min(low for low, _ in limits), max(high for _, high in limits)


def _sort(
    evaluations: Sequence[Evaluation], statistic: Statistic, baseline: Evaluation | None
) -> _Layers:
    best = front_of(evaluations, statistic)
    drawn = {e.candidate.key for e in best} | ({baseline.candidate.key} if baseline else set())
    rest = [e for e in evaluations if e.candidate.key not in drawn]
    first = [baseline] if baseline else []
    unscored = [e for e in [*rest, *first] if e.iou is None]
    return _Layers(
        best,
        _points([e for e in rest if e.state != "rejected"], statistic),
        _points([e for e in rest if e.state == "rejected"], statistic),
        _points(first, statistic),
        [e.measurement.latency_ms(statistic) for e in unscored if e.measurement],
    )


def _points(evaluations: Sequence[Evaluation], statistic: Statistic) -> list[Point]:
    return [at for e in evaluations if (at := point(e, statistic)) is not None]


def _iou_limits(layers: _Layers, constraints: Constraints) -> tuple[float, float]:
    """The floor, the front and the rejected must be seen; near misses too, but not the worst."""
    must = [constraints.min_iou, *(e.iou for e in layers.front if e.iou is not None)]
    must += [iou for _, iou in layers.rejected]
    ends = [end for e in layers.front for end in iou_interval(e) or ()]
    return iou_limits(must, ends, [iou for _, iou in layers.dominated + layers.baseline])


def _ms_limits(layers: _Layers, constraints: Constraints) -> tuple[float, float]:
    statistic = constraints.statistic
    seen = [ms for ms, _ in _points(layers.front, statistic) + layers.dominated]
    seen += [ms for ms, _ in layers.rejected + layers.baseline]
    seen += [*layers.unscored_ms, constraints.max_latency_ms]
    return ms_limits(seen)


def _draw_constraints(
    axes: Axes, constraints: Constraints, color: str = _LIMIT, row: int = 0
) -> None:
    ceiling, floor = constraints.max_latency_ms, constraints.min_iou
    dashes = (4 * row, (4, 4))  # two lines at one place show both colours
    axes.axvline(ceiling, color=color, linewidth=1.1, linestyle=dashes, zorder=1)
    axes.axhline(floor, color=color, linewidth=1.1, linestyle=dashes, zorder=1)
    left, top = axes.get_xlim()[0], axes.get_ylim()[1]
    axes.fill_between([left, ceiling], floor, top, color=color, alpha=0.06, linewidth=0, zorder=0)
    # Beside their lines, outside the frame: nothing that is drawn inside can lie on them.
    axes.text(
        ceiling, 1.01 + 0.045 * row, f"ceiling {ceiling:g} ms", color=color, fontsize=9,
        ha="center", va="bottom", transform=axes.get_xaxis_transform(),
    )  # fmt: skip
    axes.text(
        1.01 + 0.07 * row, floor, f"floor\n{floor:g}", color=color, fontsize=9, ha="left",
        va="center", transform=axes.get_yaxis_transform(),
    )  # fmt: skip


def _draw_rest(axes: Axes, layers: _Layers, low: float) -> None:
    inside = [at for at in layers.dominated if at[1] >= low]
    below_ms = [ms for ms, iou in layers.dominated if iou < low]
    _scatter(axes, inside, "o", _OTHER, "beaten or stopped", alpha=0.5, size=5)
    _scatter(axes, layers.rejected, "X", _STRUCK, "rejected on confirmation")
    _scatter(axes, [at for at in layers.baseline if at[1] >= low], "*", _BASE, "baseline", size=14)
    # The lower edge holds what has no place in the picture: its IoU is below, or was never taken.
    below_ms += [ms for ms, iou in layers.baseline if iou < low]
    for each_ms, marker, label, height in (
        (below_ms, "v", "IoU below this picture", 0.02),
        (layers.unscored_ms, "|", "too slow or not trained", 0.02),
    ):
        if each_ms:
            axes.plot(
                each_ms, [height] * len(each_ms), marker, color=_OTHER, alpha=0.7, markersize=7,
                transform=axes.get_xaxis_transform(), label=f"{label} ({len(each_ms)})",
            )  # fmt: skip


def _scatter(
    axes: Axes,
    points: Sequence[Point],
    marker: str,
    color: str,
    label: str,
    *,
    alpha: float = 1.0,
    size: float = 8,
) -> None:
    if not points:
        return
    count = f" ({len(points)})" if label != "baseline" else ""
    axes.plot(
        [ms for ms, _ in points], [iou for _, iou in points], marker, color=color, alpha=alpha,
        markersize=size, markeredgewidth=0, label=label + count, zorder=3,
    )  # fmt: skip


def _draw_front(
    axes: Axes,
    best: Sequence[Evaluation],
    statistic: Statistic,
    *,
    color: str = _FRONT,
    of: str = "",
    row: int = 0,
) -> None:
    """The ranks of a second front, `row` 1, stand on the other side of its points."""
    points = _points(best, statistic)
    if not points:
        return
    each_ms, ious = [ms for ms, _ in points], [iou for _, iou in points]
    sure = any(e.state == "confirmed" for e in best)
    name = f"{'front' if sure else 'best so far'}{of} ({len(best)})"
    # Steps: between two models nothing more is had than the faster one's IoU.
    axes.plot(each_ms, ious, drawstyle="steps-post", color=color, linewidth=1.2, alpha=0.6)
    axes.errorbar(
        each_ms, ious, xerr=_bars([latency_interval(e, statistic) for e in best], each_ms),
        yerr=_bars([iou_interval(e) for e in best], ious), fmt="o", color=color, markersize=6,
        elinewidth=1.0, capsize=2, label=f"{name}, 95 % intervals", zorder=4,
    )  # fmt: skip
    for rank, at in enumerate(points, start=1):
        axes.annotate(
            str(rank), at, (5, -13) if row else (-5, 5), textcoords="offset points", color=color,
            fontsize=10, fontweight="bold", ha="left" if row else "right", zorder=5,
        )  # fmt: skip


def _bars(
    intervals: Sequence[tuple[float, float] | None], at: Sequence[float]
) -> tuple[list[float], list[float]]:
    """Lengths down and up from each point; none where there is no interval."""
    known = [interval or (x, x) for interval, x in zip(intervals, at, strict=True)]
    down = [max(0.0, x - low) for (low, _), x in zip(known, at, strict=True)]
    return down, [max(0.0, high - x) for (_, high), x in zip(known, at, strict=True)]


def _dress(axes: Axes, latency: str, title: str, *, columns: int = 3) -> None:
    axes.xaxis.set_major_locator(FixedLocator(ms_ticks(*axes.get_xlim())))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.set_xlabel(f"{latency} in ms (log scale)")
    axes.set_ylabel("IoU on val")
    axes.set_title(title, loc="left", fontsize=11, pad=18)
    axes.grid(color="#000000", alpha=0.08, linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(
            loc="upper center",
            bbox_to_anchor=(0.5, -0.13),
            ncol=columns,
            fontsize=9,
            frameon=False,
        )
