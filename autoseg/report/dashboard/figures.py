"""Plotly figures of a run for its Optuna study: front, learning curves, hypervolume.

They are small and transparent: the dashboard's background may be light or dark.
"""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import plotly.graph_objects as go

from autoseg.core.records import STATE_LABELS, Constraints
from autoseg.report.baseline import baseline_name
from autoseg.report.plot_data import (
    BEST,
    POINT_LABELS,
    FrontPlot,
    PlotPoint,
    front_plot,
    iou_limits,
    latency_name,
    learning_curve,
    ms_ticks,
    plot_iou_limits,
    plot_ms_limits,
    whiskers,
)
from autoseg.run.result import Result
from autoseg.run.rows import Interval

FRONT, OTHER, LIMIT, REJECTED, BASELINE, ACTIVE = (
    "#2a8fc0", "#8a949e", "#d9722e", "#d64a3a", "#9a6fd0", "#3d9a5f",
)  # fmt: skip
LIMIT_LINE = {"color": LIMIT, "width": 1.2, "dash": "dash"}
INK, GRID = "#808890", "rgba(128,136,144,0.25)"
MAX_REASON = 160  # characters in a hover text


@dataclass(frozen=True)
class PointStyle:
    """The look of the points of a group."""

    color: str
    symbol: str
    size: int = 7
    opacity: float = 0.9


# The front (or the best so far), then the other points by state.
STYLES = {
    "front": PointStyle(FRONT, "circle", 10, 1.0),
    "confirmed": PointStyle(FRONT, "circle-open"),
    "scored": PointStyle(ACTIVE, "circle"),
    "stopped": PointStyle(OTHER, "circle", 6, 0.6),
    "rejected": PointStyle(REJECTED, "x", 9),
    "failed": PointStyle(REJECTED, "x-open"),
    "measured": PointStyle(ACTIVE, "line-ns-open", 8, 0.6),
    "too_slow": PointStyle(OTHER, "line-ns-open", 8, 0.6),
}


def figures(result: Result) -> Mapping[str, go.Figure]:
    """The figures of a run, live or finished, by their ids in the study."""
    plot = front_plot(result.evaluations, result.constraints, result.baseline)
    if not plot.points:
        return {}
    # Trials are numbered in the ledger's order.
    numbers = {e.candidate.key: number for number, e in enumerate(result.evaluations)}
    drawn = {"front": front_figure(plot, numbers, finished=result.status == "finished")}
    if any(point.iou is not None for point in plot.points):
        drawn["learning-curves"] = curves_figure(plot, numbers)
    if len(result.curve) > 1:
        drawn["hypervolume"] = hypervolume_figure(result)
    return drawn


def front_figure(
    plot: FrontPlot, numbers: Mapping[str, int], *, finished: bool = True
) -> go.Figure:
    """Latency (log) against IoU with both constraints; points without IoU on the lower edge."""
    low, high = plot_iou_limits([plot])
    figure = go.Figure()
    for group, points in _groups(plot).items():
        for scored in (True, False):
            some = [p for p in points if (p.iou is not None) == scored]
            if some:
                figure.add_trace(_scatter(some, group, low, numbers))
    for point in plot.points:
        if point.row.is_baseline:
            figure.add_trace(_baseline_mark(point, low))
    _draw_constraints(figure, plot.constraints)
    _ms_axis(figure, plot)
    figure.update_yaxes(range=[low, high], title_text="IoU on val")
    best = plot.of_kind(*BEST)
    confirmed = bool(plot.of_kind("front"))
    none = "No front" if finished else "No front yet"
    title = "Front" if confirmed else "Front so far, unconfirmed" if best else none
    return _layout(figure, f"{title}: {len(best)} of {len(numbers)} candidates")


