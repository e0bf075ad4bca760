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
from autoseg.core.units import clock
from autoseg.report.axes import learning_curve
from autoseg.report.importance import Importance, iou_importance, latency_importance
from autoseg.report.page.comparison import names_of
from autoseg.report.plots import fronts_figure, pareto_figure
from autoseg.report.points import front_plot
from autoseg.report.spending import STACKED_STATES, spending
from autoseg.run.ledger import as_seen_on, read_events
from autoseg.run.result import Result

FOLDER = "figures"  # beside a report
MAX_NAME = 32  # characters of a run's name in a legend
_FRONT, _OTHER, _LIMIT = "#0b6e99", "#8a949e", "#b5541c"
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
    folder = page.parent / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    drawn = []
    with matplotlib.rc_context(_STYLE):
        for name, draw in _DRAWN.items():
            figure = draw(result)
            if figure is None:
                continue
            _save(figure, folder, name)
            drawn.append(name)
    return drawn


def write_fronts(one: Result, other: Result, page: Path) -> str:
    """Write the fronts of two runs in one figure, named after the page beside it.

    Returns the path of the PNG relative to the page. Raises OSError.
    """
    folder, name = page.parent / FOLDER, f"front-{page.stem.removeprefix('report-')}"
    folder.mkdir(parents=True, exist_ok=True)
    plots = [
        front_plot(result.evaluations, result.constraints, name=_printable(name)[:MAX_NAME])
        for name, result in zip(names_of(one, other), (one, other), strict=True)
    ]
    with matplotlib.rc_context(_STYLE):
        _save(fronts_figure(plots), folder, name)
    return f"{FOLDER}/{name}.png"


def _save(figure: Figure, folder: Path, name: str) -> None:
    figure.savefig(folder / f"{name}.png")
    figure.savefig(folder / f"{name}.svg", metadata={"Date": None})


def _printable(name: str) -> str:
    """A folder's name that is not UTF-8, with escapes."""
    return name.encode(errors="backslashreplace").decode()


def _front(result: Result) -> Figure | None:
    plot = front_plot(result.evaluations, result.constraints, result.baseline)
    return pareto_figure(plot, _printable(result.folder.name))


def _learning(result: Result) -> Figure | None:
    best = {e.candidate.key for e in result.front}
    curves = [
        (e.candidate.key in best, [(float(s.epoch), s.iou) for s in learning_curve(e)])
        for e in result.evaluations
    ]
    curves = sorted((each for each in curves if each[1]), key=lambda each: each[0])
    if not curves:
        return None
    figure, axes = _empty("epochs (log scale)", "IoU on val")
    axes.set_xscale("log")
    for on_front, curve in curves:
        color, alpha = (_FRONT, 0.9) if on_front else (_OTHER, 0.45)
        epochs, ious = [epoch for epoch, _ in curve], [iou for _, iou in curve]
        axes.plot(epochs, ious, "o-", color=color, alpha=alpha, markersize=3, linewidth=1.2)
    axes.axhline(result.constraints.min_iou, color=_LIMIT, linewidth=1.1, linestyle="--")
    epochs = sorted({epoch for _, curve in curves for epoch, _ in curve})
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
    counts = [*spent.counts, (max(result.spent_s, spent.counts[-1][0]), spent.counts[-1][1])]
    seconds = [second for second, _ in counts]
    for place, (state, color) in enumerate(zip(STACKED_STATES, _STATE_COLORS, strict=True)):
        bottoms = [sum(each[:place]) for _, each in counts]
        tops = [sum(each[: place + 1]) for _, each in counts]
        if bottoms != tops:
            axes.fill_between(
                seconds, bottoms, tops, step="post", color=color, linewidth=0,
                label=STATE_LABELS[state],
            )  # fmt: skip
    axes.legend(loc="upper left", fontsize=9, frameon=False)
    return figure


def _hypervolume(result: Result) -> Figure | None:
    if len(result.curve) < 2:
        return None
    figure, axes = _timed("hypervolume")
    axes.step(
        [s for s, _ in result.curve], [v for _, v in result.curve], where="post", color=_FRONT
    )
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
    axes.barh([e.knob for e in effects], shares, xerr=[low, high], color=_FRONT, capsize=2)
    axes.set_xlim(0, 100)
    axes.set_xlabel(f"share of main effects on {name}, %", fontsize=9)
    axes.set_title(f"{name}, {found.candidates} candidates", loc="left", fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)


def _empty(x_name: str, y_name: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(6, 3.8), dpi=150, layout="constrained")
    axes = figure.add_subplot()
    axes.set_xlabel(x_name)
    axes.set_ylabel(y_name)
    axes.grid(color="#000000", alpha=0.08, linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _timed(y_name: str) -> tuple[Figure, Axes]:
    figure, axes = _empty("time spent", y_name)
    axes.xaxis.set_major_locator(MaxNLocator(7))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda seconds, _: clock(max(0.0, seconds))))
    return figure, axes


Draw = Callable[[Result], Figure | None]
_DRAWN: dict[str, Draw] = {
    "front": _front,
    "learning": _learning,
    "budget": _budget,
    "hypervolume": _hypervolume,
    "knobs": _knobs,
}
