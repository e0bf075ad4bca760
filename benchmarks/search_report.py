"""The page and the plot of the searches that benchmarks/search.py has replayed."""

from __future__ import annotations

import math
import shlex
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from common import facts, table
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator, StrMethodFormatter
from tabular.tables import TWICE, Table

Row = Mapping[str, str]

SHARES = ("0.9", "0.95", "0.99")
REPORTING = 1000  # the first seed that is not for tuning
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
    kept = [row for here in panels(rows) for row in counted(here)]
    lines = summary(rows)
    plot(stem.with_suffix(".png"), [row for row in kept if row["sampler"] in COLOURS])
    seeds = sorted({int(row["seed"]) for row in rows})
    body = [
        "# Seconds of training to a share of the exhaustive front's hypervolume", "",
        *facts(),
        f"- seeds {seeds[0]} to {seeds[-1]}; commits: {', '.join(commits(rows))}: "
        f"`{asked(stem.name, rows)}`",
        *(about(each) for each in tables), "",
        *NOTE, "",
        f"![hypervolume over seconds of training]({stem.name}.png)", "",
        *lines,
    ]  # fmt: skip
    stem.with_suffix(".md").write_text("\n".join(body) + "\n")
    return lines


NOTE = (
    "Searches are replayed against tables in which everything was trained. Each seed is a world",
    "of its own, the same for all samplers: the scores of every candidate move by the noise of a",
    "training, and the exhaustive front is that world's. Hypervolume: over",
    "ln(latency) x IoU above (ceiling, floor), of what finishing now would give: for each",
    "candidate, the decayed IoU at the highest rung that it has reached. Everybody is told the",
    "latencies for nothing, trains nothing that is too slow (but for the grid), and is credited",
    "rung by rung; decays are charged to nobody. A sampler of Optuna has each candidate trained",
    "to the top; where it asks for nothing new, the nearest untrained candidate that fits stands",
    "in, and `stand-ins` is the share of these. autoseg has a prior that was fitted on such",
    "networks (their level, the usual learning curve, the effect of an option); the others have",
    "none. The oracle trains the members of the exhaustive front only, the most hypervolume per",
    "second first; it is no bound, since other candidates or lower rungs may be cheaper. Seconds:",
    "median over the seeds (quartiles). `trainings`: candidates begun, and those trained to the",
    "top, medians at the end of the search. `distinct`: different outcomes among the searches.",
    "The other columns are ratios of medians, to 90, 95 and 99 %; `never`: the search or the",
    "table ended before. Only seeds that all samplers of a table have are counted, and no world",
    "in which nothing meets both constraints.",
)


def commits(rows: Sequence[Row]) -> list[str]:
    return sorted({row["commit"] for row in rows})


def asked(name: str, rows: Sequence[Row]) -> str:
    """The command that gives these rows, in however many calls they were made."""
    seeds = sorted({int(row["seed"]) for row in rows})
    words = ["python", "benchmarks/search.py", "--tables"]
    words += ["PATH/fastscnn_rpi4.csv" if t == "thesis" else t for t in different(rows, "table")]
    for option in ("pair", "sampler"):
        words += [f"--{option}s", *different(rows, option)]
    words += ["--seeds", "tuning"] if seeds[0] < REPORTING else []
    words += ["--count", str(seeds[-1] + 1 - (REPORTING if seeds[0] >= REPORTING else 0))]
    return shlex.join([*words, "--out", name])


def different(rows: Sequence[Row], column: str) -> list[str]:
    return list(dict.fromkeys(row[column] for row in rows))


def panels(rows: Sequence[Row]) -> list[list[Row]]:
    """The rows of each table and pair."""
    pairs = [(name, pair) for name in different(rows, "table") for pair in different(rows, "pair")]
    found = [[row for row in rows if (row["table"], row["pair"]) == here] for here in pairs]
    return [here for here in found if here]


def counted(rows: Sequence[Row]) -> list[Row]:
    """Those of the seeds that every sampler has, and in whose world something meets both."""
    seeds = set.intersection(
        *({r["seed"] for r in rows if r["sampler"] == s} for s in different(rows, "sampler"))
    )
    return [row for row in rows if row["seed"] in seeds and float(row["hypervolume"]) > 0]


def about(each: Table) -> str:
    twice, rungs = len(each.twice), each.recipe.rungs
    noise = ", ".join(f"{each.noise[r, False]:.3f} ({each.noise[r, True]:.3f})" for r in rungs)
    whose = "of these" if twice >= TWICE else "assumed"
    priced = "" if each.latencies != "published" else PRICED
    return (
        f"- {each.name}: {len(each.entries)} candidates, {twice} of them trained twice, rungs "
        f"{', '.join(map(str, rungs))}; training them all takes {each.total_s:.0f} s{priced}; "
        f"latencies {each.latencies}; noise of the log error at each rung (decayed), {whose}: "
        f"{noise}"
    )


PRICED = ", by the prior of our own price model: nobody published seconds, count `trainings`"


def summary(rows: Sequence[Row]) -> list[str]:
    """A table for each table, pair and share, samplers from fast to slow."""
    lines: list[str] = []
    for here in panels(rows):
        kept = counted(here)
        shown = table(comparison(kept)) if kept else ["No seed was searched by every sampler."]
        lines += [*heading(here), "", *shown, ""]
    return lines


def heading(rows: Sequence[Row]) -> list[str]:
    first = rows[0]
    able, best = (spans(rows, name) for name in ("feasible_models", "front_models"))
    return [
        f"## {first['table']}, {first['pair']}: under {float(first['ceiling_ms']):.3g} ms, "
        f"IoU over {float(first['floor']):.3f}; {able} met both, {best} on the front"
    ]


def spans(rows: Sequence[Row], name: str) -> str:
    """A count of models over the worlds: median (least to most)."""
    counts = sorted(int(row[name]) for row in rows)
    middle = round(statistics.median(counts))
    said = f"{middle} model{'s' * (middle != 1)}"
    return said if counts[0] == counts[-1] else f"{said} ({counts[0]} to {counts[-1]})"


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
    cells["distinct"] = len({tuple(row[f"seconds_to_{s}"] for s in SHARES) for row in rows})
    begun, top, stood = (
        [int(row[column]) for row in rows] for column in ("begun", "trained", "stand_ins")
    )
    cells["trainings"] = f"{statistics.median(begun):.0f}, {statistics.median(top):.0f}"
    cells["stand-ins"] = f"{sum(stood) / max(sum(begun), 1):.0%}" if name in OPTUNA else ""
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
