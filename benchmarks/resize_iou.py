"""The IoU that the resize costs or gains, beside plain bilinear: the same trainings with both.

    python benchmarks/resize_iou.py --data DIR [--split-column COLUMN] [--minutes 4]

Each call trains what results/reference/NAME.csv lacks for these data (each network and seed with
both resizes), one training after another on one thread, and writes the summary of all data sets
to NAME.md. Each row is written at once: it can be stopped and called again. Bilinear is Pillow's,
antialiased, from the picture to the input in one step, as it was before.

A training is a trunk at the constant rate and its decay, scored on val at the pictures' own sizes.
A difference is that of two trainings with one seed: the first weights, the order of the pictures
and their augmentation are the same. "Other" is the IoU of the same weights where val is resized
the other way: what a network loses that is trained with one resize and used with another.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import (
    REFERENCE,
    ROOT,
    Row,
    append_csv,
    command,
    commit_of,
    facts,
    read_csv,
    settings,
    table,
)
from PIL import Image

from autoseg.core.records import Job, Score
from autoseg.data import cache, load
from autoseg.data.dataset import Array, Dataset, Reading
from autoseg.data.resize import resize_frame
from autoseg.networks.space_file import load_space
from autoseg.train.checkpoints import resume
from autoseg.train.loop import train_job
from autoseg.train.recipe import Recipe
from autoseg.train.scoring import score
from autoseg.train.storage import FolderStorage
from autoseg.train.task import Task

NETS: dict[str, dict[str, Any]] = {
    f"{size} px": {"resolution": size, "a": 0.25, "t": 2, "r": 1} for size in (96, 128, 160, 192)
}
SEEDS, EPOCHS = 4, 24


def bilinear(image: Array, input_hw: tuple[int, int], channels: int) -> Array:
    """The resize before: `resize_frame` with nothing but Pillow's antialiased bilinear."""
    picture = Image.fromarray(image)
    if channels == 1:
        picture = picture.convert("L")
    height, width = input_hw
    resized = np.asarray(picture.resize((width, height), Image.Resampling.BILINEAR))
    return resized.reshape(height, width, channels)


RESIZES = {"bilinear": bilinear, "ours": resize_frame}


def main() -> None:
    arguments = parse()
    path = REFERENCE / f"{arguments.out}.csv"
    torch.set_num_threads(1)
    if arguments.data:
        ends = time.monotonic() + 60 * arguments.minutes
        for row in new_rows(arguments, read_csv(path), ends):
            append_csv(path, [row])
            print(", ".join(row.values()), file=sys.stderr, flush=True)
    rows = read_csv(path)
    if not (found := summary(rows)):
        return
    lines = [*table(found), "", *table(total(rows))]
    print("\n".join(lines))
    write_page(REFERENCE / f"{arguments.out}.md", rows, lines)


def new_rows(arguments: argparse.Namespace, rows: Sequence[Row], ends: float) -> Iterator[Row]:
    """The rows that these data lack, as they end; none is begun after `ends`."""
    data = arguments.data.resolve().name
    dataset = load(arguments.data, Reading(split_column=arguments.split_column))
    known = {(row["data"], row["net"], row["seed"], row["resize"]) for row in rows}
    orders = [
        (net, seed, name)
        for seed in range(arguments.seeds)
        for net in arguments.nets
        for name in RESIZES
        if (data, net, str(seed), name) not in known
    ]
    for net, seed, name in orders:
        if time.monotonic() > ends:
            return
        own, other = trained(dataset, NETS[net], seed, name)
        yield {
            "data": data, "net": net, "seed": str(seed), "resize": name,
            "iou": f"{own.iou:.5f}", "iou_other": f"{other.iou:.5f}", "epochs": str(own.epoch),
            "seconds": f"{own.train_s:.1f}", "commit": commit_of(ROOT), "command": command(),
        }  # fmt: skip


