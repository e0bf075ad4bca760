"""Plotly figures of a run for its Optuna study: the front, the learning curves, the hypervolume.

They are drawn small, on the dashboard's own paper, which may be light or dark.
"""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import plotly.graph_objects as go

from autoseg.core.pareto import front_of, point
from autoseg.core.records import Constraints, Evaluation, Score
from autoseg.report.axes import (
    iou_interval,
    iou_limits,
    latency_interval,
    latency_name,
    ms_limits,
    ms_ticks,
)
from autoseg.run.result import Result

FRONT, OTHER, LIMIT, STRUCK, BASE, GOING = (
    "#2a8fc0", "#8a949e", "#d9722e", "#d64a3a", "#9a6fd0", "#3d9a5f",
)  # fmt: skip
INK, GRID = "#808890", "rgba(128,136,144,0.25)"
MAX_REASON = 160  # letters of it in a hover text


@dataclass(frozen=True)
class Kind:
    """How candidates of one standing look; `unscored` ones are marks on the lower edge."""

    label: str
    color: str
    symbol: str
    size: int = 7
    opacity: float = 0.9


KINDS = {
    "front": Kind("front", FRONT, "circle", 10, 1.0),
    "confirmed": Kind("confirmed, beaten", FRONT, "circle-open"),
    "scored": Kind("trained, not confirmed", GOING, "circle"),
    "stopped": Kind("stopped", OTHER, "circle", 6, 0.6),
    "rejected": Kind("rejected", STRUCK, "x", 9),
    "failed": Kind("failed", STRUCK, "x-open"),
    "measured": Kind("fits, not trained", GOING, "line-ns-open", 8, 0.6),
    "too_slow": Kind("too slow", OTHER, "line-ns-open", 8, 0.6),
}


def figures(result: Result) -> Mapping[str, go.Figure]:
    """The figures of a run, live or finished, by the ids under which the study keeps them."""
    if not any(e.measurement for e in result.evaluations):
        return {}
    drawn = {"front": front_figure(result)}
    if any(e.iou is not None for e in result.evaluations):
        drawn["learning-curves"] = curves_figure(result)
    if len(result.curve) > 1:
        drawn["hypervolume"] = hypervolume_figure(result)
    return drawn


def front_figure(result: Result) -> go.Figure:
    """Latency (log) against IoU with both constraints; what has no IoU is on the lower edge."""
    asked, best = result.constraints, _best(result)
    numbers = {e.candidate.key: number for number, e in enumerate(result.evaluations)}
    timed = [e for e in result.evaluations if e.measurement]
    timed.sort(key=lambda e: _latency_ms(e, asked))
    low, high = _iou_range(timed, asked)
    figure = go.Figure()
    for name, kind in KINDS.items():
        of_kind = [e for e in timed if _standing(e, best) == name]
        for scored in (True, False):
            some = [e for e in of_kind if (e.iou is not None) == scored]
            if some:
                texts = [_hover(e, numbers[e.candidate.key], asked) for e in some]
                figure.add_trace(_points(some, kind, asked, low if not scored else None, texts))
    if base := result.baseline:
        if base.measurement:
            figure.add_trace(_ring(base, asked, low))
    _constraints(figure, asked, low, high)
    _ms_axis(figure, timed, asked)
    figure.update_yaxes(range=[low, high], title_text="IoU on val")
    front = "Front" if result.front else "Front so far, unconfirmed" if best else "No front"
    return _dress(figure, f"{front}: {len(best)} of {len(result.evaluations)} candidates")


def curves_figure(result: Result) -> go.Figure:
    """IoU over epochs of all that was trained; a decayed score is an open mark."""
    best = _best(result)
    numbers = {e.candidate.key: number for number, e in enumerate(result.evaluations)}
    figure = go.Figure()
    for name, kind in KINDS.items():
        of_kind = [e for e in result.evaluations if _standing(e, best) == name and _curve(e)]
        if of_kind:
            figure.add_trace(_lines(of_kind, kind, numbers))
    rungs = sorted({s.epoch for e in result.evaluations for s in _curve(e)})
    figure.add_hline(y=result.constraints.min_iou, line=_limit_line())
    figure.update_xaxes(type="log", tickvals=_spread(rungs), title_text="epochs (log)")
    curves = [[s.iou for s in _curve(e)] for e in result.evaluations if _curve(e)]
    ends, every = [curve[-1] for curve in curves], [iou for curve in curves for iou in curve]
    figure.update_yaxes(
        range=iou_limits([result.constraints.min_iou, *ends], [], every), title_text="IoU on val"
    )
    return _dress(figure, "Learning curves")


