"""This machine as a device: profiles, the lock, and faults that must not look like figures."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from autoseg import runner
from autoseg.device import resolve
from autoseg.device.answers import Answer
from autoseg.device.local import LocalDevice
from autoseg.device.lock import lock_path, machine_lock
from autoseg.device.profile import Profile
from autoseg.records import CandidateError, DeviceError, InputError, MeasurePlan

QUICK = MeasurePlan("screen", "p50", ceiling_ms=1000.0, warmup_s=0.01)


@pytest.fixture(autouse=True)
def own_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Other processes may be measuring on this machine while the tests run."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))


def test_nothing_and_the_name_local_are_this_machine() -> None:
    for given in (None, "local"):
        assert resolve(given).describe().name == "local"


def test_a_profile_file_is_a_device(tmp_path: Path, segments: Path) -> None:
    path = tmp_path / "two.yaml"
    path.write_text("name: two\nkind: local\nthreads: 2\n")
    assert resolve(path).measure(segments, QUICK).threads == 2
    assert resolve(str(path)).describe().name == "two"


def test_all_faults_of_a_profile_are_told(tmp_path: Path) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text("name: bad\nkind: locl\nthreads: 0\naffinty: 1\n")
    with pytest.raises(InputError) as caught:
        resolve(path)
    told = str(caught.value).splitlines()
    assert [line.split(":")[1] for line in told] == ["2", "3", "4"]
    assert "did you mean 'affinity'" in told[2]


@pytest.mark.parametrize(
    ("name", "told"), [("pi@board", "SSH are not available"), ("lokal", "mean 'local'.; known")]
)
def test_what_cannot_be_a_device_is_said(name: str, told: str) -> None:
    with pytest.raises(InputError, match=told):
        resolve(name)


def test_a_model_that_fails_when_fed_says_what_it_was_fed(broken: Path) -> None:
    with pytest.raises(CandidateError, match=r'"name": "z".*"shape": \[1, 224\]'):
        LocalDevice().measure(broken, QUICK)
    fed = LocalDevice(shapes={"z": (1, 3)})
    assert fed.measure(broken, QUICK).p50_ms > 0


def test_shapes_for_inputs_that_are_not_there_are_refused(dynamic: Path) -> None:
    with pytest.raises(InputError, match="has no input"):
        LocalDevice(shapes={"picture": (1, 3, 8, 8)}).measure(dynamic, QUICK)
    with pytest.raises(InputError, match="does not fit"):
        LocalDevice(shapes={"x": (1, 4, 8, 8)}).measure(dynamic, QUICK)


def test_a_core_or_provider_that_is_not_there_is_the_machines_fault(segments: Path) -> None:
    with pytest.raises(DeviceError, match="affinity must be one of the cores"):
        LocalDevice(Profile(name="x", kind="local", affinity=4000)).measure(segments, QUICK)
    with pytest.raises(DeviceError, match="has no NoSuchProvider"):
        LocalDevice(Profile(name="x", kind="local", provider="NoSuchProvider")).describe()


def test_a_busy_machine_is_waited_for_and_the_holder_named(segments: Path) -> None:
    with machine_lock("timing another.onnx", 0.0):
        with pytest.raises(DeviceError, match=rf"process {os.getpid()}, timing another.onnx"):
            LocalDevice(wait_s=0.05).measure(segments, QUICK)
        late: list[float] = []
        waiting = threading.Thread(
            target=lambda: late.append(LocalDevice().measure(segments, QUICK).p50_ms)
        )
        waiting.start()
        time.sleep(0.1)
        assert not late
    waiting.join(30)
    assert late


def test_a_killed_holder_lets_go(tmp_path: Path) -> None:
    script = (
        "import time; from autoseg.device.lock import machine_lock\n"
        "with machine_lock('timing', 5): print('held', flush=True); time.sleep(60)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script],
        stdout=subprocess.PIPE,
        env={**os.environ, "TMPDIR": str(tmp_path)},
        cwd=Path(__file__).parents[2],
    ) as holder:
        assert holder.stdout is not None and holder.stdout.readline() == b"held\n"
        with pytest.raises(DeviceError, match=f"process {holder.pid}"), machine_lock("me", 0.0):
            pass
        holder.send_signal(signal.SIGKILL)
    with machine_lock("me", 5.0):
        assert lock_path().read_text() == f"process {os.getpid()}, me"


FACTS = b'{"facts": {"runtime": "r", "threads": 1, "provider": "p", "cpu": "c"}}\n'


@pytest.mark.parametrize(
    ("output", "told"),
    [
        (b"", "without its result line"),
        (FACTS, "without its result line"),
        (FACTS + b"Segmentation fault\n", "line is wrong .*Segmentation fault"),
        (FACTS + b'{"result": {"runs": "many"}}\n', "result.runs is wrong"),
        (
            FACTS + b'{"result": {"runs": 4, "warmup": 1, "min_ms": NaN}}\n',
            "result.min_ms is wrong",
        ),
        (b"\xff\xfe\n", "line is wrong"),
        (b'{"error": {"kind": "runtime", "message": "install onnxruntime"}}', "install onnxr"),
    ],
)
def test_an_answer_that_is_none_is_the_machines_fault(output: bytes, told: str) -> None:
    with pytest.raises(DeviceError, match=told):
        _ = Answer(output).result


STAND_IN = """
import os, runpy, sys, time
if len(sys.argv) > 2: {does}
sys.argv[0] = {runner!r}
runpy.run_path({runner!r}, run_name="__main__")
"""


@pytest.mark.parametrize(
    ("does", "told"),
    [
        ("os.kill(os.getpid(), 11)", "was ended by signal 11"),
        ("os.kill(os.getpid(), 9)", "out of memory"),
        ("time.sleep(60)", "gave no result within"),
        ("os.write(1, b'x' * (5 << 20))", "printed more than 4 MiB"),
    ],
)
def test_where_the_machine_still_answers_the_model_is_at_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, segments: Path, does: str, told: str
) -> None:
    script = tmp_path / "runner.py"
    script.write_text(STAND_IN.format(does=does, runner=runner.__file__))
    monkeypatch.setattr(runner, "__file__", str(script))
    monkeypatch.setattr("autoseg.device.local.START_S", 2.0)
    with pytest.raises(CandidateError, match=told):
        LocalDevice().measure(segments, MeasurePlan("screen", max_s=0.01, warmup_s=0.01))


def test_a_machine_that_cannot_start_the_runner_is_at_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, segments: Path
) -> None:
    script = tmp_path / "runner.py"
    script.write_text("raise SystemExit('no numpy for you')")
    monkeypatch.setattr(runner, "__file__", str(script))
    with pytest.raises(DeviceError, match="no numpy for you"):
        LocalDevice().measure(segments, QUICK)


def test_a_busy_core_is_told(segments: Path, caplog: pytest.LogCaptureFixture) -> None:
    core = max(os.sched_getaffinity(0))
    burn = f"import os; os.sched_setaffinity(0, {{{core}}})\nprint(flush=True)\nwhile True: pass"
    profile = Profile(name="busy", kind="local", affinity=core)
    plan = MeasurePlan("screen", min_runs=10**6, max_runs=10**6, max_s=0.3, warmup_s=0.01)
    with subprocess.Popen([sys.executable, "-c", burn], stdout=subprocess.PIPE) as neighbour:
        try:
            assert neighbour.stdout is not None and neighbour.stdout.readline()
            LocalDevice(profile).measure(segments, plan)
        finally:
            neighbour.kill()
    assert "other programs had the core" in caplog.text


def test_a_killed_program_leaves_no_runner_behind(tmp_path: Path, segments: Path) -> None:
    script = (
        "from pathlib import Path; from autoseg.device.local import LocalDevice\n"
        "from autoseg.records import MeasurePlan\n"
        "plan = MeasurePlan('confirm', min_runs=10**7, max_runs=10**7, max_s=60, warmup_s=0.01)\n"
        f"LocalDevice().measure(Path({str(segments)!r}), plan)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script],
        env={**os.environ, "TMPDIR": str(tmp_path)},
        cwd=Path(__file__).parents[2],
    ) as program:
        while not lock_path().exists() or b"segments" not in lock_path().read_bytes():
            time.sleep(0.02)
        time.sleep(0.5)
        program.send_signal(signal.SIGKILL)
    # The runner holds the lock as long as it lives.
    with machine_lock("me", 10.0):
        pass
