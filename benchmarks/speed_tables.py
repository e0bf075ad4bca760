"""How the timings of the training benchmark become tables."""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field
from typing import Any

from stations import Cell


@dataclass
class Timings:
    """Seconds a picture, a list for each thing that is timed: one number for each repeat."""

    cell: Cell
    seconds: dict[str, list[float]] = field(default_factory=dict)

    def add(self, **taken: float) -> None:
        for name, value in taken.items():
            self.seconds.setdefault(name, []).append(value)

    def rate(self, name: str) -> float:
        """Pictures a second by the median; `best` by the least seconds."""
        return 1 / statistics.median(self.seconds[name])

    def best(self, name: str) -> float:
        return 1 / min(self.seconds[name])

    def shown(self, name: str) -> str:
        return f"{figure(self.rate(name))} ({figure(self.best(name))})"

    def milliseconds(self, name: str) -> float:
        return 1000 * statistics.median(self.seconds[name])


def head(timings: Timings) -> dict[str, Any]:
    net, size = timings.cell.name.split()
    return {"net": net, "size": size}


def against_plain(timings: Timings) -> dict[str, str]:
    times = timings.rate("ours") / timings.rate("plain")
    return {
        "autoseg": timings.shown("ours"),
        "plain loop": timings.shown("plain"),
        "times": f"{times:.1f}",
    }


def against_bound(timings: Timings) -> dict[str, str]:
    share = timings.rate("ours") / timings.rate("bound")
    return {"bound": timings.shown("bound"), "share of it": f"{100 * share:.0f} %"}


def split(timings: Timings) -> dict[str, Any]:
    """Where an epoch's time goes; what the pieces, each timed alone, leave over is `other`."""
    each_epoch = ("fetch", "augment", "forward", "backward", "optimizer")
    taken = {name: timings.milliseconds(name) for name in each_epoch}
    whole = timings.milliseconds("ours")
    taken |= {"other": whole - sum(taken.values()), "all": whole}
    once = {"decode, once": figure(timings.milliseconds("decode"))}
    return {**head(timings), **once, **{name: figure(value) for name, value in taken.items()}}


def evaluated(timings: Timings) -> dict[str, str]:
    return {name: figure(timings.rate(name)) for name in ("class maps", "scoring")}


def figure(value: float) -> str:
    """Three digits, so that no more is said than was seen."""
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def flat(timings: Timings) -> dict[str, Any]:
    rates = {
        f"{name.replace(' ', '_')}_per_s{kind}": round(rate(name), 3)
        for name in timings.seconds
        for kind, rate in (("", timings.rate), ("_best", timings.best))
    }
    return {**head(timings), "pictures": timings.cell.pictures, **rates}
