"""The page and the plot of the searches that benchmarks/search.py has replayed."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from common import command, facts, table
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator, StrMethodFormatter
from tabular.tables import Table

Row = Mapping[str, str]

SHARES = ("0.9", "0.95", "0.99")
OPTUNA = ("gp", "tpe", "nsga2", "nsga3")
NAMES = {
    "autoseg": "autoseg",
    "oracle": "oracle",
    "gp": "Optuna GP",
    "tpe": "Optuna TPE",
    "nsga2": "Optuna NSGA-II",
    "nsga3": "Optuna NSGA-III",
    "random": "random",
    "grid": "full grid, shuffled",
}
# Okabe and Ito; ours is drawn thick.
COLOURS = {
    "autoseg": "#D55E00",
    "oracle": "#000000",
    "gp": "#0072B2",
    "tpe": "#56B4E9",
    "nsga2": "#009E73",
    "nsga3": "#CC79A7",
    "random": "#999999",
    "grid": "#E69F00",
}
SAMPLER = "sampler"  # marks the lines that the legend names
DASHES = {"oracle": ":", "random": "--", "grid": "-."}


def write_report(stem: Path, rows: Sequence[Row], tables: Sequence[Table]) -> list[str]:
    """NAME.md and NAME.png; returns the lines of the tables."""
    lines = summary(rows)
    plot(stem.with_suffix(".png"), [row for row in rows if row["sampler"] in COLOURS])
    seeds = sorted({int(row["seed"]) for row in rows})
    body = [
        "# Seconds of training to a share of the exhaustive front's hypervolume", "",
        *facts(),
        f"- seeds {seeds[0]} to {seeds[-1]}; commits: {', '.join(commits(rows))}: `{command()}`",
        *(about(each) for each in tables), "",
        *NOTE, "",
        f"![hypervolume over seconds of training]({stem.name}.png)", "",
        *lines,
    ]  # fmt: skip
    stem.with_suffix(".md").write_text("\n".join(body) + "\n")
    return lines


NOTE = (
    "Searches are replayed against tables in which everything was trained. Hypervolume: over",
    "ln(latency) x IoU above (ceiling, floor), of what finishing now would give: for each",
    "candidate, the decayed IoU at the highest rung that it has reached. Everybody is told the",
    "latencies for nothing, trains nothing that is too slow (but for the grid), and is credited",
    "rung by rung; decays are charged to nobody. A sampler of Optuna has each candidate trained",
    "to the top. The oracle trains the members of the exhaustive front only, the most",
    "hypervolume per second first. Seconds: median over the seeds (quartiles). The other columns",
    "are ratios of medians, to 90, 95 and 99 %; `never`: the search or the table ended before.",
)


def commits(rows: Sequence[Row]) -> list[str]:
    return sorted({row["commit"] for row in rows})


def about(each: Table) -> str:
    twice = sum(len(entry.cells) > 1 for entry in each.entries.values())
    return (
        f"- {each.name}: {len(each.entries)} candidates, {twice} of them trained twice, rungs "
        f"{', '.join(map(str, each.recipe.rungs))}; training them all takes {each.total_s:.0f} s; "
        f"latencies {each.latencies}"
    )


def summary(rows: Sequence[Row]) -> list[str]:
    """A table for each table, pair and share, samplers from fast to slow."""
    lines: list[str] = []
    for name in dict.fromkeys(row["table"] for row in rows):
        for pair in dict.fromkeys(row["pair"] for row in rows):
            here = [row for row in rows if (row["table"], row["pair"]) == (name, pair)]
            if here:
                lines += [*heading(here), "", *table(comparison(here)), ""]
    return lines


def heading(rows: Sequence[Row]) -> list[str]:
    first = rows[0]
    feasible = statistics.median(float(row["feasible"]) for row in rows)
    return [
        f"## {first['table']}, {first['pair']}: under {float(first['ceiling_ms']):.3g} ms, "
        f"IoU over {float(first['floor']):.3f}; {feasible:.0%} of the candidates meet both"
    ]


def comparison(rows: Sequence[Row]) -> list[dict[str, str]]:
    by_sampler: dict[str, list[Row]] = {}
    for row in rows:
        by_sampler.setdefault(row["sampler"], []).append(row)
    medians = {
        name: {share: median(seconds(mine, share)) for share in SHARES}
        for name, mine in by_sampler.items()
    }
    best = {
        share: min((medians[o][share] for o in OPTUNA if o in medians), default=math.nan)
        for share in SHARES
    }
    others: dict[str, Mapping[str, float]] = {
        "oracle": medians.get("oracle", {}),
        "Optuna's best": best,
        "random": medians.get("random", {}),
        "grid": medians.get("grid", {}),
    }
    order = sorted(by_sampler, key=lambda name: medians[name]["0.99"])
    return [line(name, by_sampler[name], medians[name], others) for name in order]


def line(
    name: str,
    rows: Sequence[Row],
    own: Mapping[str, float],
    others: Mapping[str, Mapping[str, float]],
) -> dict[str, str]:
    cells: dict[str, Any] = {"sampler": NAMES.get(name, name), "searches": len(rows)}
    for share in SHARES:
        cells[f"s to {float(share):.0%}"] = spread(seconds(rows, share))
    for other, theirs in others.items():
        ratios = [ratio(own[share], theirs.get(share, math.nan)) for share in SHARES]
        cells[f"/ {other}"] = " · ".join(ratios)
    return cells


def seconds(rows: Sequence[Row], share: str) -> list[float]:
    return [float(row[f"seconds_to_{share}"]) for row in rows]


def median(values: Sequence[float]) -> float:
    return quantile(values, 0.5)


def quantile(values: Sequence[float], share: float) -> float:
    """Between the two nearest, infinite where one of them is."""
    ordered, place = sorted(values), share * (len(values) - 1)
    low, high = ordered[math.floor(place)], ordered[math.ceil(place)]
    return low if low == high else low + (place - math.floor(place)) * (high - low)


def spread(values: Sequence[float]) -> str:
    low, middle, high = (said(quantile(values, share)) for share in (0.25, 0.5, 0.75))
    return f"{middle} ({low} to {high})"


def said(value: float) -> str:
    return "never" if math.isinf(value) else f"{value:.0f}"


def ratio(own: float, theirs: float) -> str:
    if math.isnan(theirs) or theirs == 0 or math.isinf(own) or math.isinf(theirs):
        return "-"
    return f"{own / theirs:.2f}"


# -- the plot


def plot(path: Path, rows: Sequence[Row]) -> None:
    """Median and quartiles of the share over seconds, a row of panels for each table."""
    names = list(dict.fromkeys(row["table"] for row in rows))
    pairs = list(dict.fromkeys(row["pair"] for row in rows))
    if not rows:
        return
    figure = Figure(figsize=(4.4 * len(pairs), 3.5 * len(names) + 0.7), layout="constrained")
    grid = figure.subplots(len(names), len(pairs), squeeze=False)
    for axes_row, name in zip(grid, names, strict=True):
        for axes, pair in zip(axes_row, pairs, strict=True):
            here = [row for row in rows if (row["table"], row["pair"]) == (name, pair)]
            panel(axes, here)
            axes.set_title(f"{name}, {pair}", fontsize=10)
    for axes in grid[-1]:
        axes.set_xlabel("seconds of training (log scale)")
    for axes in grid[:, 0]:
        axes.set_ylabel("share of the hypervolume")
    lines = [line for axes in grid.flat for line in axes.get_lines()]
    handles = {str(line.get_label()): line for line in lines if line.get_gid() == SAMPLER}
    figure.legend(
        handles.values(), handles.keys(), loc="outside lower center", ncols=8, fontsize=9
    )
    figure.savefig(path, dpi=130)


def panel(axes: Axes, rows: Sequence[Row]) -> None:
    ends = [float(row["seconds"]) for row in rows]
    starts = [float(points[0][0]) for row in rows if (points := steps(row))]
    if not rows or not starts:
        return
    at = np.geomspace(max(min(starts), 1.0), max(ends), 300)
    for sampler in [name for name in COLOURS if any(r["sampler"] == name for r in rows)]:
        curves = np.array([shares(row, at) for row in rows if row["sampler"] == sampler])
        low, middle, high = np.quantile(curves, (0.25, 0.5, 0.75), axis=0)
        axes.fill_between(at, low, high, color=COLOURS[sampler], alpha=0.12, lw=0)
        axes.plot(
            at, middle, DASHES.get(sampler, "-"), color=COLOURS[sampler],
            lw=2.4 if sampler == "autoseg" else 1.2, label=NAMES[sampler], gid=SAMPLER,
        )  # fmt: skip
    axes.set(xscale="log", ylim=(0, 1.02), xlim=(at[0], at[-1]))
    axes.axhline(0.99, color="#bbbbbb", lw=0.6, zorder=0)
    axes.grid(alpha=0.2)
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 3.0)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))


def steps(row: Row) -> list[tuple[float, float]]:
    pairs = (point.split(":") for point in row["curve"].split())
    return [(float(s), float(share)) for s, share in pairs]


def shares(row: Row, at: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The share reached by each of these seconds; a search that has ended keeps what it has."""
    points = steps(row)
    times = np.array([0.0, *(s for s, _ in points)])
    values = np.array([0.0, *(share for _, share in points)])
    return values[np.searchsorted(times, at, side="right") - 1]
