"""Heat, limits and other load: what is waited for, repeated, marked and said."""

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from autoseg.core.errors import DeviceError
from autoseg.core.records import MeasurePlan
from autoseg.device import measure, runner
from autoseg.device.device_profile import Profile
from autoseg.device.local import local_device
from autoseg.device.rpc_schema import Node, StateAfter, Status

QUICK = MeasurePlan(phase="screen", statistic="p50", ceiling_ms=1000.0, warmup_s=0.01)
SHORT = MeasurePlan(phase="confirm", statistic="p50", min_runs=40, max_runs=40, warmup_s=0.01)


def status(**facts: Any) -> Status:
    unknown = {name: None for name in Status.model_fields}
    return Status.model_validate({**unknown, "governors": [], "top": [], **facts})


def timed(**facts: Any) -> StateAfter:
    return StateAfter.model_validate(
        {
            **{name: None for name in StateAfter.model_fields},
            "peak_rss_bytes": 1,
            "quota_stops": 0,
            "governors": [],
            **facts,
        }
    )


@pytest.fixture
def altered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Gives this machine other facts: definitions that stand after the runner's own."""

    def alter(definitions: str) -> None:
        main = 'if __name__ == "__main__":'
        source = Path(runner.__file__).read_text().replace(main, f"{definitions}\n{main}")
        (tmp_path / "runner.py").write_text(source)
        monkeypatch.setattr(runner, "__file__", str(tmp_path / "runner.py"))

    return alter


@pytest.mark.parametrize(
    ("before", "after", "throttled"),
    [
        ({}, {}, None),
        ({"throttle_count": 4}, {"throttle_count": 4}, False),
        ({"throttle_count": 4}, {"throttle_count": 5}, True),
        ({"throttled_bits": 0x50000}, {"throttled_bits": 0x50000}, False),
        ({"throttled_bits": 0x0}, {"throttled_bits": 0x40000}, True),
        ({"throttled_bits": 0x50005}, {"throttled_bits": 0x50005}, True),
        ({"throttled_bits": 0}, {}, False),
        ({"governors": ["performance"], "max_clock_mhz": 1800.0}, {"clock_mhz": 1800.0}, False),
        ({"governors": ["performance"], "max_clock_mhz": 1800.0}, {"clock_mhz": 1500.0}, True),
        ({"governors": ["ondemand"], "max_clock_mhz": 1800.0}, {"clock_mhz": 1500.0}, None),
    ],
)
def test_throttled_means_changed_or_persistent(
    before: dict[str, Any], after: dict[str, Any], throttled: bool | None
) -> None:
    assert measure.throttled(status(**before), timed(**after)) is throttled


def test_throttled_means_over_max_temperature() -> None:
    hot = timed(temperature_c=81.0)
    assert measure.throttled(status(), hot, 80.0) is True
    assert measure.throttled(status(), hot, 85.0) is False


def test_measure_records_throttling_during_a_timing() -> None:
    begun = timed(throttled_bits=0x50005, temperature_c=80.0, clock_mhz=900.0)
    over = begun.merged(timed(throttled_bits=0x50000, temperature_c=70.0))
    assert over.throttled_bits == 0x50005 and over.temperature_c == 80.0
    assert measure.throttled(status(throttled_bits=0x50000), over)
    assert timed().merged(timed()) == timed()
    counts = timed(throttle_count=5).merged(timed(throttle_count=None))
    assert counts.throttle_count == 5


def test_measure_flags_a_control_group_that_used_up_its_quota(
    altered: Callable[[str], None], segments: Path
) -> None:
    # As a counter that rises by two while the blocks are timed.
    altered("COUNTS = iter(range(7, 10**6, 2))\ndef quota_stops():\n    return next(COUNTS)")
    device = local_device()
    (flag,) = [flag for flag in device.measure(segments, QUICK).flags if "quota" in flag]
    device.close()
    assert re.search(r"control group stopped the process \d+ times", flag)
    once, twice = timed(quota_stops=1), timed(quota_stops=2)
    assert once.merged(twice).quota_stops == 3


@pytest.fixture
def half_a_core() -> Iterator[Path]:
    """A control group with a quota of half a core."""
    folders = [Path("/sys/fs/cgroup") / name for name in ("cpu", "cpu,cpuacct", "")]
    quotas = {"cpu.max": "50000 100000", "cpu.cfs_quota_us": "50000"}
    for made in (folder / f"autoseg-test-{os.getpid()}" for folder in folders):
        try:
            made.mkdir()
        except OSError:
            continue
        try:
            # Without the cpu controller the group has neither file.
            for file in (made / name for name in quotas if (made / name).exists()):
                file.write_text(quotas[file.name])
                yield made
                return
        finally:
            made.rmdir()
    pytest.skip("cannot make a control group here")


