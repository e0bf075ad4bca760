"""Seconds of training until a network reaches an IoU on val, before and after a change.

    git worktree add ../before COMMIT
    make bench-iou ARGS="--label before --tree ../before --data DIR --split-column COLUMN"
    make bench-iou ARGS="--label after --data DIR --split-column COLUMN"

Each call adds the rows that its label lacks (a network and a seed each) to
results/reference/NAME.csv and writes the summary of all labels to NAME.md; it can be stopped and
called again. `--tree` takes autoseg from another checkout, `--recipe` replaces numbers of the
recipe. Trainings run side by side, one thread and one core each.

What is timed: a trunk is trained at the constant rate, and at each rung of a geometric ladder a
branch decays from it, as a run does with its finalists; the branch is scored on val at the
pictures' own sizes. Its seconds are those of the trunk so far and of the branch, without any
scoring (`Score.train_s`) and without decoding the pictures, which is paid once for all trainings:
what a user waits who stops there and ships it. The undecayed average is cheaper to score, but
nobody ships it, and a change may help one and not the other. A fresh training for each rung would
give the same weights for about three times the time. The IoU is reached between two rungs, at the
seconds interpolated on the logarithm; before the first rung they are those of the first. A row
ends at the rung that reaches the last IoU, or at the top.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import closing
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING

from common import (
    REFERENCE,
    ROOT,
    append_csv,
    command,
    commit_of,
    cores,
    facts,
    overrides,
    read_csv,
    settings,
)
from iou_tables import TARGETS, Point, reached, summary

if TYPE_CHECKING:  # which autoseg is imported is decided by --tree
    from autoseg.core.records import Job, Score
    from autoseg.data.dataset import Dataset
    from autoseg.pools.local import LocalPool
    from autoseg.train.task import Task

NETS: dict[str, dict[str, float]] = {
    f"small {size}": {"resolution": size, "a": 0.25, "t": 6, "r": 1, "pp": 0}
    for size in (96, 192, 256)
}
LADDER = (2, 3, 4, 5, 6, 8, 10, 13, 17, 22, 28, 36, 46, 60, 81)
COLUMNS = (
    "label", "net", "seed",
    *(f"{what}_to_{target:.2f}" for target in TARGETS for what in ("seconds", "epochs")),
    "iou", "epochs", "seconds", "curve", "data", "recipe", "commit", "command",
)  # fmt: skip


@dataclass(frozen=True)
class Order:
    """One row that is still to be made."""

    net: str
    seed: int
    data: Path | None
    split_column: str | None
    recipe: tuple[str, ...]
    epochs: int
    folder: Path


def main() -> None:
    arguments = parse()
    path = REFERENCE / f"{arguments.out}.csv"
    rows = read_csv(path)
    if arguments.label:
        tree = arguments.tree.resolve()
        if not (tree / "autoseg" / "train" / "loop.py").is_file():
            sys.exit(f"--tree must be a checkout of autoseg, got {arguments.tree}")
        sys.path.insert(0, str(tree))  # before any import of autoseg; pools hand it on
        if arguments.data:
            arguments.data = arguments.data.resolve()
        os.chdir(tree)  # a worker looks there first
        for row in new_rows(arguments, rows, commit_of(tree)):
            append_csv(path, [row])
            rows.append(row)
    if not rows:
        sys.exit(f"{path} has no rows yet: name a --label")
    lines = summary(rows)
    print("\n".join(lines))
    write_page(REFERENCE / f"{arguments.out}.md", rows, lines)


def new_rows(
    arguments: argparse.Namespace, rows: Sequence[dict[str, str]], commit: str
) -> Iterator[dict[str, str]]:
    """The rows that the label lacks, as they end."""
    data = "parcels" if arguments.data is None else arguments.data.resolve().name
    same = {"data": data, "recipe": " ".join(sorted(arguments.recipe)), "commit": commit}
    there = [row for row in rows if row["label"] == arguments.label]
    for name, now in same.items():
        if others := {row[name] for row in there} - {now}:
            sys.exit(
                f"rows of --label {arguments.label} were made with the {name} {others.pop()!r}, "
                f"and this is {now!r}: choose another label"
            )
    known = {(row["net"], int(row["seed"])) for row in there}
    load(arguments.data, arguments.split_column)  # before the threads ask for it at once
    with tempfile.TemporaryDirectory(prefix="autoseg-iou-") as folder:
        orders = [
            Order(net, seed, arguments.data, arguments.split_column, tuple(arguments.recipe),
                  arguments.epochs, Path(folder))
            for seed in range(arguments.seeds)
            for net in arguments.nets
            if (net, seed) not in known
        ]  # fmt: skip
        for order, points in trained(orders):
            row = {"label": arguments.label, "net": order.net, "seed": order.seed}
            row |= {**reached(points), **same, "command": command()}
            say(f"{arguments.label} {order.net} seed {order.seed}: {row['curve']}")
            yield {name: str(value) for name, value in row.items()}


def trained(orders: Sequence[Order]) -> Iterator[tuple[Order, list[Point]]]:
    """Every order's points as they end, one order on each core at a time."""
    places: SimpleQueue[int] = SimpleQueue()
    for core in cores():
        places.put(core)
    over = threading.Event()
    with ThreadPoolExecutor(places.qsize(), initializer=take, initargs=(places,)) as threads:
        running = {threads.submit(climb, order, over): order for order in orders}
        try:
            for done in as_completed(running):
                yield running[done], done.result()
        finally:
            over.set()
            threads.shutdown(cancel_futures=True)


