"""This machine as a device: claims, losses, and faults that must not look like figures."""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from brief import WHOLE

from autoseg.core.errors import CandidateError, DeviceError, InputError
from autoseg.core.records import DeviceInfo, FedInput, Measurement, MeasurePlan
from autoseg.core.serialize import from_json, to_json
from autoseg.device import resolve, runner, runtimes
from autoseg.device.board import Board
from autoseg.device.device_profile import ONNXRUNTIME_NAMES, Profile
from autoseg.device.history import sample_of
from autoseg.device.local import LocalLauncher, local_device

QUICK = MeasurePlan(phase="screen", statistic="p50", ceiling_ms=1000.0, warmup_s=0.01)
ENDLESS = MeasurePlan(phase="confirm", min_runs=10**7, max_runs=10**7, max_s=60.0, warmup_s=0.01)


@pytest.fixture
def device() -> Iterator[Board]:
    made = local_device()
    yield made
    made.close()


@pytest.fixture
def local() -> Iterator[Callable[..., Board]]:
    """Makes devices of given profiles, and closes them."""
    made: list[Board] = []

    def make(*, shapes: Any = None, **profile: Any) -> Board:
        made.append(local_device(Profile(name="x", kind="local", **profile), shapes=shapes))
        return made[-1]

    yield make
    for each in made:
        each.close()


def test_resolve_of_nothing_and_of_local_is_this_machine() -> None:
    for given in (None, "local"):
        assert resolve(given).describe().name == "local"


def test_resolve_accepts_a_profile_file(tmp_path: Path, segments: Path) -> None:
    path = tmp_path / "two.yaml"
    path.write_text("name: two\nkind: local\nthreads: 2\n")
    two = resolve(path)
    assert two.measure(segments, QUICK).threads == 2
    assert resolve(str(path)).describe().name == "two"
    two.close()


def test_local_device_uses_one_runner_until_it_is_closed(device: Board, segments: Path) -> None:
    first = device.hello().pid
    device.measure(segments, QUICK)
    device.predict(segments, [np.zeros((24, 32, 3), np.uint8)])
    assert device.hello().pid == first
    device.close()
    with pytest.raises(ProcessLookupError):
        os.kill(first, 0)
    assert device.hello().pid != first


def test_measure_records_the_state_of_the_machine(device: Board, segments: Path) -> None:
    found = device.measure(segments, QUICK)
    assert found.reference_ms and found.reference_ms > 0
    assert found.reference_ratio and 0.5 < found.reference_ratio
    assert found.other_cores is not None and found.fallback_nodes == ()
    assert device.describe().here


def test_measure_to_confirm_starts_three_processes_and_records_their_medians(
    device: Board, segments: Path
) -> None:
    plan = WHOLE("p50", frame_hw=(48, 64))
    found = device.measure(segments, replace(plan, min_s=0.0, max_s=0.6, warmup_s=0.01))
    assert len(found.process_p50_ms) == 3 and found.runs >= 1024
    assert sorted(found.process_p50_ms)[1] == pytest.approx(found.p50_ms)
    assert found.relative_p50 and found.relative_sd and found.relative_sd < 1
    assert found.frame and found.frame.hw == (48, 64)
    model, frame = found.times("model"), found.times("frame")
    assert model and frame and model.p50_ms == found.p50_ms and frame.runs >= 36
    assert frame.p50_ms > found.frame.resizes_ms


def test_measure_compares_the_machine_with_its_earlier_days(
    local: Callable[..., Board], segments: Path
) -> None:
    device = local()
    calm_ms = device.measure(segments, QUICK).reference_ms
    assert calm_ms
    usual = sample_of(calm_ms / 1.5, calm_ms, {"p50": [calm_ms] * 3})
    device.history.samples.append(usual)
    found = device.measure(segments, QUICK)
    assert any(re.search(r"reference \d+ % slower", flag) for flag in found.flags)
    assert found.reference_ratio and found.reference_ratio > 1.2