def trained(
    dataset: Dataset, knobs: Mapping[str, Any], seed: int, name: str
) -> tuple[Score, Score]:
    """The score after trunk and decay, and that of the same weights with the other resize."""
    space, recipe = load_space("fast_scnn"), Recipe()
    candidate = space.candidate(**knobs)
    with tempfile.TemporaryDirectory(prefix="autoseg-resize-") as folder:
        task = Task(
            space=space, dataset=dataset, recipe=recipe, seed=seed,
            cache_dir=pictures_of(name), checkpoints=FolderStorage(Path(folder)),
        )  # fmt: skip
        cache.resize_frame = RESIZES[name]
        train_job(task, Job(candidate, 0, EPOCHS), "cpu")
        end = EPOCHS + recipe.decay_epochs(EPOCHS)
        decay = Job(candidate, EPOCHS, end, decay=True)
        own = train_job(task, decay, "cpu").score
        (other,) = RESIZES.keys() - {name}
        cache.resize_frame = RESIZES[other]
        task = replace(task, cache_dir=pictures_of(other))
        return own, score(task, decay, resume(task, decay, torch.device("cpu"))).score


def pictures_of(resize: str) -> Path:
    """A cache for each resize: a cache knows only one."""
    return ROOT / "results" / ".cache" / "resize-iou" / resize


def summary(rows: Sequence[Row]) -> list[dict[str, str]]:
    """One line for each data set and network: means over the seeds that have both resizes."""
    cases = sorted(
        {(row["data"], row["net"]) for row in rows}, key=lambda c: (c[0], [*NETS].index(c[1]))
    )
    lines = []
    for data, net in cases:
        mine = [row for row in rows if (row["data"], row["net"]) == (data, net)]
        pairs = paired(mine)
        if not pairs:
            continue
        means = {
            f"{name} IoU": f"{statistics.mean(float(pair[name]['iou']) for pair in pairs):.4f}"
            for name in RESIZES
        }
        lost = [float(p["bilinear"]["iou_other"]) - float(p["bilinear"]["iou"]) for p in pairs]
        lines.append(
            {"data": data, "network": net, "seeds": str(len(pairs)), **means}
            | {"ours - bilinear": spread(differences(pairs))}
            | {"trained with bilinear, used with ours": spread(lost)}
        )
    return lines


def total(rows: Sequence[Row]) -> list[dict[str, str]]:
    """The mean difference over all networks and seeds of each data set, and of all."""
    groups = {data: [data] for data in dict.fromkeys(row["data"] for row in rows)}
    groups["all"] = [*groups]
    found = {}
    for name, data in groups.items():
        pairs = paired([row for row in rows if row["data"] in data])
        found[name] = spread(differences(pairs))
    return [{"": "ours - bilinear, all networks", **found}]


def paired(rows: Sequence[Row]) -> list[dict[str, Row]]:
    """The rows of one data set, network and seed by their resize, where there are both."""
    found: dict[tuple[str, ...], dict[str, Row]] = {}
    for row in rows:
        found.setdefault((row["data"], row["net"], row["seed"]), {})[row["resize"]] = row
    return [pair for pair in found.values() if len(pair) == len(RESIZES)]


def differences(pairs: Sequence[Mapping[str, Row]]) -> list[float]:
    return [float(pair["ours"]["iou"]) - float(pair["bilinear"]["iou"]) for pair in pairs]


def spread(values: Sequence[float]) -> str:
    """The mean and its standard error."""
    if len(values) < 2:
        return ", ".join(f"{value:+.4f}" for value in values)
    error = statistics.stdev(values) / len(values) ** 0.5
    return f"{statistics.mean(values):+.4f} ± {error:.4f}"


def write_page(path: Path, rows: Sequence[Row], lines: Sequence[str]) -> None:
    commands = dict.fromkeys(row["command"] for row in rows)
    about = str(__doc__).split("\n\n")
    body = [
        "# The IoU with the resize, beside plain bilinear", "",
        *(f"- command: `{each}`" for each in commands), *facts(),
        f"- code: {', '.join(dict.fromkeys(row['commit'] for row in rows))}",
        f"- {EPOCHS} epochs and their decay, one thread, seeds from 0 on",
        *(f"- {net}: {settings(knobs)}" for net, knobs in NETS.items()), "",
        *lines, "", "A mean over the seeds ± its standard error.", "", about[3].rstrip(),
    ]  # fmt: skip
    path.write_text("\n".join(body) + "\n")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--data", type=Path, help="a folder; without it, only the summary")
    parser.add_argument("--split-column")
    parser.add_argument("--nets", nargs="+", choices=list(NETS), default=list(NETS))
    parser.add_argument("--seeds", type=int, default=SEEDS, help="how many, from 0 on")
    parser.add_argument("--minutes", type=float, default=1e9, help="begin no training after")
    parser.add_argument("--out", metavar="NAME", default="resize-iou")
    return parser.parse_args()


if __name__ == "__main__":
    main()