def take(places: SimpleQueue[int]) -> None:
    """Keep this thread, and the workers that it starts, on a core of its own."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, [places.get()])


def climb(order: Order, over: threading.Event) -> list[Point]:
    """The trunk rung by rung, and a decayed branch from each, until the last IoU is reached."""
    from autoseg.core.records import Job
    from autoseg.pools.local import LocalPool
    from autoseg.pools.slots import make_slots, this_machine
    from autoseg.train.checkpoints import checkpoint_name

    task = task_of(order)
    candidate = task.space.candidate(**NETS[order.net])
    points: list[Point] = []
    with closing(LocalPool(task, make_slots(this_machine(), workers=1))) as pool:
        # What a process does once, and the cache that all share, is not this row's alone.
        warm_up = Job(candidate, 0, 2)
        train(pool, warm_up, over)
        task.checkpoints.remove(checkpoint_name(warm_up))
        before = 0
        for rung in (r for r in LADDER if r <= order.epochs):
            trunk = Job(candidate, before, rung)
            train(pool, trunk, over)
            before = rung
            end = rung + task.recipe.decay_epochs(rung)
            score = train(pool, Job(candidate, rung, end, decay=True), over)
            points.append(Point(end, score.train_s, score.iou))
            if score.iou >= max(TARGETS):
                break
    shutil.rmtree(folder_of(order))
    return points


def train(pool: LocalPool, job: Job, over: threading.Event) -> Score:
    """Run a job in the pool's worker, whose settings are a run's, unless all is over before."""
    pool.submit(job)
    while not (outcomes := pool.wait(0.5)):
        if over.is_set():
            raise KeyboardInterrupt
    ((_, outcome),) = outcomes
    if isinstance(outcome, Exception):
        raise outcome
    return outcome.score


def folder_of(order: Order) -> Path:
    return order.folder / f"{order.net}-{order.seed}"


def task_of(order: Order) -> Task:
    from autoseg.networks.space_file import load_space
    from autoseg.train.recipe import Recipe
    from autoseg.train.storage import FolderStorage
    from autoseg.train.task import Task

    space = load_space("fast_scnn")
    recipe = Recipe.of({**space.recipe, **overrides(order.recipe)})
    dataset = load(order.data, order.split_column)
    return Task(
        space=space, dataset=dataset, recipe=recipe, seed=order.seed,
        cache_dir=order.folder / "pictures",
        checkpoints=FolderStorage(folder_of(order)).prepare(),
    )  # fmt: skip


@cache
def load(data: Path | None, split_column: str | None) -> Dataset:
    from autoseg import data as data_room
    from autoseg.data.dataset import Reading

    return data_room.load(data, Reading(split_column=split_column))


def write_page(path: Path, rows: Sequence[dict[str, str]], lines: Sequence[str]) -> None:
    """The summary with its facts; each label's own command and commit are in its rows."""
    said = {row["label"]: f"- {row['label']}: {origin(row)}" for row in rows}
    seeds = ", ".join(sorted({row["seed"] for row in rows}, key=int))
    body = [
        "# Seconds of training to an IoU on val", "", *facts(), f"- seeds {seeds}", *said.values(),
        *(f"- {net}: {settings(knobs)}" for net, knobs in NETS.items()), "",
        "Seconds: the median over the seeds, the range, and how many reached it. The last IoU is",
        "the median where the trainings ended: at the rung that reached 0.95, or at the top.", "",
        *lines,
    ]  # fmt: skip
    path.write_text("\n".join(body) + "\n")


def origin(row: dict[str, str]) -> str:
    recipe = row["recipe"] or "as it is"
    return f"commit {row['commit']}, recipe {recipe}, pictures {row['data']}: `{row['command']}`"


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--label", help="what the new rows are called; without it, only a summary")
    parser.add_argument("--tree", type=Path, default=ROOT, help="the checkout to train with")
    parser.add_argument("--recipe", action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument("--data", type=Path, help="a folder (default: the parcels)")
    parser.add_argument("--split-column")
    parser.add_argument("--nets", nargs="+", choices=list(NETS), default=list(NETS))
    parser.add_argument("--seeds", type=int, default=5, help="how many, from 0 on")
    parser.add_argument("--epochs", type=int, default=max(LADDER), help="the top of the ladder")
    parser.add_argument("--out", metavar="NAME", default="seconds-to-iou")
    return parser.parse_args()


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        say("interrupted: the rows so far are kept, the same command goes on")
        sys.exit(130)
