"""How often a promise is broken: noisy searches replayed where the truth is known.

    python benchmarks/promises.py --tables packages --processes 2

Each search goes through a table (benchmarks/tabular) as the product does, up to the confirmed
models. What a candidate truly is: the table's IoU, moved by the noise of a training as
benchmarks/search.py does. What the search sees of it: that and the noise
of few val pictures, one draw for a candidate, with the width that the bootstrap says; latencies
with the noise of a measurement. Each call adds the searches that results/reference/NAME.csv lacks,
one row each, and writes the summary NAME.md.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from statistics import NormalDist

import numpy as np
from common import (
    REFERENCE,
    ROOT,
    Row,
    append_csv,
    command,
    commit_of,
    facts,
    read_csv,
    side_by_side,
    table,
)
from search import PAIRS, pair_of
from tabular.replay import HALF_WIDTH, Clock, TableDevice, TablePool, Walk, judged, ours, timing
from tabular.tables import Cell, Table, load

from autoseg.core.feasibility import MIN_P_FEASIBLE, NORMAL_95, p_latency_met
from autoseg.core.pareto import front
from autoseg.core.records import Candidate, Constraints, Evaluation, Job, Measurement
from autoseg.search.status import decayed, epoch_of

CONFIRM_S = 5.0  # export, check, timing and IoU of one finalist
BUDGET_SHARE = 0.25  # of training the whole table, as the budget of a search
DRAWS = 2000  # of the bootstrap
CI95 = 2 * NORMAL_95  # standard deviations from end to end of a 95 % interval
COLUMNS = (
    "table", "pair", "seed", "ceiling_ms", "floor", "confirmed", "broken", "broken_kind",
    "front", "front_broken", "raw", "raw_broken", "raw_broken_kind", "rejected", "struck_true",
    "clock_s", "commit",
)  # fmt: skip


@dataclass(frozen=True)
class Order:
    """One search that is still to be replayed."""

    table: str
    pair: str
    seed: int
    commit: str


@dataclass(frozen=True)
class World:
    """`kind` is the table, `truth` what these trainings gave, and `seen` what val shows of it."""

    kind: Table
    truth: Table
    seen: Table
    seed: int

    @classmethod
    def drawn(cls, kind: Table, seed: int) -> World:
        rng, truth, seen = np.random.default_rng((seed, 1)), kind.drawn(seed), {}
        for key, entry in truth.entries.items():
            z = float(rng.normal())
            shown = {at: _shown(cell, z) for at, cell in entry.cells[0].items()}
            seen[key] = replace(entry, cells={0: shown})
        return cls(kind, truth, replace(kind, entries=seen), seed)


def _shown(cell: Cell, z: float) -> Cell:
    return cell.at(min(max(cell.iou + z * sd_of(cell.iou_ci95), 0.0), 0.9999))


def sd_of(interval: tuple[float, float]) -> float:
    return max((interval[1] - interval[0]) / CI95, 1e-9)


@dataclass(frozen=True)
class NoisyDevice(TableDevice):
    """Each measurement has noise of its own, as wide as its interval says."""

    seed: int = 0

    def measure(self, candidate: Candidate) -> Measurement:
        exact = super().measure(candidate).p50_ms
        number = int(candidate.key, 16), round(1e3 * self.clock.now_s), self.seed
        off = np.random.default_rng(number).normal() * HALF_WIDTH / NORMAL_95
        return timing(exact * math.exp(off))


# -- one search


def search(order: Order) -> Row:
    """To the end, and what of its promises holds."""
    kind = load_once(order.table)
    constraints = pair_of(kind, order.pair)
    world = World.drawn(kind, order.seed)
    walk = walked(world, constraints)
    alive = [e for e in walk.evaluations.values() if epoch_of(e)]
    kept = [e for e in alive if e.state == "confirmed"]
    rejected = [e for e in alive if e.state == "rejected"]
    points = [_said(e) for e in kept]
    on_front = [kept[i] for i in front(points)]
    raw = unconfirmed(world, alive, constraints)

    def broken(evaluations: Sequence[Evaluation], truth: Table = world.truth) -> int:
        return sum(not holds(truth, e, constraints) for e in evaluations)

    facts = (
        kind.name, order.pair, order.seed, f"{constraints.max_latency_ms:.5g}",
        f"{constraints.min_iou:.5g}", len(kept), broken(kept), broken(kept, world.kind),
        len(on_front), broken(on_front), len(raw), broken(raw), broken(raw, world.kind),
        len(rejected), len(rejected) - broken(rejected), f"{walk.clock.now_s:.0f}", order.commit,
    )  # fmt: skip
    return dict(zip(COLUMNS, map(str, facts), strict=True))


@cache
def load_once(name: str) -> Table:
    return load(name)


def holds(truth: Table, evaluation: Evaluation, constraints: Constraints) -> bool:
    """Whether what was made of a candidate meets both constraints in truth."""
    latency_ms, iou = truth.point(evaluation.candidate.key, epoch_of(evaluation))
    return latency_ms <= constraints.max_latency_ms and iou >= constraints.min_iou


def walked(world: World, constraints: Constraints) -> Walk:
    """The search, and then the confirming as in a journey."""
    table, clock = world.seen, Clock()
    budget_s = BUDGET_SHARE * table.total_s
    pool, device = TablePool(table, clock, 1), NoisyDevice(table, clock, world.seed)
    scheduler = ours(table, constraints, seed=world.seed, budget_s=budget_s)
    walk = Walk(table, scheduler, constraints, clock, pool, device)
    for _ in walk.steps(budget_s):
        pass
    while jobs := scheduler.finalists(walk.evaluations, budget_s - clock.now_s):
        for job in jobs:
            if not decayed(walk.evaluations[job.candidate.key]):
                pool.submit(job)
                for _ in walk.collect(pool.wait(1.0)):
                    pass
        for job in jobs:
            if walk.evaluations[job.candidate.key].state == "scored":
                confirm(walk, job)
    return walk


def confirm(walk: Walk, job: Job) -> None:
    """Promised where P(latency and IoU hold) is at least 0.9, from the second measurement."""
    known = walk.evaluations[job.candidate.key]
    trained, asked = known.score("val"), walk.constraints
    assert trained is not None, "it has taken its decay"
    walk.clock.now_s += CONFIRM_S
    measurement = walk.device.measure(job.candidate)
    shown = NormalDist(trained.iou, sd_of(trained.iou_ci95))
    score = replace(trained, source="onnx", p_floor=1 - shown.cdf(asked.min_iou))
    sure = p_latency_met(measurement, asked) * (score.p_floor or 0.0)
    walk.evaluations[job.candidate.key] = replace(
        known, state="confirmed" if sure >= MIN_P_FEASIBLE else "rejected", p_feasible=sure,
        scores=(*known.scores, score), measurements=(*known.measurements, measurement),
    )  # fmt: skip


def unconfirmed(
    world: World, trained: Sequence[Evaluation], constraints: Constraints
) -> list[Evaluation]:
    """What would be shipped on the figures of the search: the front of what seems to meet both.

    With the decay at the rung that each has reached.
    """
    able = []
    for e in trained:
        if e.measurements and judged(e.measurements[0], constraints) == "measured":
            shown = world.seen.point(e.candidate.key, epoch_of(e))[1]
            at = e.measurements[0].p50_ms, shown
            if at[0] <= constraints.max_latency_ms and shown >= constraints.min_iou:
                able.append((e, at))
    return [able[i][0] for i in front([at for _, at in able])]


def _said(evaluation: Evaluation) -> tuple[float, float]:
    measurement = evaluation.measurement
    return (measurement.p50_ms if measurement else math.inf), evaluation.iou or 0.0


# -- the summary


def write_page(path: Path, rows: Sequence[Row]) -> list[str]:
    lines = table([counted(name, mine) for name, mine in parts(rows)])
    body = [
        "# How often a promise is broken", "", *facts(),
        f"- {len(rows)} searches; commits: {', '.join(sorted({r['commit'] for r in rows}))}: "
        f"`{command()}`", "", *NOTE, "", *lines,
    ]  # fmt: skip
    path.write_text("\n".join(body) + "\n")
    return lines


NOTE = (
    "Broken: the true IoU is under the floor, or the true latency over the ceiling. `confirmed`",
    "are the models that the product promises (P of both at least 0.9, so at most 10 % should",
    "be broken), `front` those of them that no other beats; `unconfirmed` is the front of the",
    "figures that the search has seen. Shares with the 95 % interval of a bootstrap over",
    "searches; where none or all are broken, with Wilson's, a search being one. The truth of a",
    "model is that of its own weights; `of its kind` holds it to the table's IoU instead, which",
    "another training of the same candidate gave, and which no figure of val can promise.",
    "`rejected in vain` are models that were refused though they hold: the price of being sure.",
    "It is the IoU that this tests: the latencies have an assumed noise of 1 % and no tail. The",
    "noise of val is drawn from the very normal distribution that the confirming assumes, so",
    "this tells what choosing the best of many does to a promise, not whether the bootstrap's",
    "width is right.",
)


def parts(rows: Sequence[Row]) -> Iterator[tuple[str, list[Row]]]:
    for name in dict.fromkeys(row["table"] for row in rows):
        here = [row for row in rows if row["table"] == name]
        for pair in dict.fromkeys(row["pair"] for row in here):
            yield f"{name}, {pair}", [row for row in here if row["pair"] == pair]
        yield f"{name}, all", here


def counted(name: str, rows: Sequence[Row]) -> dict[str, str]:
    sums = {c: sum(int(row[c]) for row in rows) for c in COLUMNS[5:15]}
    searches = sum(int(row["confirmed"]) > 0 for row in rows)

    def share(broken: str, of: str) -> str:
        return said([int(row[broken]) for row in rows], [int(row[of]) for row in rows])

    return {
        "searches": name,
        "with a model": f"{searches} of {len(rows)}",
        "confirmed": str(sums["confirmed"]),
        "broken": share("broken", "confirmed"),
        "of its kind": share("broken_kind", "confirmed"),
        "front broken": share("front_broken", "front"),
        "unconfirmed": str(sums["raw"]),
        "unconfirmed broken": share("raw_broken", "raw"),
        "unconfirmed of its kind": share("raw_broken_kind", "raw"),
        "rejected in vain": f"{sums['struck_true']} of {sums['rejected']}",
    }


def said(found: Sequence[int], of: Sequence[int]) -> str:
    """A share of the models of several searches, with its interval."""
    if not sum(of):
        return "-"
    low, high = interval(found, of)
    return f"{sum(found) / sum(of):.1%} ({low:.1%} to {high:.1%})"


def interval(found: Sequence[int], of: Sequence[int]) -> tuple[float, float]:
    """95 % of a bootstrap over searches, whose models share a world and are not independent.

    A bootstrap sees no doubt where none or all are found: there Wilson's, a search being one.
    """
    if sum(found) in (0, sum(of)):
        return wilson(sum(map(bool, found)), sum(map(bool, of)))
    drawn = np.random.default_rng(0).integers(len(of), size=(DRAWS, len(of)))
    models = np.array(of)[drawn].sum(axis=1)
    some = models > 0
    shares = np.array(found)[drawn].sum(axis=1)[some] / models[some]
    low, high = np.quantile(shares, (0.025, 0.975))
    return float(low), float(high)


def wilson(found: int, of: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a share."""
    z2 = NORMAL_95**2
    middle = (found + z2 / 2) / (of + z2)
    half = NORMAL_95 / (of + z2) * math.sqrt(found * (of - found) / of + z2 / 4)
    return max(0.0, middle - half), min(1.0, middle + half)