def curves_figure(plot: FrontPlot, numbers: Mapping[str, int]) -> go.Figure:
    """IoU over epochs of all trained candidates; a decayed score is an open marker."""
    figure = go.Figure()
    for group, points in _groups(plot).items():
        if some := [p for p in points if learning_curve(p.evaluation)]:
            figure.add_trace(_curves(some, group, numbers))
    curves = [curve for p in plot.points if (curve := learning_curve(p.evaluation))]
    scores, floor = [score for curve in curves for score in curve], plot.constraints.min_iou
    figure.add_hline(y=floor, line=LIMIT_LINE)
    rungs = sorted({score.epoch for score in scores})
    figure.update_xaxes(type="log", tickvals=_apart(rungs), title_text="epochs (log)")
    ends = [curve[-1].iou for curve in curves]
    limits = iou_limits([floor, *ends], [], [score.iou for score in scores])
    figure.update_yaxes(range=limits, title_text="IoU on val")
    return _layout(figure, "Learning curves")


def hypervolume_figure(result: Result) -> go.Figure:
    """The hypervolume that finishing would have given, over the run's time."""
    constraints = result.constraints
    line = go.Scatter(
        x=[seconds / 60 for seconds, _ in result.curve], y=[volume for _, volume in result.curve],
        mode="lines", line={"shape": "hv", "color": FRONT}, name="if finished then",
        showlegend=False,
    )  # fmt: skip
    figure = go.Figure(line)
    name = f"ln(ms) x IoU beyond ({constraints.max_latency_ms:g} ms, {constraints.min_iou:g})"
    figure.update_xaxes(title_text="minutes", rangemode="tozero")
    figure.update_yaxes(title_text=name, rangemode="tozero")
    return _layout(figure, "Hypervolume that finishing would give")


def _groups(plot: FrontPlot) -> dict[str, list[PlotPoint]]:
    """The points by style in the order of drawing, each group by latency."""
    groups: dict[str, list[PlotPoint]] = {name: [] for name in STYLES}
    for point in sorted(plot.points, key=lambda p: p.ms):
        groups["front" if point.kind in BEST else point.evaluation.state].append(point)
    return groups


def _group_label(points: Sequence[PlotPoint], group: str) -> str:
    if group == "front":
        return POINT_LABELS[points[0].kind]
    label = STATE_LABELS[points[0].evaluation.state]
    # States in which a candidate never has an IoU do not say so.
    without = points[0].iou is None and group not in ("measured", "too_slow")
    return f"{label}, no IoU" if without else label


def _scatter(
    points: Sequence[PlotPoint], group: str, low: float, numbers: Mapping[str, int]
) -> go.Scatter:
    front, style = group == "front", STYLES[group]
    each_ms = [p.ms for p in points]
    ious = [low if p.iou is None else p.iou for p in points]
    return go.Scatter(
        x=each_ms, y=ious, mode="lines+markers" if front else "markers",
        name=f"{_group_label(points, group)} ({len(points)})", opacity=style.opacity,
        line={"shape": "hv", "color": FRONT, "width": 1} if front else None,
        marker={"color": style.color, "symbol": style.symbol, "size": style.size},
        error_x=_bars([p.latency.ci95 for p in points], each_ms) if front else None,
        error_y=_bars([p.row["iou_val"].ci95 for p in points], ious) if front else None,
        text=[_hover(p, numbers[p.key]) for p in points], hoverinfo="text",
    )  # fmt: skip


def _baseline_mark(point: PlotPoint, low: float) -> go.Scatter:
    iou = low if point.iou is None else point.iou
    return go.Scatter(
        x=[point.ms], y=[iou], mode="markers", hoverinfo="skip",
        name=baseline_name(point.evaluation),
        marker={"symbol": "star-open", "size": 15, "color": BASELINE, "line": {"width": 1.5}},
    )  # fmt: skip


def _curves(points: Sequence[PlotPoint], group: str, numbers: Mapping[str, int]) -> go.Scatter:
    """All curves of a group in one trace: hundreds of traces are slow to draw."""
    dots: list[tuple[int | None, float | None, str, str]] = []
    for point in points:
        name = f"trial {numbers[point.key]}<br>{html.escape(str(point.evaluation.candidate))}"
        for score in learning_curve(point.evaluation):
            decayed = ", decayed" if score.decayed else ""
            text = f"{name}<br>IoU {score.iou:.4f} at {score.epoch} epochs{decayed}"
            symbol = "circle-open" if score.decayed else "circle"
            dots.append((score.epoch, score.iou, text, symbol))
        dots.append((None, None, "", "circle"))  # a gap before the next one
    x, y, texts, symbols = zip(*dots, strict=True)
    style = STYLES[group]
    return go.Scatter(
        x=x, y=y, mode="lines+markers", name=f"{_group_label(points, group)} ({len(points)})",
        opacity=style.opacity, line={"color": style.color, "width": 1.2},
        marker={"symbol": symbols, "size": 5}, text=texts, hoverinfo="text", connectgaps=False,
    )  # fmt: skip