def test_measure_follows_warm_up_and_runs_of_the_profile(
    local: Callable[..., Board], segments: Path
) -> None:
    device = local(warmup_s=0.05, runs=700)
    plan = MeasurePlan(phase="confirm", min_runs=10, max_runs=40, warmup_s=0.0)
    found = device.measure(segments, plan)
    assert found.runs >= 700 and found.warmup > 100
    assert device.measure(segments, QUICK).runs < 700


def test_measure_of_a_failing_model_names_its_inputs(
    local: Callable[..., Board], broken: Path
) -> None:
    with pytest.raises(CandidateError, match=r'"name": "z".*"shape": \[1, 224\]'):
        local().measure(broken, QUICK)
    assert local(shapes={"z": (1, 3)}).measure(broken, QUICK).p50_ms > 0


def test_measure_records_what_was_fed_into_open_sizes(
    local: Callable[..., Board], dynamic: Path, segments: Path
) -> None:
    fed = FedInput("x", "float32", (1, 3, 224, 224), ("N", 3, "height", "width"))
    found = local().measure(dynamic, QUICK)
    assert found.inputs == (fed,) and from_json(Measurement, to_json(found)) == found
    (small,) = local(shapes={"": (2, 3, 8, 16)}).measure(dynamic, QUICK).inputs
    assert small.shape == (2, 3, 8, 16)
    (frame,) = local().measure(segments, QUICK).inputs
    assert frame.shape == frame.declared == (1, 24, 32, 3)
    with pytest.raises(InputError, match="all sizes are fixed"):
        local(shapes={"": (1, 24, 32, 3)}).measure(segments, QUICK)


DEADLY = """import os, signal
os.kill(os.getpid(), signal.SIGILL)
"""


@pytest.fixture
def deadly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An onnxruntime that was built for another processor."""
    (tmp_path / "site" / "onnxruntime").mkdir(parents=True)
    (tmp_path / "site" / "onnxruntime" / "__init__.py").write_text(DEADLY)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "site"))
    return tmp_path / "site"


@pytest.mark.parametrize(
    ("code", "told"),
    [
        (
            DEADLY,
            r"illegal instruction, signal 4.*of onnxruntime does not fit the processor \(.+\)",
        ),
        ("import os; os.abort()", "abort.*signal 6.*pip install onnxruntime=="),
        ("import os; os._exit(3)", "ends the interpreter with 3"),
        ("import sys; sys.exit(3)", "cannot import onnxruntime"),
        ("raise OSError('libfoo.so.1')", r"libfoo\.so\.1.*pip install onnxruntime"),
    ],
)
def test_measure_names_an_onnxruntime_that_cannot_be_imported(
    local: Callable[..., Board], deadly: Path, segments: Path, code: str, told: str
) -> None:
    (deadly / "onnxruntime" / "__init__.py").write_text(code)
    device = local()
    for verb in (lambda: device.measure(segments, QUICK), lambda: device.nodes(segments)):
        with pytest.raises(DeviceError, match=f"this machine: .*{told}"):
            verb()
    assert device.hello().runtime is None, "the runner lives on"


def test_runner_that_is_killed_leaves_no_import_behind(deadly: Path, processes: Any) -> None:
    (deadly / "onnxruntime" / "__init__.py").write_text("import time\ntime.sleep(60)")
    words = [sys.executable, "-P", runner.__file__]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin and process.stdout
        process.stdin.write(b'{"do": "hello"}\n')
        process.stdin.flush()
        # The first one imports numpy.
        processes.wait_for(lambda: "numpy" in maps(process.pid) and processes.below(process.pid))
        (trial,) = processes.below(process.pid)
        process.kill()
        processes.wait_for(lambda: not processes.alive([trial]), within_s=30)


def maps(pid: int) -> str:
    """The libraries that a process has loaded."""
    return Path(f"/proc/{pid}/maps").read_text()


def test_require_importable_runs_nothing_of_the_folder_it_is_called_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "onnxruntime.py").write_text(DEADLY)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "onnxruntime", raising=False)
    runtimes.require_importable.__wrapped__()


def test_measure_needs_no_name_of_the_login(
    device: Board, segments: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a container that runs as a number."""

    def nobody() -> str:
        raise KeyError("uid not found")

    monkeypatch.setattr("getpass.getuser", nobody)
    assert device.measure(segments, QUICK).p50_ms > 0