# -- rows


def main() -> None:
    arguments = parse()
    path = REFERENCE / f"{arguments.out}.csv"
    rows = read_csv(path)
    known = {tuple(row[name] for name in ("table", "pair", "seed")) for row in rows}
    commit = commit_of(ROOT)
    orders = [
        Order(name, pair, seed, commit)
        for seed in range(arguments.first, arguments.first + arguments.count)
        for name in arguments.tables
        for pair in arguments.pairs
        if (load_once(name).name, pair, str(seed)) not in known
    ]
    print(f"{len(orders)} searches to replay", flush=True)
    for row in side_by_side(search, orders, arguments.processes):
        append_csv(path, [row])
        rows.append(row)
    print("\n".join(write_page(path.with_suffix(".md"), rows)))


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--tables", nargs="+", default=["packages"], help="in results/reference")
    parser.add_argument("--pairs", nargs="+", choices=PAIRS, default=PAIRS)
    parser.add_argument("--count", type=int, default=100, help="of searches for each pair")
    parser.add_argument("--first", type=int, default=1000, help="seed")
    parser.add_argument("--processes", type=int, default=1, help="searches side by side")
    parser.add_argument("--out", default="promises", help="name of the CSV and the page")
    return parser.parse_args()


if __name__ == "__main__":
    main()
