"""What a GPU makes of training: pictures a second, the IoU beside that of a CPU, a whole search.

    python benchmarks/gpu.py [--device cpu] [--quick] [--out FILE]

FILE (default: results/reference/gpu.md) is written again after each row, so that a call that is
cut short leaves what it found. A call takes less than ten minutes on a machine with a GPU; with
`--device cpu --quick` it takes about one without, and shows only that the script works.

- Pictures a second are those of `train_job` without its scoring, on the synthetic parcels, batch
  8, no picture augmented; one column says what augmentation of every picture leaves of them.
  "before" are the figures of a step that waited for its host (H200, torch 2.11, 16 cores, in
  bfloat16). autoseg trains in float32, whose convolutions cuDNN computes in TF32; the rows in
  bfloat16 train with autocast, whose casts are launches (launches.py).
- Side by side, each training has a process of its own with one thread, as in a pool.
- The IoU is that of val after the same epochs from the same seeds.
- The search is `autoseg optimize` as it comes, with a short budget.
"""

from __future__ import annotations

import argparse
import dataclasses
import logging
import os
import statistics
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import stations
import torch
from common import (
    REFERENCE,
    Row,
    command,
    commit_of,
    cores,
    facts,
    process,
    settings,
    side_by_side,
    table,
)
from speed_tables import figure
from stations import Cell
from train_speed import EVERY_PICTURE, NETS, SEED

import autoseg
from autoseg.core.records import Job
from autoseg.data.synthetic.parcels import parcels
from autoseg.networks.space_file import load_space
from autoseg.pools.local import environment
from autoseg.pools.slots import Slot
from autoseg.run.result import Result
from autoseg.train.loop import train_job
from autoseg.train.recipe import Recipe
from autoseg.train.storage import FolderStorage
from autoseg.train.task import Task

CELLS = (("small", 128), ("small", 256), ("medium", 128), ("medium", 256), ("baseline", 512))
SIDE_BY_SIDE = (4, 8)  # trainings
BEFORE: dict[tuple[object, ...], int] = {
    ("small", 128, "muon"): 518, ("small", 256, "muon"): 565, ("baseline", 512, "muon"): 225,
    ("small", 128, "adamw"): 657, ("small", 256, "adamw"): 670, ("baseline", 512, "adamw"): 336,
    ("small", 128, "muon", 8): 2652,
}  # fmt: skip
log = logging.getLogger(__name__)
SPEED, IOU, SEARCH = "Pictures a second", "IoU of val from the same seed", "A search on parcels"


@dataclass(frozen=True)
class Size:
    """How much is done."""

    cells: Sequence[tuple[str, int]] = CELLS
    side_by_side: Sequence[int] = SIDE_BY_SIDE
    pictures: int = 512
    seconds: float = 2.0  # of one timing
    seeds: int = 6
    epochs: int = 20
    budget: str = "2m"


QUICK = Size((("small", 128),), (2,), pictures=16, seconds=0.2, seeds=2, epochs=1, budget="30s")


