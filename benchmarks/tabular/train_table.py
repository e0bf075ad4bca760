"""Train every candidate of a small space, rung by rung, and keep every score in a table.

    python benchmarks/tabular/train_table.py NAME --data DIR [--space FILE] [--split-column COLUMN]

Each call trains what results/reference/NAME.csv lacks; it can be stopped and called again. At each
rung of the comparable schedule the candidate is scored on val, and so is the branch that decays
from there: a scheduler may ask for either. `train_s` are the CPU seconds of one thread for that
job: training from the rung before, scoring and checkpoints; decoding the pictures is paid before.
A part of the candidates is trained with a second seed, so that the noise is known.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from queue import SimpleQueue

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))
from common import REFERENCE, Row, append_csv, cores, process, read_csv

HERE = Path(__file__).parent
RUNGS = (1, 3, 9, 27)
STEP = 8  # multiple of the channels, as on this machine by default
COLUMNS = ("key", "knobs", "seed", "epoch", "decayed", "iou", "iou_low", "iou_high", "train_s")


@dataclass(frozen=True)
class Order:
    """One candidate to be trained to the top with one seed."""

    data: Path
    split_column: str | None
    space: Path
    number: int
    seed: int


def main() -> None:
    arguments = parse()
    path = REFERENCE / f"{arguments.name}.csv"
    there = read_csv(path)
    orders = list(missing(arguments, there))
    print(f"{len(orders)} trainings to do", flush=True)
    started = time.monotonic()
    for done, (order, rows) in enumerate(trained(orders), start=1):
        append_csv(path, rows)
        rate = (time.monotonic() - started) / done
        print(
            f"{done}/{len(orders)} seed {order.seed} {rows[0]['knobs']}: IoU {rows[-2]['iou']}, "
            f"{rate * (len(orders) - done) / 60:.0f} min to go",
            flush=True,
        )


def missing(arguments: argparse.Namespace, there: list[Row]) -> Iterator[Order]:
    """First every candidate with seed 0, then each third one with seed 1, in a fixed shuffle."""
    from autoseg.networks.space_file import load_space

    known = {(row["key"], int(row["seed"])) for row in there}
    candidates = list(load_space(arguments.space).candidates("expert"))
    shuffled = [int(i) for i in np.random.default_rng(5).permutation(len(candidates))]
    twice = shuffled[:: arguments.twice_each] if arguments.twice_each else []
    for seed, numbers in ((0, shuffled), (1, twice)):
        for number in numbers:
            if (candidates[number].key, seed) not in known:
                yield Order(
                    arguments.data.resolve(), arguments.split_column, arguments.space, number, seed
                )


def trained(orders: list[Order]) -> Iterator[tuple[Order, list[Row]]]:
    """Every order's rows as they end, one order on each core at a time."""
    with tempfile.TemporaryDirectory(prefix="autoseg-table-") as folder, ExitStack() as stack:
        workers: SimpleQueue[ProcessPoolExecutor] = SimpleQueue()
        for core in cores():
            worker = stack.enter_context(process([core], 1, {}))
            if orders:  # imports and first decodings are nobody's seconds
                worker.submit(train, orders[0], Path(folder), (1,)).result()
            workers.put(worker)

        def one(order: Order) -> list[Row]:
            worker = workers.get()
            try:
                return worker.submit(train, order, Path(folder)).result()
            finally:
                workers.put(worker)

        threads = stack.enter_context(ThreadPoolExecutor(len(cores())))
        futures = {threads.submit(one, order): order for order in orders}
        try:
            for future in as_completed(futures):
                yield futures[future], future.result()
        except BaseException:
            threads.shutdown(wait=False, cancel_futures=True)
            raise


def train(order: Order, folder: Path, rungs: tuple[int, ...] = RUNGS) -> list[Row]:
    """One candidate through all rungs and their decays; in a process of its own."""
    from autoseg.core.records import Job
    from autoseg.data import load
    from autoseg.data.dataset import Reading
    from autoseg.networks.space_file import load_space
    from autoseg.train.loop import train_job
    from autoseg.train.recipe import Recipe
    from autoseg.train.storage import FolderStorage
    from autoseg.train.task import Task, split_arrays

    space = load_space(order.space)
    candidate = list(space.candidates("expert"))[order.number]
    reading = Reading(split_column=order.split_column)
    dataset = load(order.data, reading, cache_dir=folder / "inspected")
    place = folder / f"{candidate.key}-{order.seed}"
    recipe = replace(Recipe(), rungs=rungs)
    task = Task(
        space=space, dataset=dataset, recipe=recipe, seed=order.seed,
        cache_dir=folder / "pictures", channel_step=STEP,
        checkpoints=FolderStorage(place).prepare(),
    )  # fmt: skip
    for split in ("train", "val"):
        split_arrays(task, candidate, split)

    def row(job: Job) -> Row:
        started = time.process_time()
        score = train_job(task, job, "cpu").score
        facts = (
            candidate.key, candidate, order.seed, score.epoch, int(score.decayed),
            f"{score.iou:.5f}", *(f"{v:.5f}" for v in score.iou_ci95),
            f"{time.process_time() - started:.2f}",
        )  # fmt: skip
        return dict(zip(COLUMNS, map(str, facts), strict=True))

    rows, before = [], 0
    for rung in rungs:
        job = Job(candidate, before, rung)
        rows.append(row(job))
        before = rung
        decay = Job(candidate, rung, rung + recipe.decay_epochs(rung), decay=True)
        rows.append(row(decay))
    shutil.rmtree(place)
    return rows


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("name", help="of the table in results/reference")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--space", type=Path, default=HERE / "small_fast_scnn.yaml")
    parser.add_argument("--split-column")
    parser.add_argument(
        "--twice-each", type=int, default=3, help="each how many-th gets a second seed; 0: none"
    )
    return parser.parse_args()


if __name__ == "__main__":
    main()
