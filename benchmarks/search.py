"""Training seconds until a search has 90, 95 and 99 % of the hypervolume, ours beside others.

    make bench-search                       # the table packages, everybody, 20 seeds
    make bench-search ARGS="--tables packages PATH/fastscnn_rpi4.csv"
    make bench-search ARGS="--tables packages --samplers autoseg --seeds tuning --count 3"

Searches are replayed against tables of spaces in which everything was trained
(benchmarks/tabular). Each call adds the searches that results/reference/NAME.csv lacks, one row
each, and writes the summary NAME.md and the plot NAME.png; it can be stopped and called again, and
`--processes 2` does two searches side by side. The seeds by which a method is tuned (0 to 99) are
not those by which it is reported (from 1000); tuning is kept under results/, apart.

Each seed draws a world of its own, the same for all samplers: every candidate's scores move by the
noise of a training, and the exhaustive front is that world's. All are told the latencies for
nothing, and all are credited rung by rung with what finishing now would give; a search ends at
99 % of the exhaustive front's hypervolume. Three pairs
of ceiling and floor are asked for: `loose` (nearly everything fits), `binding` (half of the table
is fast enough, and half of that good enough) and `rare` (3 % meet both).
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

from common import REFERENCE, ROOT, Row, append_csv, commit_of, read_csv, side_by_side, write_csv
from search_report import REPORTING, write_report
from tabular.ablations import VARIANTS, without
from tabular.replay import Trajectory
from tabular.rivals import RIVALS, train_all
from tabular.tables import Table, load

from autoseg.core.records import Constraints
from autoseg.search.expected_hypervolume import ExpectedHypervolume

SHARES = (0.9, 0.95, 0.99)
SEEDS = {"tuning": 0, "reporting": REPORTING}
PAIRS = ("loose", "binding", "rare")
RARE = 0.03
COLUMNS = (
    "table", "pair", "sampler", "seed", "ceiling_ms", "floor", "feasible", "hypervolume",
    *(f"seconds_to_{share:g}" for share in SHARES), "feasible_models", "front_models", "begun",
    "trained", "stand_ins", "seconds", "share", "real_s",
    "commit", "curve",
)  # fmt: skip


@dataclass(frozen=True)
class Order:
    """One search that is still to be replayed; `table` is a name or a path."""

    table: str
    pair: str
    sampler: str
    seed: int
    commit: str


def main() -> None:
    arguments = parse()
    path = place(arguments) / f"{arguments.out}.csv"
    rows = read_csv(path)
    if arguments.again:
        rows = [row for row in rows if not doomed(row, arguments)]
        write_csv(path, rows, COLUMNS)
    orders = list(missing(arguments, rows))
    print(f"{len(orders)} searches to replay", flush=True)
    started = time.monotonic()
    for done, row in enumerate(side_by_side(search, orders, arguments.processes), start=1):
        append_csv(path, [row])
        rows.append(row)
        left_s = (time.monotonic() - started) / done * (len(orders) - done)
        said = ", ".join(f"{float(row[f'seconds_to_{s:g}']):.0f} s to {s:g}" for s in SHARES)
        names = " ".join(row[name] for name in ("table", "pair", "sampler", "seed"))
        print(f"{done}/{len(orders)} {names}: {said}; {left_s / 60:.1f} min to go", flush=True)
    chosen = {name_of(table) for table in arguments.tables}
    shown = [row for row in rows if row["table"] in chosen]
    if not shown:
        sys.exit(f"{path} has no search in {', '.join(sorted(chosen))}")
    print(
        "\n".join(write_report(path.with_suffix(""), shown, [load(t) for t in arguments.tables]))
    )


def doomed(row: Row, arguments: argparse.Namespace) -> bool:
    """Whether a row is to be made again."""
    chosen = map(name_of, arguments.tables), arguments.pairs, arguments.samplers
    names = ("table", "pair", "sampler")
    return all(row[name] in each for name, each in zip(names, chosen, strict=True))


def place(arguments: argparse.Namespace) -> Path:
    return REFERENCE if arguments.seeds == "reporting" else REFERENCE.parent


def name_of(table: str) -> str:
    return load_once(table).name


def missing(arguments: argparse.Namespace, there: Sequence[Row]) -> Iterator[Order]:
    """Seed by seed, so that what is stopped has something of everything."""
    known = {tuple(row[name] for name in ("table", "pair", "sampler", "seed")) for row in there}
    commit, first = commit_of(ROOT), SEEDS[arguments.seeds]
    for seed in range(first, first + arguments.count):
        for table in arguments.tables:
            for pair in arguments.pairs:
                for sampler in arguments.samplers:
                    if (name_of(table), pair, sampler, str(seed)) not in known:
                        yield Order(table, pair, sampler, seed, commit)


@cache
def load_once(table: str) -> Table:
    return load(table).certain()


def search(order: Order) -> Row:
    """One search, from nothing to 99 % of the hypervolume."""
    whole = load_once(order.table)
    constraints = pair_of(whole, order.pair)
    table = whole.drawn(order.seed)
    seen = SAMPLERS[order.sampler](table, constraints, order.seed)
    begun = {job.candidate.key for job in seen.jobs}
    trained = sum(not job.decay and job.to_epoch == table.top for job in seen.jobs)
    feasible = table.feasible(constraints)
    facts = (
        table.name, order.pair, order.sampler, order.seed, f"{constraints.max_latency_ms:.5g}",
        f"{constraints.min_iou:.5g}", f"{feasible:.3f}", f"{seen.full:.6g}",
        *(f"{seen.seconds_to(share):.2f}" for share in SHARES),
        round(feasible * len(table.entries)), len(table.front_keys(constraints)),
        len(begun), trained, seen.stand_ins,
        f"{seen.moments[-1].train_s if seen.moments else 0:.2f}", f"{seen.share:.5f}",
        f"{seen.real_s:.2f}", order.commit, curve(seen),
    )  # fmt: skip
    return dict(zip(COLUMNS, map(str, facts), strict=True))


def curve(seen: Trajectory) -> str:
    """`seconds:share` wherever the share rises."""
    points, best = [], 0.0
    for moment in seen.moments:
        if moment.hypervolume > best:
            best = moment.hypervolume
            points.append(f"{moment.train_s:.1f}:{best / seen.full:.4f}")
    return " ".join(points)


def pair_of(table: Table, pair: str) -> Constraints:
    """A ceiling and a floor that lie between two candidates each, from the table's own figures."""
    latencies = sorted(entry.latency_ms for entry in table.entries.values())
    if pair == "loose":
        ious = sorted(table.point(key)[1] for key in table.entries)
        return Constraints(_between(latencies, 0.97), _between(ious, 0.03), "p50")
    share = {"binding": 0.5, "rare": 0.3}[pair]
    ceiling_ms = _between(latencies, share)
    points = [table.point(key) for key in table.entries]
    ious = sorted(iou for ms, iou in points if ms <= ceiling_ms)
    under = 0.5 if pair == "binding" else 1 - max(2.0, RARE * len(points)) / len(ious)
    return Constraints(ceiling_ms, _between(ious, under), "p50")


