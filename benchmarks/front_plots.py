"""Two searches in one picture: their models and fronts over log latency, or areas over time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fronts import front_points, round_ticks
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator, StrMethodFormatter

from autoseg.core.pareto import Point
from autoseg.core.records import Constraints

# Of Okabe and Ito: told apart with any colour sight, and by their markers.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "^", "v", "D", "P", "X")


@dataclass(frozen=True)
class Series:
    """One search: the points that its front is of, and all others that are known of it."""

    name: str
    points: Sequence[Point]
    others: Sequence[Point] = ()


def draw_fronts(
    axes: Axes,
    series: Sequence[Series],
    lowest: float,
    labels: tuple[str, str],
    *,
    ceiling_ms: float = 0.0,
) -> None:
    """The fronts as steps, all points beside them; what lies below `lowest` is counted only."""
    axes.set_xscale("log")
    every = [at for one in series for at in (*one.points, *one.others)]
    inside_ms = [ms for ms, iou in every if iou >= lowest]
    left, right = min(inside_ms) / 1.15, max([*inside_ms, ceiling_ms]) * 1.15
    for one, colour, marker in zip(series, COLOURS, MARKERS, strict=False):
        steps = [at for at in front_points(one.points) if at[1] >= lowest]
        if steps:
            x, y = [ms for ms, _ in steps], [iou for _, iou in steps]
            axes.plot([*x, right], [*y, y[-1]], drawstyle="steps-post", color=colour, lw=1.2)
            axes.plot(x, y, marker, color=colour, ms=6, zorder=4, label=f"{one.name}: front")
        on = set(front_points(one.points))
        rest = [at for at in (*one.points, *one.others) if at not in on]
        shown = [at for at in rest if at[1] >= lowest]
        hidden = len(rest) - len(shown)
        label = f"{one.name}: others ({len(shown)}" + (f", {hidden} below)" if hidden else ")")
        axes.plot(
            [ms for ms, _ in shown], [iou for _, iou in shown], marker, color=colour, ms=4,
            alpha=0.45, mfc="none", ls="none", zorder=3, label=label,
        )  # fmt: skip
    axes.set(xlim=(left, right), xlabel=f"{labels[0]} in ms (log scale)", ylabel=labels[1])
    axes.set_ylim(bottom=lowest)
    latency_ticks(axes, left, right)


def draw_areas(axes: Axes, curves: Sequence[tuple[str, list[Point], float]]) -> None:
    """Hypervolume over minutes; the marker is what was confirmed at the end of the run."""
    for (name, steps, confirmed), colour, marker in zip(curves, COLOURS, MARKERS, strict=False):
        x, y = [s / 60 for s, _ in steps], [value for _, value in steps]
        axes.plot(x, y, drawstyle="steps-post", color=colour, lw=1.4, label=f"{name}: scored")
        axes.plot(
            x[-1:], [confirmed], marker, color=colour, ms=9, label=f"{name}: confirmed (val)"
        )
    axes.set(xlabel="minutes since the start", ylabel="hypervolume, ln(latency) x IoU")
    axes.set_ylim(bottom=0)
    dress(axes)


def latency_ticks(axes: Axes, left: float, right: float) -> None:
    axes.xaxis.set_major_locator(FixedLocator(round_ticks(left, right)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    dress(axes)


def dress(axes: Axes) -> None:
    axes.grid(color="#000000", alpha=0.08, linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    # Below the frame: nothing that is drawn inside can lie on it.
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.12), ncol=2, fontsize=9, frameon=False)


def fronts_png(
    path: Path, series: Sequence[Series], lowest: float, labels: tuple[str, str]
) -> None:
    figure = Figure(figsize=(8, 5), dpi=150, layout="constrained")
    draw_fronts(figure.add_subplot(), series, lowest, labels)
    figure.savefig(path, format="png")


def live_png(
    path: Path,
    series: Sequence[Series],
    constraints: Constraints,
    curves: Sequence[tuple[str, list[Point], float]],
) -> None:
    """Fronts with the ceiling and the floor on the left, areas over time on the right."""
    figure = Figure(figsize=(13, 5), dpi=150, layout="constrained")
    left, right = figure.subplots(1, 2)
    floor, ceiling_ms = constraints.min_iou, constraints.max_latency_ms
    best = max((iou for one in series for _, iou in one.points), default=floor)
    lowest = floor - 0.3 * max(best - floor, 0.02)
    if any(iou >= lowest for one in series for _, iou in (*one.points, *one.others)):
        labels = (f"latency {constraints.statistic}", "IoU on val")
        draw_fronts(left, series, lowest, labels, ceiling_ms=ceiling_ms)
    left.axvline(ceiling_ms, color="#555555", lw=1, ls="--")
    left.axhline(floor, color="#555555", lw=1, ls="--")
    draw_areas(right, curves)
    figure.savefig(path, format="png")
