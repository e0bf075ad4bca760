"""What against_thesis.py tells of the timed models: areas, gaps, both fronts, what they cost."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from common import table
from fronts import area, best_within, deficits, fastest_at, front_points, ratio, shown_ms

from autoseg.core.pareto import Point
from autoseg.core.units import Choice
from autoseg.run.result import Result

KNOBS: tuple[tuple[str, type], ...] = (
    ("resolution", int), ("a", float), ("t", int), ("r", int), ("pp", int),
)  # fmt: skip
FLOOR, BELOW_MS, TARGETS = 0.90, 4.0, (0.95, 0.96, 0.97)
THEIR_EPOCHS = 400
Row = Mapping[str, Any]


@dataclass(frozen=True)
class Model:
    """One graph to be timed, and the accuracies that are known of it.

    Two trainings of one architecture are two accuracies at one latency. `shipped` says that it is
    on the front that its own search gave; all of the thesis' may be.
    """

    who: str
    key: str
    knobs: Mapping[str, Choice]
    ious: tuple[float, ...] = ()
    shipped: bool = False
    about: str = ""


def name_of(knobs: Mapping[str, Choice]) -> str:
    return "-".join(f"{name}{knobs[name]:g}" for name, _ in KNOBS)


def medians(rows: Sequence[Row], key: str) -> tuple[float, float, float]:
    """The median p50 of a model over the rounds, and the ends of its 95 % interval, ms."""
    own = [row for row in rows if row["model"] == key]
    names = ("p50_ms", "p50_low_ms", "p50_high_ms")
    middle, low, high = (statistics.median(float(row[name]) for row in own) for name in names)
    return middle, low, high


def points_of(model: Model, rows: Sequence[Row]) -> list[Row]:
    """One row for each training of a model."""
    middle, low, high = (round(ms, 4) for ms in medians(rows, model.key))
    who = {"who": model.who, "model": model.key, "p50_ms": middle}
    knobs = {name: _plain(model.knobs.get(name, "")) for name, _ in KNOBS}
    knobs["channels"] = _plain(model.knobs.get("channels", 3))
    more = {"p50_low_ms": low, "p50_high_ms": high}
    more |= {"on_its_front": int(model.shipped), "about": model.about}
    return [{**who, "iou": round(iou, 4), **knobs, **more} for iou in model.ious]


def _plain(value: Choice) -> str:
    return value if isinstance(value, str) else f"{value:g}"


def of(points: Sequence[Row], who: str, shipped: bool = False) -> list[Point]:
    """(ms, IoU) of one side's models: all of them, or those that its own search put forward."""
    mine = [row for row in points if row["who"] == who]
    return [(row["p50_ms"], row["iou"]) for row in mine if row["on_its_front"] or not shipped]


def summary(points: Sequence[Row], baseline_ms: float) -> list[str]:
    """Areas, latencies at the same IoU, and the largest gap below 4 ms."""
    sides = of(points, "thesis"), of(points, "autoseg", shipped=True), of(points, "autoseg")
    rows = []
    for ceiling_ms, name in ((baseline_ms, "the untuned net"), (BELOW_MS, "small nets")):
        what = f"hypervolume up to {ceiling_ms:.3g} ms ({name}), IoU over {FLOOR:g}"
        rows.append(_compared(what, *(area(each, ceiling_ms, FLOOR) for each in sides)))
    for iou in TARGETS:
        what = f"ms at an IoU of at least {iou:g}"
        rows.append(_compared(what, *(fastest_at(each, iou) for each in sides)))
    better = "Ratios are autoseg over thesis: better over 1 for an area, under 1 for a latency."
    lines = [*table(rows), "", better, "", *gaps("what autoseg ships", sides[1], sides[0])]
    if set(sides[1]) != set(sides[2]):
        lines += ["", *gaps("all that autoseg confirmed", sides[2], sides[0])]
    return lines


def _compared(
    what: str, thesis: float | None, shipped: float | None, every: float | None
) -> dict[str, str]:
    return {
        "": what, "thesis": shown_ms(thesis), "autoseg": shown_ms(shipped),
        "ratio": ratio(shipped, thesis), "autoseg, all confirmed": shown_ms(every),
        "its ratio": ratio(every, thesis),
    }  # fmt: skip


