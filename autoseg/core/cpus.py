"""How many CPUs this process may use: its cores, and the quota of its control groups.

`docker run --cpus 2` and systemd's CPUQuota= leave all cores visible and stop the process for the
rest of each period once its share is used up.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path


def usable_cpus(root: Path = Path("/")) -> int:
    """Cores that this process may run on, at most its quota, rounded up; at least 1."""
    cores = len(os.sched_getaffinity(0))
    return max(1, min(cores, math.ceil(cpu_quota(root) or cores)))


def cpu_quota(root: Path = Path("/")) -> float | None:
    """Cores that the control groups of this process allow; None without a limit.

    The lowest of all groups from its own up to the highest, in version 1 and 2, counts
    (https://docs.kernel.org/admin-guide/cgroup-v2.html#cpu-interface-files).
    `device/runner.py` has the same for boards.
    """
    found = [quota for folder in _groups(root) if (quota := _quota(folder)) is not None]
    return min(found, default=None)


def _groups(root: Path) -> Iterator[Path]:
    """Folders of the control groups that may limit the CPU, in every place they are mounted at.

    A container may see the path of its group on the host but only its own group: then none of
    the folders below the mount is there, and the mount itself is the group.
    """
    mounts = root / "sys" / "fs" / "cgroup"
    for line in _text(root / "proc" / "self" / "cgroup").splitlines():
        _, controllers, path = [*line.split(":", 2), "", ""][:3]
        names = ["", "unified"] if controllers == "" else [controllers, "cpu"]
        if controllers and "cpu" not in controllers.split(","):
            continue
        parts = [part for part in path.split("/") if part not in ("", "..")]
        for name in dict.fromkeys(names):
            yield from (mounts.joinpath(name, *parts[:n]) for n in range(len(parts) + 1))


def _quota(folder: Path) -> float | None:
    if not (numbers := _text(folder / "cpu.max").split()):
        numbers = [_text(folder / f"cpu.cfs_{name}_us").strip() for name in ("quota", "period")]
    if len(numbers) != 2 or not all(number.isdigit() for number in numbers):
        return None  # "max" and -1: no limit
    quota_us, period_us = map(int, numbers)
    return quota_us / period_us if quota_us and period_us else None


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