def test_autoseg_names_an_onnxruntime_that_ends_its_own_process(
    deadly: Path, tmp_path: Path
) -> None:
    paths = os.pathsep.join([str(deadly), *sys.path])
    done = subprocess.run(
        [sys.executable, "-m", "autoseg.cli", "predict", "model.onnx", "picture.png"],
        env={**os.environ, "PYTHONPATH": paths}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert re.search(r"illegal instruction.*processor.*pip install onnxruntime==", done.stderr)


def test_measure_refuses_shapes_for_absent_inputs(
    local: Callable[..., Board], dynamic: Path
) -> None:
    with pytest.raises(InputError, match="picture"):
        local(shapes={"picture": (1, 3, 8, 8)}).measure(dynamic, QUICK)
    with pytest.raises(InputError, match=r"\[1, 4, 8, 8\].*'N', 3, 'height', 'width'"):
        local(shapes={"x": (1, 4, 8, 8)}).measure(dynamic, QUICK)


def test_measure_with_an_absent_core_or_provider_raises_device_error(
    local: Callable[..., Board], segments: Path
) -> None:
    with pytest.raises(DeviceError, match="this machine: .*affinity .*4000"):
        local(affinity=[4000]).measure(segments, QUICK)
    with pytest.raises(DeviceError, match="TensorRT"):
        local(providers=["TensorRT", "CPU"]).describe()


def test_measure_cache_key_contains_the_affinity(
    local: Callable[..., Board],
) -> None:
    cores = sorted(os.sched_getaffinity(0))
    free, one = local().describe(), local(affinity=cores[:1]).describe()
    assert one.affinity == (cores[0],) and one.fingerprint != free.fingerprint
    assert local(affinity=cores).describe() == local(affinity=cores[::-1]).describe()
    assert from_json(DeviceInfo, to_json(one)) == one
    # A run that was begun before boards told their cores.
    before = {name: fact for name, fact in to_json(free).items() if name != "affinity"}
    assert from_json(DeviceInfo, before) == free


def test_nodes_name_their_provider(device: Board, segments: Path) -> None:
    nodes = device.nodes(segments, runs=2)
    assert "ArgMax" in [node.op for node in nodes]
    assert {node.provider for node in nodes} == {"CPUExecutionProvider"}


def test_measure_flags_a_silent_fallback_to_the_cpu(
    local: Callable[..., Board], segments: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # onnxruntime's own wheel has it, and it runs no node of any model.
    idle = "AzureExecutionProvider"
    if idle not in local().hello().providers:
        pytest.skip(f"this onnxruntime has no {idle}")
    monkeypatch.setitem(ONNXRUNTIME_NAMES, "XNNPACK", idle)
    found = local(providers=["XNNPACK", "CPU"]).measure(segments, QUICK)
    assert len(found.fallback_nodes) >= 2
    assert re.search(f"nodes .*CPU.*{idle}", found.flags[-1])
    assert found.provider == f"{idle}+CPUExecutionProvider"


def test_compare_with_itself_works_on_this_machine(device: Board) -> None:
    found = device.compare_with_itself()
    assert found.pairs >= 20 and found.calm_ms > 0
    assert device.calm_ms == found.calm_ms


def test_measure_waits_for_a_busy_machine_and_names_the_holder(segments: Path) -> None:
    holder, second, third = local_device(), local_device(), local_device()
    assert isinstance(second.launcher, LocalLauncher)
    second.launcher.claim_wait_s = 0.05
    with holder.connection.held("timing another.onnx"):
        told = rf"this machine .*{os.getpid()} .*timing another.onnx"
        with pytest.raises(DeviceError, match=told):
            second.measure(segments, QUICK)
        late: list[float] = []
        waiting = threading.Thread(
            target=lambda: late.append(third.measure(segments, QUICK).p50_ms)
        )
        waiting.start()
        time.sleep(0.2)
        assert not late
    waiting.join()
    assert late
    for each in (holder, second, third):
        each.close()


PROGRAM = """
import sys
from pathlib import Path
from autoseg.device import board
from autoseg.device.local import local_device
from autoseg.core.records import MeasurePlan
board.CLAIM_NAME, plan = {claim!r}, MeasurePlan(**{plan!r})
device = local_device()
print(device.hello().pid, flush=True)
device.measure(Path({onnx!r}), plan)
"""


def test_measure_of_a_killed_program_leaves_no_runner(
    own_claim: str, device: Board, segments: Path
) -> None:
    code = PROGRAM.format(claim=own_claim, plan=vars(ENDLESS), onnx=str(segments))
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, cwd=Path(__file__).parents[2]
    ) as program:
        assert program.stdout is not None
        orphan = int(program.stdout.readline())
        assert isinstance(device.launcher, LocalLauncher)
        device.launcher.claim_wait_s = 0.0
        while True:
            try:
                device.measure(segments, QUICK)
            except DeviceError as busy:
                assert f"process {program.pid} " in str(busy)
                break
        program.send_signal(signal.SIGKILL)
    device.launcher.claim_wait_s = 10.0
    assert device.measure(segments, QUICK).p50_ms > 0
    assert gone(orphan)


def gone(pid: int) -> bool:
    """Whether a process ended; one that nobody waited for still has an entry."""
    try:
        return "Z" in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2]
    except FileNotFoundError:
        return True