def hypervolume_figure(result: Result) -> go.Figure:
    """What finishing would have given, over the run's time."""
    asked = result.constraints
    minutes = [seconds / 60 for seconds, _ in result.curve]
    figure = go.Figure(
        go.Scatter(
            x=minutes, y=[volume for _, volume in result.curve], mode="lines",
            line={"shape": "hv", "color": FRONT}, name="if finished then", showlegend=False,
        )
    )  # fmt: skip
    figure.update_xaxes(title_text="minutes", rangemode="tozero")
    figure.update_yaxes(
        title_text=f"ln(ms) x IoU beyond ({asked.max_latency_ms:g} ms, {asked.min_iou:g})",
        rangemode="tozero",
    )
    return _dress(figure, "Hypervolume that finishing would give")


def _best(result: Result) -> set[str]:
    """The keys of the front; of a live run that has confirmed nothing yet, of the scored ones."""
    going = [] if result.searched else front_of(result.evaluations, result.constraints.statistic)
    return {e.candidate.key for e in result.front or going}


def _standing(evaluation: Evaluation, best: set[str]) -> str:
    if evaluation.candidate.key in best:
        return "front"
    return "measured" if evaluation.state == "proposed" else evaluation.state


def _latency_ms(evaluation: Evaluation, asked: Constraints) -> float:
    measured = evaluation.measurement
    return measured.latency_ms(asked.statistic) if measured else math.nan


def _points(
    some: Sequence[Evaluation],
    kind: Kind,
    asked: Constraints,
    edge: float | None,
    texts: Sequence[str],
) -> go.Scatter:
    front = kind.label == "front"
    at = [_latency_ms(e, asked) for e in some]
    ious = [e.iou if edge is None else edge for e in some]
    unscored = "" if edge is None or "not trained" in kind.label else ", no IoU"
    unscored = "" if kind.label == "too slow" else unscored
    return go.Scatter(
        x=at, y=ious, mode="lines+markers" if front else "markers",
        name=f"{kind.label}{unscored} ({len(some)})", opacity=kind.opacity,
        line={"shape": "hv", "color": FRONT, "width": 1} if front else None,
        marker={"color": kind.color, "symbol": kind.symbol, "size": kind.size},
        error_x=_bars([latency_interval(e, asked.statistic) for e in some], at) if front else None,
        error_y=_bars([iou_interval(e) for e in some], ious) if front else None,
        text=list(texts), hoverinfo="text",
    )  # fmt: skip


def _ring(base: Evaluation, asked: Constraints, low: float) -> go.Scatter:
    iou = low if base.iou is None else base.iou
    return go.Scatter(
        x=[_latency_ms(base, asked)], y=[iou], mode="markers", name="baseline", hoverinfo="skip",
        marker={"symbol": "star-open", "size": 15, "color": BASE, "line": {"width": 1.5}},
    )  # fmt: skip


def _lines(some: Sequence[Evaluation], kind: Kind, numbers: Mapping[str, int]) -> go.Scatter:
    """All curves of a kind in one trace: hundreds of traces are slow to draw."""
    x: list[float | None] = []
    y: list[float | None] = []
    texts, symbols = [], []
    for evaluation in some:
        name = f"trial {numbers[evaluation.candidate.key]}<br>{_knobs(evaluation)}"
        for score in _curve(evaluation):
            x.append(score.epoch)
            y.append(score.iou)
            ended = ", decayed" if score.decayed else ""
            texts.append(f"{name}<br>IoU {score.iou:.4f} at {score.epoch} epochs{ended}")
            symbols.append("circle-open" if score.decayed else "circle")
        x.append(None)  # a gap before the next one
        y.append(None)
        texts.append("")
        symbols.append("circle")
    return go.Scatter(
        x=x, y=y, mode="lines+markers", name=f"{kind.label} ({len(some)})", opacity=kind.opacity,
        line={"color": kind.color, "width": 1.2}, marker={"symbol": symbols, "size": 5},
        text=texts, hoverinfo="text", connectgaps=False,
    )  # fmt: skip


def _curve(evaluation: Evaluation) -> list[Score]:
    return [s for s in evaluation.scores if s.split == "val" and s.source == "torch"]


def _bars(
    intervals: Sequence[tuple[float, float] | None], at: Sequence[float | None]
) -> Mapping[str, object]:
    pairs = [(i or (x or 0.0, x or 0.0), x or 0.0) for i, x in zip(intervals, at, strict=True)]
    return {
        "type": "data", "symmetric": False, "thickness": 1, "width": 3, "color": FRONT,
        "array": [max(0.0, high - x) for (_, high), x in pairs],
        "arrayminus": [max(0.0, x - low) for (low, _), x in pairs],
    }  # fmt: skip