def _bars(intervals: Sequence[Interval | None], at: Sequence[float]) -> Mapping[str, object]:
    down, up = whiskers(intervals, at)
    return {
        "type": "data", "symmetric": False, "thickness": 1, "width": 3, "color": FRONT,
        "array": up, "arrayminus": down,
    }  # fmt: skip


def _hover(point: PlotPoint, number: int) -> str:
    """Text of a point; strings of a board or a space are escaped, since plotly parses tags."""
    evaluation, latency, score = point.evaluation, point.latency, point.evaluation.score("val")
    lines = [
        f"<b>trial {number}</b>  {point.key}",
        html.escape(str(evaluation.candidate)),
        f"{latency.name} {point.ms:.4g} ms",
    ]
    if latency.ci95:
        lines[-1] += f", {latency.ci95[0]:.4g} to {latency.ci95[1]:.4g}"
    if score:
        low, high = score.iou_ci95
        lines.append(f"IoU {score.iou:.4f}, {low:.4f} to {high:.4f}; {score.epoch} epochs")
    if evaluation.p_feasible is not None:
        lines.append(f"P(feasible) {evaluation.p_feasible:.2f}")
    lines.append(STATE_LABELS[point.evaluation.state])
    if evaluation.error:
        lines.append(html.escape(evaluation.error[:MAX_REASON]))
    return "<br>".join(lines)


def _draw_constraints(figure: go.Figure, constraints: Constraints) -> None:
    ceiling, floor = constraints.max_latency_ms, constraints.min_iou
    figure.add_vline(x=ceiling, line=LIMIT_LINE)
    figure.add_hline(y=floor, line=LIMIT_LINE)
    beside = {"xanchor": "left", "yanchor": "bottom", "showarrow": False}
    beside |= {"font": {"color": LIMIT, "size": 11}}
    at = math.log10(ceiling)
    figure.add_annotation(text=f"{ceiling:g} ms", x=at, xref="x", y=1.0, yref="paper", **beside)
    figure.add_annotation(text=f"{floor:g}", x=1.0, xref="paper", y=floor, yref="y", **beside)


def _ms_axis(figure: go.Figure, plot: FrontPlot) -> None:
    left, right = plot_ms_limits([plot])
    marks = ms_ticks(left, right, 7)
    figure.update_xaxes(
        type="log", range=[math.log10(left), math.log10(right)], tickvals=marks,
        ticktext=[f"{mark:g}" for mark in marks], title_text=f"{latency_name([plot])} [ms] (log)",
    )  # fmt: skip


def _apart(rungs: Sequence[int]) -> Sequence[int]:
    """The rungs whose labels do not overlap on a log axis."""
    kept: list[int] = []
    for epoch in rungs:
        if not kept or epoch >= 1.4 * kept[-1]:
            kept.append(epoch)
    return kept


def _layout(figure: go.Figure, title: str) -> go.Figure:
    transparent = "rgba(0,0,0,0)"
    figure.update_layout(
        template="none", title={"text": title, "x": 0.02, "font": {"size": 17}},
        paper_bgcolor=transparent, plot_bgcolor=transparent, font={"color": INK, "size": 12},
        margin={"l": 60, "r": 40, "t": 50, "b": 50}, height=450, hovermode="closest",
        hoverlabel={"align": "left"},
        legend={"orientation": "h", "y": -0.28, "x": 0, "font": {"size": 11}},
    )  # fmt: skip
    figure.update_xaxes(gridcolor=GRID, linecolor=GRID, zeroline=False)
    figure.update_yaxes(gridcolor=GRID, linecolor=GRID, zeroline=False)
    return figure
