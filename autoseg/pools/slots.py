"""Slots: where jobs run, and how many of them side by side."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from autoseg.core.cpus import usable_cpus
from autoseg.core.errors import DeviceError, InputError
from autoseg.core.records import Cost, SlotKind

# One of them is there wherever torch can use a GPU (NVIDIA, AMD, WSL): asking torch takes seconds.
_GPU_DRIVERS = ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg")
_ASK = """\
import json, torch
cards = map(torch.cuda.get_device_properties, range(torch.cuda.device_count()))
print(json.dumps([card.total_memory for card in cards]))
"""

# The launches of one small net leave a card idle most of the time: on an H200 one training makes
# 518 pictures/s and eight side by side 2,652, with the card 99 % busy. More only wait.
MAX_PER_GPU = 8
# Of a slot's memory for the training itself: its data set may take 40 % (`train.batches`), and the
# allocator does not fill the rest without gaps.
TRAINING_SHARE = 0.5
# The peak of a step in float32 is 0.8 to 1.1 times the counted activations of the batch
# (Fast-SCNN, small to baseline). The rest is for cuDNN's workspace.
ACTIVATION_FACTOR = 1.5
# float32 of a parameter's weight, gradient, two moments of AdamW, and running average.
PARAMETER_BYTES = 5 * 4
# What a process holds on a GPU before it trains: CUDA's context, kernels of torch and cuDNN.
CONTEXT_BYTES = 600 * 2**20


@dataclass(frozen=True)
class Slot:
    """Where one job runs: a device as torch names it ("cpu", "cuda:0"), its CPU threads, and its
    share of the device's memory.

    `gpu` names the GPU of a slot: slots with the same name share it. None: it is on the CPU.
    """

    device: str = "cpu"
    threads: int = 1
    memory_share: float = 1.0
    gpu: str | None = None

    @property
    def kind(self) -> SlotKind:
        return "cuda" if self.device.startswith("cuda") else "cpu"


@dataclass(frozen=True)
class Machine:
    """What slots are made of: the usable cores, and the memory of each GPU."""

    cpus: int
    gpu_bytes: tuple[int, ...] = ()


def this_machine(*, with_gpus: bool = True) -> Machine:
    """The cores that this process may use, and the GPUs that torch can use."""
    has_gpu = with_gpus and any(Path(driver).exists() for driver in _GPU_DRIVERS)
    return Machine(usable_cpus(), _gpu_bytes() if has_gpu else ())


def make_slots(
    machine: Machine,
    *,
    workers: int | None = None,
    gpus: int | None = None,
    gpus_per_trial: float | None = None,
    training_bytes: Callable[[], int] = lambda: 0,
) -> tuple[Slot, ...]:
    """Slots of one thread each: more would fight for the cores.

    Where there are GPUs, all slots are on them, spread evenly; on the first `gpus` of them if that
    is given. `workers` is the number of slots; by default as many as fit: one a core, or by the
    share of a GPU that one training takes. That is `gpus_per_trial`, or chosen so that
    `training_bytes()`, the expected memory of the largest one, fits. Raises InputError for GPUs
    that are not there.
    """
    used = machine.gpu_bytes if gpus is None else machine.gpu_bytes[:gpus]
    if gpus is not None and gpus > len(machine.gpu_bytes):
        raise InputError(
            f"--gpus {gpus} asks for more GPUs than torch finds here, {len(machine.gpu_bytes)}; "
            "leave it out to use all there are"
        )
    if not used:
        _require_no_share(gpus, gpus_per_trial)
        return (Slot(),) * (workers or machine.cpus)
    per_gpu = _per_gpu(machine, used, gpus_per_trial, training_bytes, workers)
    count = per_gpu * len(used) if workers is None else workers
    if count > per_gpu * len(used):
        raise InputError(
            f"--workers {count} is more than the {per_gpu * len(used)} trainings of "
            f"--gpus-per-trial {gpus_per_trial:g} on {len(used)} GPU(s); leave one of them out"
        )
    places = [number % len(used) for number in range(count)]
    return tuple(
        Slot(f"cuda:{n}", 1, gpus_per_trial or 1 / places.count(n), f"cuda:{n}") for n in places
    )


def _require_no_share(gpus: int | None, gpus_per_trial: float | None) -> None:
    """Raises InputError for a share of GPUs that are not used, or not there."""
    if gpus_per_trial is not None:
        none = "with --gpus 0" if gpus == 0 else "on this machine, where torch finds none,"
        raise InputError(
            f"--gpus-per-trial {gpus_per_trial:g} is a share of a GPU: leave it out {none} "
            "to train on the cores"
        )


def share_of_gpu(training_bytes: int, gpu_bytes: int, cores_per_gpu: int) -> float:
    """The share of a GPU for one training, so that as many as are useful run side by side.

    Each needs its memory, and a core that launches its kernels; 1 is the most.
    """
    fitting = int(TRAINING_SHARE * gpu_bytes / max(1, training_bytes))
    return 1 / max(1, min(MAX_PER_GPU, cores_per_gpu, fitting))


def training_bytes(cost: Cost, batch: int) -> int:
    """The GPU memory that the training of a network of this cost is expected to take."""
    activations = ACTIVATION_FACTOR * batch * cost.activation_bytes
    return round(activations) + PARAMETER_BYTES * cost.params + CONTEXT_BYTES


def slots_text(slots: Sequence[Slot]) -> str:
    """``"2 slots on the CPU's cores"``, ``"8 slots, 4 on each of 2 GPUs"``."""
    count = f"{len(slots)} slot{'s' * (len(slots) != 1)}"
    each = Counter(slot.gpu for slot in slots if slot.gpu is not None)
    if not each:
        return f"{count} on the CPU's cores"
    if len(each) == 1:
        return f"{count} on {next(iter(each))}"
    if len(set(each.values())) == 1:
        return f"{count}, {next(iter(each.values()))} on each of {len(each)} GPUs"
    return f"{count}: {', '.join(f'{number} on {gpu}' for gpu, number in each.items())}"


def _per_gpu(
    machine: Machine,
    used: Sequence[int],
    gpus_per_trial: float | None,
    training_bytes: Callable[[], int],
    workers: int | None,
) -> int:
    """How many trainings a GPU takes side by side."""
    if gpus_per_trial is not None:
        return math.floor(1 / gpus_per_trial + 1e-9)
    if workers is not None:
        return math.ceil(workers / len(used))
    share = share_of_gpu(training_bytes(), min(used), machine.cpus // len(used))
    return round(1 / share)


def _gpu_bytes() -> tuple[int, ...]:
    """The memory of each GPU, asked in a process of its own.

    The question opens a context of hundreds of MB on each GPU, which this process would keep.
    """
    asked = subprocess.run([sys.executable, "-P", "-c", _ASK], capture_output=True, text=True)
    if asked.returncode:
        raise DeviceError(
            "torch cannot ask the GPUs of this machine for their memory "
            f"({asked.stderr.strip().splitlines()[-1:]}); --gpus 0 trains on the cores"
        )
    return tuple(json.loads(asked.stdout))
