"""How many kernels one training step would launch on a GPU, counted without one.

    python benchmarks/launches.py [--out FILE]

The step is the real one (the data set on the device, augmentation, network, loss, backward,
clipping, optimizer, average) on the device `meta`, which computes shapes alone; each operation
that torch dispatches is counted. FILE (default: results/reference/launches.md) gets a table, and a
CSV file beside it all counts. Takes a few seconds.

- One operation is one launch, except: views and empty tensors launch nothing; a convolution's
  gradient is one for each tensor that it gives; an operation on lists of tensors is one for each
  chunk of them that a kernel takes (110 tensors of one list, 64 of two, 48, 36, 30), or one for
  each tensor where their strides differ or have gaps. Some operations launch more than one kernel
  (batch norm, sums over large maps), and cuDNN may change layouts: the counts are a lower bound.
- Every picture is augmented. Counted is the third step: the first one makes constants and the
  optimizer's state.
- A step that copies from the host, or reads from it, would wait; both are counted apart.
- "before" is the step of commit ffb4161, which copied from the host and computed the network in
  bfloat16. It was counted once, with these classes around the loop of its checkout (its second
  step); the casts of autocast, which `meta` lacks, are those of CPU autocast in forward and
  backward.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import REFERENCE, command, commit_of, facts, settings, table, write_csv
from gpu import task_of
from torch import Tensor
from torch._prims_common import is_non_overlapping_and_dense_or_false
from torch.overrides import TorchFunctionMode
from torch.utils import _foreach_utils
from torch.utils._python_dispatch import TorchDispatchMode
from train_speed import NETS

from autoseg.core.records import Candidate, Job
from autoseg.data.augment import Augmenter
from autoseg.networks.space import channels_of
from autoseg.train.batches import resident_maker
from autoseg.train.checkpoints import Training, resume
from autoseg.train.loop import schedule, training_step
from autoseg.train.task import Task, split_arrays

META = torch.device("meta")
PIXELS, BATCH, STEPS = 128, 8, 3
PARTS = ("gather", "augment", "forward", "loss", "backward", "clip", "optimizer", "average")
HOST = ("copies from the host", "reads by the host")
NO_LAUNCH = ("empty", "new_empty", "empty_like", "empty_strided", "_unsafe_view", "lift_fresh")
CHUNK = (110, 64, 48, 36, 30)  # tensors in a launch, by the number of lists (torch 2)
CASTS = {"small": 57, "medium": 61, "baseline": 97}
BEFORE: dict[tuple[str, str], tuple[int, ...]] = {  # PARTS and copies from the host
    ("small", "muon"): (6, 29, 79, 52, 92, 8, 90, 1, 13),
    ("medium", "muon"): (6, 29, 96, 52, 124, 9, 168, 2, 15),
    ("baseline", "muon"): (6, 29, 168, 52, 196, 10, 284, 2, 15),
    ("small", "adamw"): (6, 29, 79, 52, 92, 8, 5, 1, 13),
    ("medium", "adamw"): (6, 29, 96, 52, 124, 9, 5, 2, 15),
    ("baseline", "adamw"): (6, 29, 168, 52, 196, 10, 7, 2, 15),
}
FROM_HOST = (torch.tensor, torch.as_tensor, torch.from_numpy, torch.asarray)


def main() -> None:
    arguments = parse()
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="autoseg-launches-") as name:
        for optimizer in ("muon", "adamw"):
            for net, knobs in NETS.items():
                task = task_of(
                    Path(name) / optimizer, {"train": BATCH * STEPS, "val": 2, "test": 0}, 0,
                    optimizer=optimizer, batch=BATCH,
                )  # fmt: skip
                counts = step_counts(task, task.space.candidate(resolution=PIXELS, **knobs))
                rows.append(before(net, optimizer))
                rows.append(row(net, optimizer, "now", counts, casts=0))
    write_csv(arguments.out.with_suffix(".csv"), rows)
    nets = [f"- {net}: {settings(knobs)}" for net, knobs in NETS.items()]
    about = [str(__doc__).split("\n\n")[3].rstrip()]
    code = f"- commit {commit_of(REFERENCE.parents[1])}; {PIXELS} px, batch {BATCH}"
    head = ["# Launches of a training step", "", f"- command: `{command()}`", *facts(), code]
    arguments.out.write_text("\n".join([*head, *nets, "", *table(rows), "", *about]) + "\n")
    print("\n".join(table(rows)))


def before(net: str, optimizer: str) -> dict[str, Any]:
    counts = dict(zip((*PARTS, *HOST), (*BEFORE[net, optimizer], 0), strict=True))
    return row(net, optimizer, "before", counts, casts=CASTS[net])


def row(
    net: str, optimizer: str, code: str, counts: dict[str, int], *, casts: int
) -> dict[str, Any]:
    launches = {**{part: counts[part] for part in PARTS}, "casts": casts}
    host = {name: counts[name] for name in HOST}
    whole = {"all": sum(launches.values())}
    return {"net": net, "steps by": optimizer, "code": code, **launches, **whole, **host}


def step_counts(task: Task, candidate: Candidate) -> dict[str, int]:
    """The launches of each part of a step, and how often the host is in its way."""
    allow_meta()
    counts = counted(task, candidate, augmented=True)
    gathered = counted(task, candidate, augmented=False)["gather"]
    split = {**counts, "gather": gathered, "augment": counts["gather"] - gathered}
    return {name: split.get(name, 0) for name in (*PARTS, *HOST)}


def counted(task: Task, candidate: Candidate, *, augmented: bool) -> Counter[str]:
    """What the last step launches; gathering and augmentation are `gather` together."""
    job, data = Job(candidate, 0, 2), split_arrays(task, candidate, "train")
    augmenter = Augmenter(candidate.input_hw, channels_of(candidate), 0)
    training = resume(task, job, META)
    training.net.train()
    make = resident_maker(data, augmenter, META, BATCH)
    batches = make(np.arange(len(data)), np.full(len(data), augmented))
    ahead = schedule(task.recipe, training, job, len(data), META)
    step = training_step(training, task.recipe)
    launches = Launches()
    follow(training, launches)
    for rate, share in zip(*ahead, strict=True):
        launches.counts.clear()
        launches.part = "gather"
        with launches, Calls(launches):
            inputs, masks = next(batches)
            step(inputs, masks, rate, share)
    return launches.counts


class Launches(TorchDispatchMode):
    """Counts the launches of each part."""

    def __init__(self) -> None:
        super().__init__()
        self.part, self.counts = "gather", Counter[str]()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        # Fused optimizers have no shapes to compute: they change what they are given.
        out = None if "_fused_" in str(func) else func(*args, **(kwargs or {}))
        tensors = list(every((args, kwargs, out)))
        if any(tensor.device != META for tensor in tensors):
            self.counts[HOST[0]] += 1
        if func is torch.ops.aten._local_scalar_dense.default:
            self.counts[HOST[1]] += 1
        self.counts[self.part] += launched(func, args, out)
        return out


class Calls(TorchFunctionMode):
    """Counts tensors that are made of numbers, which torch copies without an operation, and tells
    the counter of launches where the backward pass is.
    """

    def __init__(self, launches: Launches) -> None:
        super().__init__()
        self.launches = launches

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.launches.counts[HOST[0]] += func in FROM_HOST
        if func is not Tensor.backward:
            return func(*args, **(kwargs or {}))
        self.launches.part = "backward"
        func(*args, **(kwargs or {}))
        self.launches.part = "clip"


def follow(training: Training, launches: Launches) -> None:
    """Tell the counter of launches in which part of the step it is."""

    def enter(part: str) -> Any:
        return lambda *_: setattr(launches, "part", part)

    training.net.register_forward_pre_hook(enter("forward"))
    training.net.register_forward_hook(enter("loss"))
    for optimizer in training.optimizers:
        optimizer.register_step_pre_hook(enter("optimizer"))
        optimizer.register_step_post_hook(enter("average"))


def every(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict):
        yield from every(tuple(value.values()))
    elif isinstance(value, list | tuple):
        for each in value:
            yield from every(each)


def launched(func: Any, args: Sequence[Any], out: Any) -> int:
    """How many kernels an operation launches, as far as its arguments tell."""
    room, name = func._schema.name.split("::")
    if room != "aten" or func.is_view or name in NO_LAUNCH:
        return 0
    if name == "convolution_backward":
        return sum(args[-1])
    if name.startswith(("_foreach", "_fused")):
        return chunks([each for each in (*args, out) if is_list(each)])
    return 1


def is_list(value: Any) -> bool:
    return isinstance(value, list | tuple) and any(isinstance(each, Tensor) for each in value)


def chunks(lists: Sequence[Sequence[Tensor]]) -> int:
    """The launches of an operation on lists of tensors."""
    for together in zip(*lists, strict=False):  # the counters of steps are a list of their own
        strides = {tensor.stride() for tensor in together if tensor.ndim}
        if len(strides) > 1 or not all(map(is_non_overlapping_and_dense_or_false, together)):
            return len(lists[0])
    most = CHUNK[min(len(lists), len(CHUNK)) - 1]
    return -(-len(lists[0]) // most)


def allow_meta() -> None:
    """Let torch use its operations on lists and its fused optimizers, as on a GPU."""
    fused = sys.modules[torch.optim.Optimizer.__module__]
    fused._get_fused_kernels_supported_devices = lambda: ["meta"]  # type: ignore[attr-defined]
    _foreach_utils._get_foreach_kernels_supported_devices = lambda: ["meta"]


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--out", type=Path, metavar="FILE", default=REFERENCE / "launches.md")
    return parser.parse_args()


if __name__ == "__main__":
    main()
