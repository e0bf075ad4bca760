"""Pictures a second: autoseg's training beside a plain PyTorch DataLoader loop, and its own bound.

    make bench-train [ARGS="--data DIR --out training-speed"]

The plain loop (plain_loop.py) decodes, resizes and augments each picture in each epoch, as the
thesis' code does. Both train the same network with the same batch, loss and augmentation on the
same cores; that autoseg computes them in faster ways is part of what is compared. Every picture is
augmented on both sides; autoseg's own recipe begins with none and augments more from epoch to
epoch. autoseg's seconds are those of `train_job` without the scoring, by its own recipe: Muon, the
average of the weights and the clipping of gradients are in them, where the plain loop has AdamW
alone; `--recipe optimizer=adamw` gives both the same. Files lie in the memory of the system, which
favours the plain loop.

- One core each: one thread, no DataLoader workers.
- The whole machine: autoseg as it runs, a training with one thread on each core, counting what all
  of them did while the slowest ran; the plain loop with a thread for each core, without workers
  and with one for each core.
- The bound: forward, backward and optimizer step on one batch that stays the same, of the type
  and strides that the network gets in training.

Each repeat times all of them in turn, so that what disturbs the machine disturbs all. On a machine
with a GPU there is one table, of trainings on the GPU. Takes about 10 minutes on two cores.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import stations
import torch
from common import (
    LOAD_BEFORE,
    REFERENCE,
    command,
    commit_of,
    cores,
    facts,
    overrides,
    process,
    settings,
    table,
    write_csv,
)
from PIL import Image
from plain_loop import read
from speed_tables import Timings, against_bound, against_plain, evaluated, flat, head, split
from stations import Cell

import autoseg
from autoseg import data as data_room
from autoseg.core.serialize import digest
from autoseg.data.dataset import Dataset, Reading
from autoseg.data.synthetic.parcels import parcels
from autoseg.networks.space_file import load_space
from autoseg.pools.local import environment
from autoseg.pools.slots import Slot
from autoseg.train.recipe import Recipe
from autoseg.train.storage import FolderStorage
from autoseg.train.task import Task

NETS: dict[str, dict[str, float]] = {
    "small": {"a": 0.25, "t": 2, "r": 1, "pp": 0},
    "medium": {"a": 0.5, "t": 4, "r": 1, "pp": 1},
    "baseline": {"a": 1, "t": 6, "r": 3, "pp": 1},
}
EVERY_PICTURE = {"augment_epochs": 0}  # augmented, from the second epoch on; the first warms up
SCORED = 16  # pictures of val: its scoring is not part of what is compared
SEED = 0


def main() -> None:
    arguments = parse()
    if LOAD_BEFORE > 0.5:
        say(f"something else runs on this machine (load {LOAD_BEFORE:.1f}): the figures will tell")
    with tempfile.TemporaryDirectory(prefix="autoseg-bench-") as name, ExitStack() as stack:
        folder = Path(name)
        task = task_of(arguments, folder)
        bench = Gpu if torch.cuda.is_available() else Cpu
        machine = bench(stack, arguments.seconds, folder)
        timings = [
            machine.time(cell, arguments.repeats)
            for cell in cells(machine, task, arguments.nets, arguments.resolutions)
        ]
    lines = [line for title, rows in machine.tables(timings) for line in ("", title, "", *rows)]
    print("\n".join(lines[1:]))
    if arguments.out:
        save(arguments, task, lines, timings)


class Cpu:
    """For autoseg a process with one thread on each core, as its pool starts them; for the plain
    loop one process on the first core, and one that has them all.
    """

    def __init__(self, stack: ExitStack, seconds: float, folder: Path) -> None:
        self.seconds, self.folder, self.all = seconds, folder, cores()
        self.ours = [
            stack.enter_context(process([core], 1, environment(Slot()))) for core in self.all
        ]
        self.plain = {"plain": stack.enter_context(process(self.all[:1], 1, {}))}
        whole = stack.enter_context(process(self.all, len(self.all), {}))
        self.plain |= {f"plain {workers}": whole for workers in (0, len(self.all))}

    def guess(self, cell: Cell) -> float:
        return self.ours[0].submit(stations.guess, cell.task, cell.candidate).result()

    def time(self, cell: Cell, repeats: int) -> Timings:
        """All of one cell; the first process fills the cache that the others read."""
        for place, one in enumerate(self.ours):
            one.submit(stations.enter, cell, self.folder / f"{place}").result()
        for one in dict.fromkeys(self.plain.values()):
            one.submit(stations.enter, cell, None).result()
        first_s = {name: self._plain(cell, name, 1) for name in self.plain}
        rounds = {name: epochs_in(self.seconds, cell, first_s[name]) for name in self.plain}
        timings, core = Timings(cell), self.ours[0]
        ours = epochs_in(self.seconds, cell, each(core, cell, 1))
        for repeat in range(repeats):
            say(f"{cell.name}: {cell.pictures} pictures, repeat {repeat + 1} of {repeats}")
            timings.add(ours=each(core, cell, ours))
            timings.add(plain=self._plain(cell, "plain", rounds["plain"]))
            timings.add(**core.submit(stations.tell, "bound", self.seconds / 2).result())
            timings.add(side_by_side=self._side_by_side(cell, ours))
            for name in list(self.plain)[1:]:
                timings.add(**{name: self._plain(cell, name, rounds[name])})
        timings.add(**core.submit(stations.tell, "pieces").result())
        timings.add(**core.submit(stations.tell, "evaluation").result())
        return timings

    def _side_by_side(self, cell: Cell, epochs: int) -> float:
        """One training on each core: seconds a picture of all, by the one that took longest."""
        trainings = [one.submit(stations.tell, "train", epochs) for one in self.ours]
        longest = max(training.result() for training in trainings)
        return longest / epochs / cell.pictures / len(self.ours)

    def _plain(self, cell: Cell, name: str, epochs: int) -> float:
        workers = int(name.partition(" ")[2] or 0)
        return each(self.plain[name], cell, workers, epochs)

    def tables(self, timings: list[Timings]) -> Iterator[tuple[str, list[str]]]:
        """The title and the lines of each table."""
        yield (
            "One core each, pictures a second: the median of the repeats (the best)",
            table([{**head(t), **against_plain(t), **against_bound(t)} for t in timings]),
        )
        yield (
            f"The whole machine ({len(self.all)} cores), pictures a second: median (best)",
            table([{**head(t), **self._whole(t)} for t in timings]),
        )
        yield "autoseg on one core, milliseconds a picture", table([split(t) for t in timings])
        yield (
            "Evaluation on one core, pictures a second",
            table([{**head(t), **evaluated(t)} for t in timings]),
        )

    def _whole(self, timings: Timings) -> dict[str, str]:
        plain = list(self.plain)[1:]
        faster = max(timings.rate(name) for name in plain)
        return {
            f"autoseg, {len(self.all)} trainings": timings.shown("side_by_side"),
            **{f"{name} workers": timings.shown(name) for name in plain},
            "times the faster": f"{timings.rate('side_by_side') / faster:.1f}",
        }


class Gpu:
    """A process for each way to train; the DataLoader has all cores for its workers."""

    def __init__(self, stack: ExitStack, seconds: float, folder: Path) -> None:
        self.seconds, self.folder = seconds, folder
        self.ours = stack.enter_context(process(cores(), 1, environment(Slot())))
        self.plain = stack.enter_context(process(cores(), len(cores()), {}))

    def guess(self, cell: Cell) -> float:
        return self.ours.submit(stations.guess, cell.task, cell.candidate).result()

    def time(self, cell: Cell, repeats: int) -> Timings:
        self.ours.submit(stations.enter, cell, self.folder / "gpu").result()
        self.plain.submit(stations.enter, cell, None).result()
        timings, workers = Timings(cell), len(cores())
        bound = self.ours.submit(stations.tell, "bound", self.seconds / 2).result()["bound"]
        ours = epochs_in(self.seconds, cell, bound)
        plain = epochs_in(self.seconds, cell, each(self.plain, cell, workers, 1))
        for repeat in range(repeats):
            say(f"{cell.name}: {cell.pictures} pictures, repeat {repeat + 1} of {repeats}")
            timings.add(ours=each(self.ours, cell, ours))
            timings.add(plain=each(self.plain, cell, workers, plain))
            parts = self.ours.submit(stations.tell, "bound", self.seconds / 2).result()
            timings.add(bound=parts["bound"])  # its parts are not waited for one by one
        return timings

    def tables(self, timings: list[Timings]) -> Iterator[tuple[str, list[str]]]:
        rows = [{**head(t), **against_plain(t), **against_bound(t)} for t in timings]
        title = f"{torch.cuda.get_device_name()}, pictures a second: median (best)"
        yield f"{title}; plain has {len(cores())} workers", table(rows)


def cells(machine: Cpu | Gpu, task: Task, nets: list[str], sizes: list[int]) -> Iterator[Cell]:
    """Each network at each size, with as many pictures as take about the seconds of one repeat."""
    for net in nets:
        for size in sizes:
            candidate = task.space.candidate(resolution=size, **NETS[net])
            cell = Cell(f"{net} {size}", task, candidate)
            batches = round(machine.seconds / machine.guess(cell) / task.recipe.batch)
            _, pictures = task.recipe.pictures(1, task.recipe.batch * max(2, batches))
            dataset = part_of(task.dataset, pictures)
            yield dataclasses.replace(cell, task=dataclasses.replace(task, dataset=dataset))


def part_of(dataset: Dataset, pictures: int) -> Dataset:
    """The first of train and of val: large networks need few pictures to be timed."""
    counts = {"train": min(pictures, len(dataset.splits["train"])), "val": SCORED}
    splits = {part: dataset.splits[part][:count] for part, count in counts.items()}
    content = digest({"of": dataset.digest, **counts})
    return dataclasses.replace(dataset, splits=splits, digest=content)


def each(one: ProcessPoolExecutor, cell: Cell, *arguments: int) -> float:
    """Seconds a picture of what a process is told to train; the last argument is the epochs."""
    taken: float = one.submit(stations.tell, "train", *arguments).result()
    return taken / arguments[-1] / cell.pictures


def epochs_in(seconds: float, cell: Cell, seconds_a_picture: float) -> int:
    """How many epochs take about as long, at least one."""
    return max(1, round(seconds / (seconds_a_picture * cell.pictures)))


def task_of(arguments: argparse.Namespace, folder: Path) -> Task:
    """The recipe with every picture augmented, on files that are decoded from the disk."""
    data = arguments.data or write_parcels(folder / "parcels")
    dataset = data_room.load(data, Reading(split_column=arguments.split_column))
    first = dataset.splits["train"][0]
    if not np.array_equal(read(first)[1], dataset.read(first)[1]):
        sys.exit("the plain loop reads masks of class indices only; --data has others")
    space = load_space("fast_scnn")
    recipe = Recipe.of({**space.recipe, **EVERY_PICTURE, **overrides(arguments.recipe)})
    if recipe.augmented_share(1) < 1:
        say(f"autoseg augments only {recipe.augmented_share(1):.0%} of the pictures")
    return Task(
        space=space, dataset=dataset, recipe=recipe, seed=SEED, cache_dir=folder / "pictures",
        checkpoints=FolderStorage(folder / "checkpoints").prepare(),
    )  # fmt: skip


def write_parcels(root: Path) -> Path:
    """The synthetic parcels as files, so that decoding is real: JPEG and PNG, 640x360."""
    say("writing the parcels as files")
    dataset = parcels(SEED, {"train": 240, "val": SCORED, "test": 0})
    for part, samples in dataset.splits.items():
        images, masks = root / "images" / part, root / "masks" / part
        images.mkdir(parents=True)
        masks.mkdir(parents=True)
        for sample in samples:
            image, mask = dataset.read(sample)
            Image.fromarray(image).save(images / f"{sample.stem}.jpg", quality=90)
            Image.fromarray(mask).save(masks / f"{sample.stem}.png")
    return root


def save(
    arguments: argparse.Namespace, task: Task, lines: list[str], timings: list[Timings]
) -> None:
    """The tables with their facts as NAME.md, every median and best as NAME.csv."""
    name, augmented = task.dataset.name, task.recipe.augmented_share(1)
    height, width, _ = read(task.dataset.splits["train"][0])[0].shape
    said = (
        f"commit {commit_of(Path(autoseg.__file__).parents[1])}; seed {SEED}, "
        f"{arguments.repeats} repeats; pictures: {name}, {width}x{height}; "
        f"batch {task.recipe.batch}; {task.recipe.optimizer} and a share of {augmented:.0%} "
        "augmented pictures in autoseg, adamw and 100% in the plain loop"
    )
    title = ["# Speed of training: autoseg beside a plain DataLoader loop", ""]
    nets = [f"- {net}: {settings(knobs)}" for net, knobs in NETS.items()]
    body = [*title, f"- command: `{command()}`", *facts(), f"- {said}", *nets, *lines]
    (REFERENCE / f"{arguments.out}.md").write_text("\n".join(body) + "\n")
    write_csv(REFERENCE / f"{arguments.out}.csv", [flat(t) for t in timings])


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--data", type=Path, help="a folder (default: the parcels as files)")
    parser.add_argument("--split-column")
    parser.add_argument("--nets", nargs="+", choices=list(NETS), default=list(NETS))
    parser.add_argument("--resolutions", nargs="+", type=int, default=[96, 192, 512])
    parser.add_argument("--recipe", action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=1.0, help="of one timing, roughly")
    parser.add_argument("--out", metavar="NAME", help="also write results/reference/NAME.md, .csv")
    return parser.parse_args()


if __name__ == "__main__":
    main()