@dataclass
class Page:
    """The Markdown file, written after each row."""

    path: Path
    head: list[str]
    tables: dict[str, list[Row]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def add(self, title: str, row: Row) -> None:
        rows = self.tables.setdefault(title, [])
        rows.append(row)
        print(
            f"{title}: {', '.join(f'{name} {value}' for name, value in row.items())}", flush=True
        )
        self._write()

    def note(self, line: str) -> None:
        self.notes.append(line)
        print(line, flush=True)
        self._write()

    def _write(self) -> None:
        lines = [*self.head]
        for title, rows in self.tables.items():
            lines += ["", f"## {title}", "", *table(rows)]
        lines += ["", *self.notes] if self.notes else []
        self.path.write_text("\n".join(lines) + "\n")


def main() -> None:
    arguments = parse()
    if arguments.device == "cpu":  # for this process and all that it starts
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    size = QUICK if arguments.quick else Size()
    began = time.monotonic()
    code = commit_of(Path(autoseg.__file__).parents[1])
    nets = [f"- {net}: {settings(knobs)}" for net, knobs in NETS.items()]
    said = [f"- command: `{command()}`", *facts(), f"- commit {code}; batch 8", *nets]
    page = Page(arguments.out, ["# Training on a GPU", "", *said])
    with tempfile.TemporaryDirectory(prefix="autoseg-gpu-") as name:
        for part in (speeds, ious, search):
            try:
                part(page, size, arguments.device, Path(name))
            except Exception as error:  # what the other parts find is kept
                log.exception(part.__name__)
                page.note(f"{part.__name__} ended early: {type(error).__name__}: {error}")
    page.note(f"All of this took {time.monotonic() - began:.0f} s.")


def speeds(page: Page, size: Size, device: str, folder: Path) -> None:
    """A row for each network, size, optimizer and precision."""
    with ExitStack() as stack:
        workers = [
            stack.enter_context(process(cores(), 1, environment(Slot())))
            for _ in range(max(size.side_by_side))
        ]
        for net, pixels in size.cells:
            for optimizer, precision, counts in (
                ("muon", "float32", size.side_by_side),
                ("muon", "bfloat16", size.side_by_side),
                ("adamw", "float32", ()),
            ):
                for worker in workers:
                    worker.submit(stations.use_bfloat16, precision == "bfloat16").result()
                recipe = {"optimizer": optimizer, "augment": False}
                cell = cell_of(folder, net, pixels, size.pictures, **recipe)
                rates = timed(cell, workers, (1, *counts), size.seconds)
                varied = {**recipe, "augment": True, **EVERY_PICTURE}
                augmented = cell_of(folder, net, pixels, size.pictures, **varied)
                (least,) = timed(augmented, workers, (1,), size.seconds)
                before = BEFORE if device == "cuda" else {}
                was = before.get((net, pixels, optimizer))
                page.add(SPEED, {
                    "net": net, "size": str(pixels), "optimizer": optimizer,
                    "precision": precision,
                    "before": str(was or ""), "now": figure(rates[0]),
                    "times": f"{rates[0] / was:.1f}" if was else "", "augmented": figure(least),
                    **{
                        f"{count} side by side": figure(rates[place]) if counts else ""
                        for place, count in enumerate(size.side_by_side, 1)
                    },
                    "8 before": str(before.get((net, pixels, optimizer, 8), "")),
                })  # fmt: skip


def cell_of(folder: Path, net: str, pixels: int, pictures: int, **recipe: object) -> Cell:
    task = task_of(folder, {"train": pictures, "val": 2, "test": 0}, SEED, **recipe)
    return Cell(f"{net} {pixels}", task, task.space.candidate(resolution=pixels, **NETS[net]))


def task_of(folder: Path, counts: dict[str, int], seed: int, **recipe: object) -> Task:
    space = load_space("fast_scnn")
    return Task(
        space=space, dataset=parcels(SEED, counts), recipe=Recipe.of({**space.recipe, **recipe}),
        seed=seed, cache_dir=folder / "pictures",
        checkpoints=FolderStorage(folder / "checkpoints").prepare(),
    )  # fmt: skip


def timed(
    cell: Cell, workers: Sequence[ProcessPoolExecutor], counts: Sequence[int], seconds: float
) -> list[float]:
    """Pictures a second of some trainings side by side, for each of the numbers of trainings."""
    # Of its own: one candidate is trained by several recipes.
    folder = Path(tempfile.mkdtemp(dir=cell.task.cache_dir.parent))
    entered = [
        worker.submit(stations.enter, cell, folder / f"checkpoints-{place}")
        for place, worker in enumerate(workers[: max(counts)])
    ]
    for one in entered:
        one.result()
    once = workers[0].submit(stations.tell, "train", 1).result()
    epochs = max(1, round(seconds / once))
    rates = []
    for count in counts:
        trainings = [worker.submit(stations.tell, "train", epochs) for worker in workers[:count]]
        slowest = max(training.result() for training in trainings)
        rates.append(count * epochs * cell.pictures / slowest)
    return rates


def ious(page: Page, size: Size, device: str, folder: Path) -> None:
    """A row for each seed, and what the difference is on average."""
    orders = [
        Order(folder / f"{seed}-{place}", seed, where, size.epochs)
        for seed in range(size.seeds)
        for place, where in enumerate(("cpu", device))
    ]
    found: dict[Path, float] = {}
    gaps: list[float] = []
    for order, iou in side_by_side(trained, orders, min(8, len(cores()))):
        found[order.folder] = iou
        pair = [found.get(folder / f"{order.seed}-{place}") for place in (0, 1)]
        if None not in pair:
            gaps.append(pair[1] - pair[0])
            row = {"seed": str(order.seed), "on the CPU": f"{pair[0]:.3f}"}
            row |= {f"on {device}": f"{pair[1]:.3f}", "difference": f"{gaps[-1]:+.3f}"}
            page.add(IOU, row)
    error = statistics.stdev(gaps) / len(gaps) ** 0.5
    page.note(
        f"IoU: small net, 128 px, {size.epochs} epochs; the difference is "
        f"{statistics.mean(gaps):+.4f} with a standard error of {error:.4f}."
    )


@dataclass(frozen=True)
class Order:
    """A training from a seed on a device."""

    folder: Path
    seed: int
    device: str
    epochs: int


def trained(order: Order) -> tuple[Order, float]:
    """The IoU of val, by the recipe of the space."""
    task = task_of(order.folder, {"train": 240, "val": 80, "test": 0}, order.seed)
    task = dataclasses.replace(task, cache_dir=order.folder.parent / "pictures")
    candidate = task.space.candidate(resolution=128, **NETS["small"])
    return order, train_job(task, Job(candidate, 0, order.epochs), order.device).score.iou


def search(page: Page, size: Size, device: str, folder: Path) -> None:
    """One row of a search that is left to itself."""
    began = time.monotonic()
    result = autoseg.optimize(
        max_latency="33ms", min_iou=0.8, budget=size.budget, seed=SEED, results=folder / "results"
    )
    scored = [e for e in result.evaluations if e.scores]
    epochs = sum(max(score.epoch for score in e.scores) for e in scored)
    page.add(SEARCH, {
        "budget": size.budget, "seconds": f"{time.monotonic() - began:.0f}",
        "measured": str(sum(e.measurement is not None for e in result.evaluations)),
        "trained": str(len(scored)), "epochs": str(epochs), "front": str(len(result.front)),
        "best IoU of val": best(result),
    })  # fmt: skip


def best(result: Result) -> str:
    found = [score.iou for e in result.front if (score := e.score("val"))]
    return f"{max(found):.3f}" if found else ""


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--quick", action="store_true", help="little of everything")
    parser.add_argument("--out", type=Path, metavar="FILE", default=REFERENCE / "gpu.md")
    arguments = parser.parse_args()
    if arguments.device == "cuda" and not torch.cuda.is_available():
        parser.error("no GPU is here; --device cpu --quick tries the script without one")
    return arguments


if __name__ == "__main__":
    main()
