"""Train one candidate by the run's own recipe, rung by rung: what a front is compared with.

    python benchmarks/baseline.py --data DIR [--epochs 27] [--knobs a=1,t=6,resolution=512]

Writes one row to --out as CSV: IoU of the exported ONNX file on val and test, its latency on this
machine (one thread, confirmed as finalists are), epochs and seconds of training. Resumable:
run it again, also with more epochs.
"""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path
from typing import Any

import torch
from common import write_csv

from autoseg import data as data_room
from autoseg.core.records import Candidate, Job, MeasurePlan
from autoseg.data.dataset import Reading
from autoseg.device import resolve
from autoseg.export.to_onnx import check, export
from autoseg.networks.space import channels_of
from autoseg.networks.space_file import load_space
from autoseg.pools.slots import make_slots, this_machine
from autoseg.train.checkpoints import checkpoint_name, is_saved, trained_network
from autoseg.train.loop import train_job
from autoseg.train.recipe import Recipe
from autoseg.train.scoring import picture_score
from autoseg.train.storage import FolderStorage
from autoseg.train.task import Task, split_arrays

READING = ("format", "remap", "split_column", "group_column", "group_pattern")


def main() -> None:
    arguments = parse()
    torch.set_num_threads(1)  # as the workers of a run
    reading = {name: getattr(arguments, name) for name in READING}
    dataset = data_room.load(arguments.data, Reading(**reading))
    space = load_space("fast_scnn")
    candidate = space.candidate(**arguments.knobs)
    recipe = Recipe.of(space.recipe)
    folder = Path("results/.cache/baselines") / dataset.digest[:12] / candidate.key
    cache = Path("results/.cache/pictures")
    task = Task(
        space=space, dataset=dataset, recipe=recipe, seed=arguments.seed, cache_dir=cache,
        checkpoints=FolderStorage(folder).prepare(),
    )  # fmt: skip
    rows = list(climb(task, folder, candidate, arguments.epochs))
    write_csv(arguments.out, rows)


def climb(task: Task, folder: Path, candidate: Candidate, epochs: int) -> Any:
    """Train to each rung up to `epochs`; from the last, decay, export, measure."""
    before, device = 0, make_slots(this_machine(), workers=1)[0].device
    for rung in (r for r in task.recipe.rungs if r <= epochs):
        job = Job(candidate, before, rung)
        if not is_saved(task, job):
            iou = train_job(task, job, device).score.iou
            print(f"epoch {rung}: IoU {iou:.4f} (undecayed)", file=sys.stderr)
        before = rung
        if rung == max(r for r in task.recipe.rungs if r <= epochs):
            final = Job(candidate, rung, rung + task.recipe.decay_epochs(rung), decay=True)
            if not is_saved(task, final):
                train_job(task, final, device)
            row = finish(task, folder, final)
            print(row, file=sys.stderr)
            yield row


def finish(task: Task, folder: Path, job: Job) -> dict[str, Any]:
    """Export the trained candidate, and measure the file as a finalist's is."""
    candidate, dataset = job.candidate, task.dataset
    net = trained_network(task, job)
    exported = export(
        net, folder / f"{job.to_epoch}.onnx", input_hw=candidate.input_hw,
        channels=channels_of(candidate), classes=dataset.outputs, metadata={"key": candidate.key},
    )  # fmt: skip
    device = resolve("local")
    row: dict[str, Any] = {**dict(candidate.choices), "epochs": job.to_epoch}
    for split in ("val", "test"):
        pictures = split_arrays(task, candidate, split)
        if split == "val":
            check(exported, net, pictures.batch(range(8))[0])
        maps = device.predict(exported.path, pictures.frames())
        score = picture_score(
            dataset, maps, cache_dir=task.cache_dir, split=split, source="onnx",
            epoch=job.to_epoch,
            train_s=0.0, seed=task.seed,
        )  # fmt: skip
        row |= {f"iou_{split}": round(score.iou, 4)}
    measurement = device.measure(exported.path, MeasurePlan.confirm())
    state = torch.load(folder / checkpoint_name(job), weights_only=True)
    row |= {"p50_ms": round(measurement.p50_ms, 3), "p90_ms": round(measurement.p90_ms or 0.0, 3)}
    return row | {"train_s": round(state["train_s"])}


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--data", type=Path)
    for name in READING:
        parser.add_argument(f"--{name.replace('_', '-')}")
    parser.add_argument("--epochs", type=int, default=27)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--knobs", type=knobs, default={})
    parser.add_argument("--out", type=Path, default=Path("baseline.csv"))
    return parser.parse_args()


def knobs(text: str) -> dict[str, float | int]:
    pairs = (pair.partition("=") for pair in text.split(","))
    return {name: float(v) if "." in v else int(v) for name, _, v in pairs}


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING)
    main()
