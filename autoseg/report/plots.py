"""The Pareto plot as PNG: all measured candidates, the front, and the two constraints."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator, StrMethodFormatter

from autoseg.core.records import STATE_LABELS, Constraints, Evaluation
from autoseg.report.plot_data import (
    BEST,
    POINT_LABELS,
    FrontPlot,
    PlotPoint,
    front_plot,
    latency_name,
    ms_ticks,
    plot_iou_limits,
    plot_ms_limits,
    whiskers,
)

FRONT, OTHER, LIMIT, _REJECTED, _BASELINE = (
    "#0b6e99", "#8a949e", "#b5541c", "#c0392b", "#5b3a8c",
)  # fmt: skip
_RUN_COLORS = FRONT, "#b8601a"
_EDGE_HEIGHT = 0.02  # of the plot: marks on its lower edge


def pareto_png(
    path: Path,
    evaluations: Sequence[Evaluation],
    constraints: Constraints,
    *,
    baseline: Evaluation | None = None,
) -> None:
    """Write the plot of `pareto_figure`."""
    pareto_figure(front_plot(evaluations, constraints, baseline)).savefig(path, format="png")


def pareto_figure(plot: FrontPlot, title: str = "") -> Figure:
    """Draw latency (the promised statistic, log scale) against val IoU, the front with intervals.

    Numbers at the front are ranks, as in its table. Points with an IoU below the plot are marked
    on its lower edge. Without points, only the constraints are drawn.
    """
    figure, axes = _empty([plot])
    _draw_constraints(axes, plot.constraints)
    _draw_front(axes, plot)
    _draw_rest(axes, plot)
    _label(axes, [plot], title)
    return figure


def fronts_figure(plots: Sequence[FrontPlot]) -> Figure:
    """Draw two named fronts as `pareto_figure` does one, each in its colour."""
    figure, axes = _empty(plots)
    low = axes.get_ylim()[0]
    for row, (plot, color) in enumerate(zip(plots, _RUN_COLORS, strict=True)):
        _draw_constraints(axes, plot.constraints, color, row)
        rest = [p for p in plot.points if p.kind not in BEST and (p.iou or 0.0) >= low]
        label = f"other networks of {plot.name}"
        _scatter(axes, rest, label, "o", color=color, alpha=0.25, markersize=5)
        _draw_front(axes, plot, color=color, row=row)
    _label(axes, plots, "")
    return figure


def _empty(plots: Sequence[FrontPlot]) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(8, 5), dpi=150, layout="constrained")
    axes = figure.add_subplot()
    axes.set_xscale("log")
    axes.set(xlim=plot_ms_limits(plots), ylim=plot_iou_limits(plots))
    return figure, axes


def _draw_constraints(
    axes: Axes, constraints: Constraints, color: str = LIMIT, row: int = 0
) -> None:
    ceiling, floor = constraints.max_latency_ms, constraints.min_iou
    dashes = (4 * row, (4, 4))  # two lines at one place show both colours
    axes.axvline(ceiling, color=color, linewidth=1.1, linestyle=dashes, zorder=1)
    axes.axhline(floor, color=color, linewidth=1.1, linestyle=dashes, zorder=1)
    left, top = axes.get_xlim()[0], axes.get_ylim()[1]
    axes.fill_between([left, ceiling], floor, top, color=color, alpha=0.06, linewidth=0, zorder=0)
    # The labels are outside the frame, beside their lines: no point can cover them.
    axes.text(
        ceiling, 1.01 + 0.045 * row, f"ceiling {ceiling:g} ms", color=color, fontsize=9,
        ha="center", va="bottom", transform=axes.get_xaxis_transform(),
    )  # fmt: skip
    axes.text(
        1.01 + 0.07 * row, floor, f"floor\n{floor:g}", color=color, fontsize=9, ha="left",
        va="center", transform=axes.get_yaxis_transform(),
    )  # fmt: skip


def _draw_rest(axes: Axes, plot: FrontPlot) -> None:
    """All points but the front; those without a place by their IoU lie on the lower edge."""
    low = axes.get_ylim()[0]
    rest = [p for p in plot.points if p.kind not in BEST and not p.row.is_baseline]
    plain = [p for p in rest if p.kind != "rejected"]
    rejected = [p for p in rest if p.kind == "rejected"]
    baseline = [p for p in plot.points if p.row.is_baseline]
    dots = [p for p in plain if (p.iou or 0.0) >= low]
    _scatter(axes, dots, POINT_LABELS["dominated"], "o", color=OTHER, alpha=0.5, markersize=5)
    _scatter(axes, rejected, POINT_LABELS["rejected"], "X", color=_REJECTED, markersize=8)
    stars = [p for p in baseline if (p.iou or 0.0) >= low]
    _scatter(axes, stars, "baseline", "*", color=_BASELINE, markersize=14)
    below = [p for p in plain + baseline if p.iou is not None and p.iou < low]
    unscored = [p for p in plain + baseline if p.iou is None]
    _draw_edge(axes, below, "v", "IoU below this plot")
    _draw_edge(axes, unscored, "|", f"{STATE_LABELS['too_slow']} or {STATE_LABELS['measured']}")


def _draw_edge(axes: Axes, points: Sequence[PlotPoint], marker: str, label: str) -> None:
    if points:
        axes.plot(
            [p.ms for p in points], [_EDGE_HEIGHT] * len(points), marker, color=OTHER, alpha=0.7,
            markersize=7, transform=axes.get_xaxis_transform(), label=f"{label} ({len(points)})",
        )  # fmt: skip


def _scatter(
    axes: Axes, points: Sequence[PlotPoint], label: str, marker: str, **look: Any
) -> None:
    known = [(p.ms, p.iou) for p in points if p.iou is not None]
    count = f" ({len(known)})" if label != "baseline" else ""
    if known:
        at = zip(*known, strict=True)
        axes.plot(*at, marker, markeredgewidth=0, label=label + count, zorder=3, **look)


def _draw_front(axes: Axes, plot: FrontPlot, *, color: str = FRONT, row: int = 0) -> None:
    """Draw the ranks of a second front (`row` 1) on the other side of its points."""
    best = [(p, p.iou) for p in plot.of_kind(*BEST) if p.iou is not None]
    if not best:
        return
    each_ms, ious = [p.ms for p, _ in best], [iou for _, iou in best]
    of = f" of {plot.name}" if plot.name else ""
    name = f"{'front' if best[0][0].kind == 'front' else 'best so far'}{of} ({len(best)})"
    # Steps: for a latency between two models, the faster one's IoU is the best available.
    axes.plot(each_ms, ious, drawstyle="steps-post", color=color, linewidth=1.2, alpha=0.6)
    axes.errorbar(
        each_ms, ious, xerr=whiskers([p.latency.ci95 for p, _ in best], each_ms),
        yerr=whiskers([p.row["iou_val"].ci95 for p, _ in best], ious), fmt="o", color=color,
        markersize=6, elinewidth=1.0, capsize=2, label=f"{name}, 95 % intervals", zorder=4,
    )  # fmt: skip
    for rank, at in enumerate(zip(each_ms, ious, strict=True), start=1):
        axes.annotate(
            str(rank), at, (5, -13) if row else (-5, 5), textcoords="offset points", color=color,
            fontsize=10, fontweight="bold", ha="left" if row else "right", zorder=5,
        )  # fmt: skip


def _label(axes: Axes, plots: Sequence[FrontPlot], title: str) -> None:
    axes.xaxis.set_major_locator(FixedLocator(ms_ticks(*axes.get_xlim())))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.set(xlabel=f"{latency_name(plots)} in ms (log scale)", ylabel="IoU on val")
    axes.set_title(title, loc="left", fontsize=11, pad=18)
    draw_frame(axes)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(
            loc="upper center", bbox_to_anchor=(0.5, -0.13), ncol=3 if len(plots) == 1 else 2,
            fontsize=9, frameon=False,
        )  # fmt: skip


def draw_frame(axes: Axes) -> None:
    """A faint grid, and only the left and the lower edge."""
    axes.grid(color="#000000", alpha=0.08, linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
