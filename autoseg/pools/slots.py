"""Slots: where jobs run, and how many of them side by side."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from autoseg.core.cpus import usable_cpus

# One of them is there wherever torch can use a GPU (NVIDIA, AMD, WSL): asking torch takes seconds.
_GPU_DRIVERS = ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg")


@dataclass(frozen=True)
class Slot:
    """Where one job runs: a device as torch names it ("cpu", "cuda:0"), and its CPU threads."""

    device: str = "cpu"
    threads: int = 1
    memory_share: float = 1.0


def default_slots(workers: int | None = None) -> tuple[Slot, ...]:
    """Slots for `workers` jobs side by side: one a GPU by default, without GPUs one a usable CPU.

    Where there are GPUs all slots are on them, spread evenly. More threads a slot would fight for
    the cores.
    """
    gpus = _gpus()
    count = (gpus or usable_cpus()) if workers is None else workers
    return tuple(Slot(f"cuda:{number % gpus}" if gpus else "cpu") for number in range(count))


def _gpus() -> int:
    if not any(Path(driver).exists() for driver in _GPU_DRIVERS):
        return 0
    import torch

    return torch.cuda.device_count()
