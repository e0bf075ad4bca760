"""The quota of control groups, on machines made of files; ours and the runner's agree."""

import os
from pathlib import Path

import pytest

from autoseg.core.cpus import cpu_quota, usable_cpus
from autoseg.device import runner

V1, V1_BOTH = "sys/fs/cgroup/cpu", "sys/fs/cgroup/cpu,cpuacct"
Files = dict[str, str]


def v1(folder: str, quota_us: int) -> Files:
    return {f"{folder}/cpu.cfs_quota_us": f"{quota_us}\n", f"{folder}/cpu.cfs_period_us": "100000"}


# /proc/self/cgroup, the files of control groups, and the cores that they allow.
MACHINES: dict[str, tuple[str, Files, float | None]] = {
    "none": ("", {}, None),
    "half a core": ("0::/x\n", {"sys/fs/cgroup/x/cpu.max": "50000 100000\n"}, 0.5),
    "no limit": ("0::/x\n", {"sys/fs/cgroup/x/cpu.max": "max 100000\n"}, None),
    "the group above": (
        "0::/a/b\n",
        {"sys/fs/cgroup/a/cpu.max": "150000 100000", "sys/fs/cgroup/a/b/cpu.max": "max 100000"},
        1.5,
    ),
    "the lower of both": (
        "0::/a/b\n",
        {"sys/fs/cgroup/a/cpu.max": "150000 50000", "sys/fs/cgroup/a/b/cpu.max": "20000 10000"},
        2.0,
    ),
    "a container": ("0::/\n", {"sys/fs/cgroup/cpu.max": "200000 100000"}, 2.0),
    "a path of the host": ("0::/../../y\n", {"sys/fs/cgroup/cpu.max": "100000 100000"}, 1.0),
    "version 1": ("4:cpu:/x\n3:cpuset:/\n", v1(f"{V1}/x", 50000), 0.5),
    "version 1 without a limit": ("4:cpu:/\n", v1(V1, -1), None),
    "a container of version 1": ("4:cpu,cpuacct:/docker/8f\n", v1(V1_BOTH, 250000), 2.5),
    "both versions": ("1:cpu:/x\n0::/\n", v1(f"{V1}/x", 50000), 0.5),
    "both, the limit in 2": (
        "1:name=systemd:/x\n0::/x\n",
        {"sys/fs/cgroup/unified/x/cpu.max": "30000 100000"},
        0.3,
    ),
    "a group of another kind": ("4:cpuset:/x\n", v1("sys/fs/cgroup/cpuset/x", 50000), None),
    "nonsense": ("::::\n\xff\n0::/x", {"sys/fs/cgroup/x/cpu.max": "0 0 0"}, None),
}


@pytest.fixture(params=MACHINES)
def machine(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[Path, float | None]:
    own, files, quota = MACHINES[request.param]
    for name, text in {"proc/self/cgroup": own, **files}.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(runner, "CGROUPS", str(tmp_path / "sys/fs/cgroup"))
    monkeypatch.setattr(runner, "OWN_CGROUPS", str(tmp_path / "proc/self/cgroup"))
    return tmp_path, quota


def test_cpu_quota_is_the_lowest_of_all_groups_above(machine: tuple[Path, float | None]) -> None:
    root, quota = machine
    assert cpu_quota(root) == quota
    assert runner.cpu_quota() == quota, "boards are read as this machine is"


@pytest.mark.parametrize(
    ("quota", "cpus"), [("50000", 1), ("150000", 2), ("200000", 2), ("9000000", 4), ("max", 4)]
)
def test_usable_cpus_are_the_quota_rounded_up_and_never_more_than_the_cores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quota: str, cpus: int
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 2, 4, 6})
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/cgroup").write_text("0::/\n")
    (tmp_path / "sys/fs/cgroup").mkdir(parents=True)
    (tmp_path / "sys/fs/cgroup/cpu.max").write_text(f"{quota} 100000\n")
    assert usable_cpus(tmp_path) == cpus


def test_runner_counts_stops_of_groups_with_a_quota_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "x").mkdir()
    (tmp_path / "own").write_text("0::/x\n")
    (tmp_path / "x/cpu.stat").write_text("usage_usec 5\nnr_periods 9\nnr_throttled 7\n")
    (tmp_path / "cpu.stat").write_text("nr_throttled 100\n")
    (tmp_path / "x/cpu.max").write_text("50000 100000")
    monkeypatch.setattr(runner, "CGROUPS", str(tmp_path))
    monkeypatch.setattr(runner, "OWN_CGROUPS", str(tmp_path / "own"))
    assert runner.quota_stops() == 7
    (tmp_path / "x/cpu.max").write_text("max 100000")
    assert runner.quota_stops() == 0