def test_close_ends_a_measurement_of_another_thread(device: Board, segments: Path) -> None:
    told: list[BaseException] = []

    def endless() -> None:
        try:
            device.measure(segments, ENDLESS)
        except DeviceError as error:
            told.append(error)

    device.hello()
    working = threading.Thread(target=endless)
    working.start()
    time.sleep(0.5)
    device.close()
    working.join()
    assert "closed" in str(told[0])


def test_measure_can_be_repeated_after_an_interrupt(
    device: Board, segments: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    main = threading.main_thread().ident
    assert main is not None
    threading.Timer(0.5, lambda: signal.pthread_kill(main, signal.SIGINT)).start()
    with pytest.raises(KeyboardInterrupt):
        device.measure(segments, ENDLESS)
    assert device.measure(segments, QUICK).p50_ms > 0


STAND_IN = """
once = {once!r}
def first_time():
    try:
        os.close(os.open(once, os.O_CREAT | os.O_EXCL))
        return True
    except FileExistsError:
        return False
def open_stand_in(worker, *given, own=WORK["open"]):
    {opening}
    own(worker, *given)
def time_stand_in(worker, *given, own=WORK["time"]):
    {timing}
    own(worker, *given)
WORK.update(open=open_stand_in, time=time_stand_in)
if __name__ == "__main__":
"""


@pytest.fixture
def stand_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Callable[[Path], Measurement]]:
    """Measures with a runner that does something else first."""

    def make(opening: str = "pass", timing: str = "pass") -> Callable[[Path], Measurement]:
        added = STAND_IN.format(once=str(tmp_path / "once"), opening=opening, timing=timing)
        source = Path(runner.__file__).read_text()
        (tmp_path / "runner.py").write_text(source.replace('if __name__ == "__main__":', added))
        monkeypatch.setattr(runner, "__file__", str(tmp_path / "runner.py"))
        return lambda onnx: local_device().measure(onnx, QUICK)

    return make


@pytest.mark.parametrize(
    ("opening", "told"),
    [
        ("os.kill(os.getpid(), 11)", "^timing segments.onnx: .*signal 11"),
        ("os.kill(os.getpid(), 9)", "memory"),
        ("os.kill(os.getppid(), 9)", r"\b2\b.*timing .*memory"),
        ("time.sleep(60)", "timing segments.onnx|answer"),
        ("raise MemoryError", "memory"),
    ],
)
def test_measure_blames_the_model_where_the_machine_still_answers(
    stand_in: Any, monkeypatch: pytest.MonkeyPatch, segments: Path, opening: str, told: str
) -> None:
    monkeypatch.setattr("autoseg.device.model_session.LOAD_S", 0.5)
    with pytest.raises(CandidateError, match=told):
        stand_in(opening)(segments)


def test_measure_blames_the_runtime_for_an_illegal_instruction(
    stand_in: Any, segments: Path
) -> None:
    with pytest.raises(DeviceError, match="signal 4, an illegal instruction.* fit the processor"):
        stand_in("os.kill(os.getpid(), 4)")(segments)