CODE = """
import os, sys
open(sys.argv[1] + "/cgroup.procs", "w").write(str(os.getpid()))
from pathlib import Path
from autoseg.core.cpus import usable_cpus
from autoseg.core.records import MeasurePlan
from autoseg.device.local import local_device
plan = MeasurePlan(phase="confirm", min_runs=10**6, max_runs=10**6, max_s=0.5, warmup_s=0.01)
device = local_device()
flags = device.measure(Path(sys.argv[2]), plan).flags
print(usable_cpus(), device.hello().quota_cores, *flags)
device.close()
"""


@pytest.mark.slow
def test_measure_in_a_control_group_with_half_a_core_is_flagged(
    half_a_core: Path, segments: Path
) -> None:
    words = [sys.executable, "-c", CODE, str(half_a_core), str(segments)]
    done = subprocess.run(words, capture_output=True, text=True)
    assert re.match(r"1 0\.5 .*quota of the control group stopped", done.stdout), done.stderr


def test_measure_flags_a_changed_governor(
    altered: Callable[[str], None], segments: Path, caplog: pytest.LogCaptureFixture
) -> None:
    altered(
        "def governors(cores=None):\n"
        "    return ['performance' if os.getppid() == PARENT else 'powersave']\n"
        "PARENT = os.getppid()"
    )
    device = local_device()
    found = device.measure(segments, QUICK)
    device.close()
    assert found.governor == "performance"
    assert any(re.search("governor .*performance .*powersave", flag) for flag in found.flags)


def test_measure_flags_a_percentile_that_replaces_another(segments: Path) -> None:
    device = local_device()
    few = MeasurePlan(phase="confirm", statistic="p99", min_runs=40, max_runs=40, warmup_s=0.0)
    flags = device.measure(segments, few).flags
    # On a busy machine disturbed runs count as well: there are more, and a p95 may do.
    assert any(re.search(r"\d+ runs .*p99\b.*p9[05]\b", f) for f in flags)
    assert "p99" not in " ".join(device.measure(segments, SHORT).flags)
    device.close()


def test_fallen_back_counts_all_nodes_and_names_some(
    segments: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [
        Node(name=f"n{at}", op="Conv", provider=f"{name}ExecutionProvider", ms=0.0, output=[])
        for at, name in enumerate(["Tensorrt"] * 2 + ["CUDA"] * 30 + ["CPU"])
    ]
    device = local_device(Profile(name="x", kind="local", providers=["TensorRT", "CUDA", "CPU"]))
    monkeypatch.setattr(device, "nodes", lambda onnx, runs: rows)
    names, words = measure.fallen_back(device, segments)
    assert len(names) == 31 and "n1" not in names
    pattern = "31 of 33 .*CUDAExecutionProvider .*CPU.* TensorrtExecutionProvider"
    assert re.search(pattern, words[0])


def test_measure_repeats_a_throttled_confirmation_after_a_rest_and_flags_it(
    altered: Callable[[str], None], segments: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    altered("def throttle_count():\n    return time.monotonic_ns()")
    rests: list[object] = []
    monkeypatch.setattr(measure, "rest", rests.append)
    device = local_device()
    found = device.measure(segments, SHORT)
    assert found.throttled and len(rests) == 1
    assert any("throttled" in flag for flag in found.flags)
    # What this machine does all day is no reason to wait before each candidate.
    assert device.measure(segments, QUICK).throttled and len(rests) == 1
    device.close()


def test_measure_leaves_no_flag_for_throttling_that_ended(
    altered: Callable[[str], None], segments: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    altered("def throttled_bits():\n    return int(os.path.exists(__file__ + '.hot'))")
    hot = Path(runner.__file__ + ".hot")
    hot.touch()
    monkeypatch.setattr(measure, "COOL_POLL_S", 0.05)
    monkeypatch.setattr(measure, "REST_S", 0.2)
    rest = measure.rest

    def cooling(board: Any) -> None:
        hot.unlink()
        rest(board)

    monkeypatch.setattr(measure, "rest", cooling)
    device = local_device()
    found = device.measure(segments, SHORT)
    assert found.throttled is False and "throttled" not in " ".join(found.flags)
    device.close()


def test_measure_distinguishes_a_machine_that_stays_too_hot_from_one_that_cools(
    altered: Callable[[str], None], segments: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    altered(
        "LOOKS = []\n"
        "def temperature_c():\n"
        "    LOOKS.append(1)\n"
        "    return 90.0 if len(LOOKS) < 4 else 60.0"
    )
    monkeypatch.setattr(measure, "COOL_POLL_S", 0.05)
    device = local_device(Profile(name="x", kind="local", max_temperature_c=80.0))
    assert device.measure(segments, QUICK).temperature_c == 60.0
    device.close()
    monkeypatch.setattr(measure, "COOL_S", 0.0)
    with pytest.raises(DeviceError, match="90 °C.*max_temperature_c 80"):
        device.measure(segments, QUICK)
    device.close()