def _between(ordered: Sequence[float], share: float) -> float:
    """Halfway between the last of this share and the next one."""
    last = min(max(math.ceil(share * len(ordered) - 1e-9), 1), len(ordered) - 1)
    return (ordered[last - 1] + ordered[last]) / 2


# -- who searches


def rival(table: Table, constraints: Constraints, seed: int, *, name: str) -> Trajectory:
    return train_all(table, RIVALS[name](table, constraints, seed), constraints, enough=SHARES[-1])


Sampler = Callable[[Table, Constraints, int], Trajectory]
SAMPLERS: dict[str, Sampler] = {
    "autoseg": partial(without, policy=ExpectedHypervolume()),
    **{name: partial(rival, name=name) for name in RIVALS},
    **VARIANTS,
}


# -- rows


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument(
        "--tables", nargs="+", default=["packages"],
        help="names in results/reference, and the path of the thesis' table",
    )  # fmt: skip
    parser.add_argument("--samplers", nargs="+", choices=SAMPLERS, default=["autoseg", *RIVALS])
    parser.add_argument("--pairs", nargs="+", choices=PAIRS, default=PAIRS)
    parser.add_argument("--seeds", choices=SEEDS, default="reporting")
    parser.add_argument("--count", type=int, default=20, help="of seeds")
    parser.add_argument("--processes", type=int, default=1, help="searches side by side")
    parser.add_argument("--again", action="store_true", help="forget these searches first")
    parser.add_argument("--out", default="search", help="name of the CSV, the page and the plot")
    return parser.parse_args()


if __name__ == "__main__":
    main()