def test_measure_restarts_a_runner_lost_once_and_continues(stand_in: Any, segments: Path) -> None:
    found = stand_in(timing="first_time() and os.kill(os.getppid(), 9)")(segments)
    assert found.runs > 1


@pytest.mark.parametrize(
    "answer",
    [
        {"block": {"model": "candidate", "times_ms": [], "cpu_share": 1.0}},
        {"block": {"model": "candidate", "times_ms": ["fast"], "cpu_share": 1.0}},
        {"block": {"model": "another", "times_ms": [1.0], "cpu_share": 1.0}},
        {"block": {"model": "candidate", "times_ms": [0.0], "cpu_share": 1.0}},
        {"block": {"model": "candidate", "times_ms": [1e308], "cpu_share": 1.0}},
        {"timed": {"peak_rss_bytes": -1}},
        {"more": False},
    ],
)
def test_measure_with_an_invalid_answer_raises_device_error(
    stand_in: Any, segments: Path, answer: dict[str, Any]
) -> None:
    with pytest.raises(DeviceError, match="this machine: .*runner"):
        stand_in(timing=f"return worker.reply({answer!r})")(segments)


def test_measure_keeps_its_facts_after_a_loss_behind_the_last_block(
    stand_in: Any, segments: Path
) -> None:
    # Every block was said; what the machine was like after them is asked for again.
    mute = (
        "class Ending(Worker):\n"
        "        def reply(self, facts, payload=None):\n"
        "            if 'timed' in facts and first_time():\n"
        "                os.kill(os.getppid(), 9)\n"
        "                time.sleep(9)\n"
        "            worker.reply(facts, payload)\n"
        "    ending = Ending(worker.pipe)\n"
        "    ending.models = worker.models\n"
        "    return own(ending, *given)"
    )
    found = stand_in(timing=mute)(segments)
    assert found.peak_rss_bytes > 0 and found.runs > 1


@pytest.mark.parametrize("size", [[4000, 4000], [24]])
def test_predict_refuses_a_class_map_of_impossible_size(
    tmp_path: Path, segments: Path, monkeypatch: pytest.MonkeyPatch, size: list[int]
) -> None:
    answer = f'worker.reply({{"map": {{"shape": {size}}}}}, zlib.compress(bytes(16_000_000)))'
    source = Path(runner.__file__).read_text()
    own = f'WORK["run"] = lambda worker, request: {answer}\nif __name__ == "__main__":'
    (tmp_path / "runner.py").write_text(source.replace('if __name__ == "__main__":', own))
    monkeypatch.setattr(runner, "__file__", str(tmp_path / "runner.py"))
    device = local_device()
    with pytest.raises(DeviceError, match="runner"):
        device.predict(segments, [np.zeros((24, 32, 3), np.uint8)])
    device.close()


def test_measure_raises_device_error_where_the_runner_cannot_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, segments: Path
) -> None:
    script = tmp_path / "runner.py"
    script.write_text("raise SystemExit('no numpy for you')")
    monkeypatch.setattr(runner, "__file__", str(script))
    with pytest.raises(DeviceError, match="code 1: no numpy for you"):
        local_device().measure(segments, QUICK)


def test_measure_flags_and_logs_a_busy_core(
    local: Callable[..., Board], segments: Path, caplog: pytest.LogCaptureFixture
) -> None:
    core = max(os.sched_getaffinity(0))
    burn = f"import os; os.sched_setaffinity(0, {{{core}}})\nprint(flush=True)\nwhile True: pass"
    plan = MeasurePlan(phase="screen", min_runs=10**6, max_runs=10**6, max_s=0.2, warmup_s=0.01)
    with subprocess.Popen([sys.executable, "-c", burn], stdout=subprocess.PIPE) as neighbour:
        try:
            assert neighbour.stdout is not None and neighbour.stdout.readline()
            found = local(affinity=[core]).measure(segments, plan)
        finally:
            neighbour.kill()
    assert found.other_cores is not None and found.other_cores > 0.2
    assert found.redone_blocks or "blocks" in " ".join(found.flags)
    assert "cores" in caplog.text