def gaps(name: str, ours: Sequence[Point], theirs: Sequence[Point]) -> list[str]:
    """Where their front is above ours below 4 ms, and by how much."""
    found = deficits(ours, theirs, BELOW_MS, FLOOR)
    worse = [gap for gap in found if gap[1] > 0]
    said = (
        f"Below {BELOW_MS:g} ms the thesis' front rises {len(found)} times over IoU {FLOOR:g}; "
        f"{name} is below it at {len(worse)} of these latencies"
    )
    if not worse:
        return [said + ": nowhere worse."]
    at_ms, most = max(worse, key=lambda gap: gap[1])
    return [said + f", by at most {most:.4f} (at {at_ms:.3g} ms)."]


def fronts_table(points: Sequence[Row]) -> list[str]:
    """Every model of both fronts by latency, and what the other has at this latency and IoU."""
    sides = {"thesis": of(points, "thesis"), "autoseg": of(points, "autoseg", shipped=True)}
    fronts = {who: set(front_points(mine)) for who, mine in sides.items()}
    rows = []
    for row in sorted(points, key=lambda row: (row["p50_ms"], row["iou"])):
        who, at = row["who"], (row["p50_ms"], row["iou"])
        if row["on_its_front"] and at in fronts.get(who, ()):
            rows.append(_front_row(row, sides["autoseg" if who == "thesis" else "thesis"]))
    return table(rows)


def _front_row(row: Row, other: Sequence[Point]) -> dict[str, str]:
    ours = row["who"] == "autoseg"
    best = best_within(other, row["p50_ms"])
    return {
        "of": row["who"], "p50 ms": f"{row['p50_ms']:.3f}", "IoU": f"{row['iou']:.4f}",
        "px": row["resolution"],
        "knobs": " ".join(f"{name}={row[name]}" for name in ("a", "t", "r", "pp", "channels")),
        "other's IoU by then": "none" if best is None else f"{best:.4f}",
        "other's ms at this IoU": shown_ms(fastest_at(other, row["iou"])),
        "model": row["model"] if ours else "", "IoU on val, 95 % on test": row["about"],
    }  # fmt: skip


def costs(result: Result, theirs: Sequence[Model]) -> list[str]:
    """What it took to train both."""
    scored = [[s for s in e.scores if s.source == "torch"] for e in result.evaluations]
    trained = [scores for scores in scored if scores]
    seconds = sum(max(score.train_s for score in scores) for scores in trained)
    epochs = sum(max(score.epoch for score in scores) for scores in trained)
    count = sum(len(model.ious) for model in theirs)
    return [
        f"Training: the thesis {count} models x {THEIR_EPOCHS} epochs = {count * THEIR_EPOCHS:,} "
        f"epochs, chosen by hand over seven stages; autoseg {len(trained)} candidates, "
        f"{epochs:,} epochs, {seconds:,.0f} s of one thread in training, {result.spent_s:,.0f} s "
        f"of the clock for the whole run ({result.declaration.workers} workers)."
    ]


def how(rows: Sequence[Row]) -> list[str]:
    """What the figures are, and how well the timings repeat."""
    keys = {row["model"] for row in rows}
    rounds = len({row["round"] for row in rows})
    each = [[float(ms) for ms in row["processes_ms"].split()] for row in rows]
    spreads = [max(own) / min(own) - 1 for own in each]
    halves = [(high - low) / 2 / ms for ms, low, high in (medians(rows, key) for key in keys)]
    flagged = sum(bool(row["flags"]) for row in rows)
    return [
        "Latency: one thread of this machine, p50, the middle one of three processes started "
        f"anew, in {rounds} round(s) through all {len(keys)} architectures. The graph is the one "
        "that is shipped: uint8 frame in, class map at the input's size out, with normalization, "
        "upsampling and threshold inside. The published architectures have their exact widths and "
        "random weights. (The latencies in the published table are of another graph: float NCHW "
        "in, without normalization and class "
        "map.) channels=1 takes the camera's luminance plane. Between the processes a p50 differs "
        f"by {100 * statistics.median(spreads):.1f} % (median; at most "
        f"{100 * max(spreads):.0f} %); its 95 % interval, for another day, is "
        f"±{100 * statistics.median(halves):.1f} % (median). {flagged} of {len(rows)} timings "
        "have a flag.",
        "",
        "IoU: foreground, one confusion matrix over the test pictures at their own size, each "
        "class map resized by nearest neighbour. The thesis' front is chosen on these very "
        "pictures; the models that autoseg ships were chosen on val, and test was read once, "
        "afterwards. All that it confirmed, chosen on test as the thesis' are, stand beside it.",
        "",
        "`other's IoU by then` is the best that the other front has at this latency or below.",
    ]
