"""The figures of a report as files for papers and slides: each as PNG and as SVG."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullLocator, ScalarFormatter

from autoseg.core.records import STATE_LABELS
from autoseg.core.text import one_line
from autoseg.core.units import clock
from autoseg.report.importance import Importance, iou_importance, latency_importance
from autoseg.report.page.comparison import names_of
from autoseg.report.plot_data import front_plot, learning_curve
from autoseg.report.plots import FRONT, LIMIT, OTHER, draw_frame, fronts_figure, pareto_figure
from autoseg.report.spending import STACKED_STATES, spending
from autoseg.run.ledger import as_seen_on, read_events
from autoseg.run.result import Result

FOLDER = "figures"  # beside a report
MAX_NAME = 32  # characters of a run's name in a legend
_STATE_COLORS = ("#0b6e99", "#c0392b", "#5aa6c4", "#c9a24b", "#c5cdd5", "#98a2ad", "#6b3fa0")
# Text is stored as text, `$` starts no formula, and the same run gives the same file.
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "text.parse_math": False,
    "svg.hashsalt": "autoseg",
}


def write_figures(result: Result, page: Path) -> list[str]:
    """Write front, learning, budget, hypervolume and knobs where the run has the data.

    The files are in a folder beside the page. Returns their names without a suffix. Raises
    OSError where they cannot be written.
    """
    with matplotlib.rc_context(_STYLE):
        drawn = {name: figure for name, draw in _DRAWN.items() if (figure := draw(result))}
        for name, figure in drawn.items():
            _save(figure, page, name)
    return [*drawn]


def write_fronts(one: Result, other: Result, page: Path) -> str:
    """Write the fronts of two runs in one figure, named after the page beside it.

    Returns the path of the PNG relative to the page. Raises OSError.
    """
    file = f"front-{page.stem.removeprefix('report-')}"
    plots = [
        front_plot(result.evaluations, result.constraints, name=one_line(name)[:MAX_NAME])
        for name, result in zip(names_of(one, other), (one, other), strict=True)
    ]
    with matplotlib.rc_context(_STYLE):
        _save(fronts_figure(plots), page, file)
    return f"{FOLDER}/{file}.png"


def _save(figure: Figure, page: Path, name: str) -> None:
    folder = page.parent / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    figure.savefig(folder / f"{name}.png")
    figure.savefig(folder / f"{name}.svg", metadata={"Date": None})


def _front(result: Result) -> Figure | None:
    plot = front_plot(result.evaluations, result.constraints, result.baseline)
    return pareto_figure(plot, one_line(result.folder.name))


def _learning(result: Result) -> Figure | None:
    best = {e.candidate.key for e in result.front}
    # The front is drawn last, on top.
    drawn = sorted(result.evaluations, key=lambda e: e.candidate.key in best)
    curves = {e.candidate.key: curve for e in drawn if (curve := learning_curve(e))}
    if not curves:
        return None
    figure, axes = _empty("epochs (log scale)", "IoU on val")
    axes.set_xscale("log")
    for key, curve in curves.items():
        color, alpha = (FRONT, 0.9) if key in best else (OTHER, 0.45)
        epochs, ious = [score.epoch for score in curve], [score.iou for score in curve]
        axes.plot(epochs, ious, "o-", color=color, alpha=alpha, markersize=3, linewidth=1.2)
    axes.axhline(result.constraints.min_iou, color=LIMIT, linewidth=1.1, linestyle="--")
    epochs = sorted({score.epoch for curve in curves.values() for score in curve})
    axes.set_xticks(epochs[:: max(1, len(epochs) // 8)])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(ScalarFormatter())
    return figure


def _budget(result: Result) -> Figure | None:
    events = as_seen_on(result.device, read_events(result.folder))
    spent = spending(events, result.evaluations)
    if len(spent.counts) < 2:
        return None
    figure, axes = _timed("candidates")
    last_s, last = spent.counts[-1]
    counts = [*spent.counts, (max(result.spent_s, last_s), last)]
    layers = list(zip(*(each for _, each in counts), strict=True))
    shown = [place for place, layer in enumerate(layers) if any(layer)]
    axes.stackplot(
        [second for second, _ in counts], [layers[place] for place in shown], step="post",
        labels=[STATE_LABELS[STACKED_STATES[place]] for place in shown],
        colors=[_STATE_COLORS[place] for place in shown], linewidth=0,
    )  # fmt: skip
    axes.legend(loc="upper left", fontsize=9, frameon=False)
    return figure


def _hypervolume(result: Result) -> Figure | None:
    if len(result.curve) < 2:
        return None
    figure, axes = _timed("hypervolume")
    axes.step(*zip(*result.curve, strict=True), where="post", color=FRONT)
    axes.set_ylim(bottom=0)
    return figure


def _knobs(result: Result) -> Figure | None:
    statistic = result.constraints.statistic
    both = {
        f"latency {statistic}": latency_importance(result.evaluations, statistic),
        "IoU": iou_importance(result.evaluations),
    }
    known = [(name, found) for name, found in both.items() if found]
    if not known:
        return None
    figure = Figure(figsize=(8, 3.2), dpi=150, layout="constrained")
    for place, (name, found) in enumerate(known, start=1):
        _bars(figure.add_subplot(1, len(known), place), name, found)
    return figure


def _bars(axes: Axes, name: str, found: Importance) -> None:
    effects = found.effects[::-1]
    shares = [100 * e.share for e in effects]
    low = [max(0.0, 100 * (e.share - e.share_ci90[0])) for e in effects]
    high = [max(0.0, 100 * (e.share_ci90[1] - e.share)) for e in effects]
    axes.barh([e.knob for e in effects], shares, xerr=[low, high], color=FRONT, capsize=2)
    axes.set_xlim(0, 100)
    axes.set_xlabel(f"share of main effects on {name}, %", fontsize=9)
    axes.set_title(f"{name}, {found.candidates} candidates", loc="left", fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)


def _empty(x_name: str, y_name: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(6, 3.8), dpi=150, layout="constrained")
    axes = figure.add_subplot(xlabel=x_name, ylabel=y_name)
    draw_frame(axes)
    return figure, axes


def _timed(y_name: str) -> tuple[Figure, Axes]:
    figure, axes = _empty("time spent", y_name)
    axes.xaxis.set_major_locator(MaxNLocator(7))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda seconds, _: clock(max(0.0, seconds))))
    return figure, axes


_DRAWN: dict[str, Callable[[Result], Figure | None]] = {
    "front": _front,
    "learning": _learning,
    "budget": _budget,
    "hypervolume": _hypervolume,
    "knobs": _knobs,
}