def _hover(evaluation: Evaluation, number: int, asked: Constraints) -> str:
    """Strings of a board or a space are shown as they are: plotly reads tags in a text."""
    measured, score = evaluation.measurement, evaluation.score("val")
    statistic = measured.supported(asked.statistic) if measured else asked.statistic
    needs = f"{statistic} {_latency_ms(evaluation, asked):.4g} ms"
    lines = [f"<b>trial {number}</b>  {evaluation.candidate.key}", _knobs(evaluation), needs]
    if measured and (span := latency_interval(evaluation, asked.statistic)):
        lines[-1] += f", {span[0]:.4g} to {span[1]:.4g}"
    if score:
        low, high = score.iou_ci95
        lines.append(f"IoU {score.iou:.4f}, {low:.4f} to {high:.4f}; {score.epoch} epochs")
    if evaluation.p_feasible is not None:
        lines.append(f"P(both hold) {evaluation.p_feasible:.2f}")
    lines.append(evaluation.state.replace("_", " "))
    if evaluation.error:
        lines.append(html.escape(evaluation.error[:MAX_REASON]))
    return "<br>".join(lines)


def _knobs(evaluation: Evaluation) -> str:
    return html.escape(str(evaluation.candidate))


def _iou_range(timed: Sequence[Evaluation], asked: Constraints) -> tuple[float, float]:
    known = [e for e in timed if e.iou is not None]
    must = [e.iou for e in known if e.state in ("confirmed", "rejected") and e.iou is not None]
    ends = [end for e in known if e.state == "confirmed" for end in iou_interval(e) or ()]
    return iou_limits([asked.min_iou, *must], ends, [e.iou for e in known if e.iou is not None])


def _constraints(figure: go.Figure, asked: Constraints, low: float, high: float) -> None:
    ceiling, floor = asked.max_latency_ms, asked.min_iou
    figure.add_vline(x=ceiling, line=_limit_line())
    figure.add_hline(y=floor, line=_limit_line())
    for text, where in (
        (f"{ceiling:g} ms", {"x": math.log10(ceiling), "xref": "x", "y": 1.0, "yref": "paper"}),
        (f"{floor:g}", {"x": 1.0, "xref": "paper", "y": floor, "yref": "y"}),
    ):
        beside = {"xanchor": "left", "yanchor": "bottom", "showarrow": False}
        figure.add_annotation(text=text, font={"color": LIMIT, "size": 11}, **where, **beside)


def _ms_axis(figure: go.Figure, timed: Sequence[Evaluation], asked: Constraints) -> None:
    seen = [point(e, asked.statistic) for e in timed]
    each_ms = [at[0] for at in seen if at] + [_latency_ms(e, asked) for e in timed]
    left, right = ms_limits([*each_ms, asked.max_latency_ms])
    marks = ms_ticks(left, right, 7)
    figure.update_xaxes(
        type="log", range=[math.log10(left), math.log10(right)], tickvals=marks,
        ticktext=[f"{mark:g}" for mark in marks],
        title_text=f"{latency_name(timed, asked.statistic)} [ms] (log)",
    )  # fmt: skip


def _spread(rungs: Sequence[int]) -> Sequence[int]:
    """Of epochs that lie close together on a log axis, the first."""
    kept: list[int] = []
    for epoch in rungs:
        if not kept or epoch >= 1.4 * kept[-1]:
            kept.append(epoch)
    return kept


def _limit_line() -> Mapping[str, object]:
    return {"color": LIMIT, "width": 1.2, "dash": "dash"}


def _dress(figure: go.Figure, title: str) -> go.Figure:
    nothing = "rgba(0,0,0,0)"
    figure.update_layout(
        template="none", title={"text": title, "x": 0.02, "font": {"size": 17}},
        paper_bgcolor=nothing, plot_bgcolor=nothing, font={"color": INK, "size": 12},
        margin={"l": 60, "r": 40, "t": 50, "b": 50}, height=450, hovermode="closest",
        hoverlabel={"align": "left"},
        legend={"orientation": "h", "y": -0.28, "x": 0, "font": {"size": 11}},
    )  # fmt: skip
    figure.update_xaxes(gridcolor=GRID, linecolor=GRID, zeroline=False)
    figure.update_yaxes(gridcolor=GRID, linecolor=GRID, zeroline=False)
    return figure
