"""The runner as boards run it: one file, alone, a process that is talked to over pipes."""

import ast
import ctypes
import hashlib
import itertools
import os
import re
import resource
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx.parser
import onnxruntime
import pytest
from runner_client import Line, Runner

from autoseg.device import runner

HEAD = '<ir_version: 9, opset_import: ["": 18]>'
MODELS = {
    "open": "g (float[N,3,height,W] x) => (float[N,3,height,W] y) { y = Relu (x) }",
    "slow": """g (float[1,256,256] x) => (float[1,256,256] y) {
        a = MatMul (x, x)
        y = MatMul (a, x)
    }""",
    "map": """g (uint8[1,H,W,3] frame) => (uint8[1,H,W] classes) {
        a = Cast <to: int = 1> (frame)
        b = ArgMax <axis: int = 3, keepdims: int = 0> (a)
        classes = Cast <to: int = 2> (b)
    }""",
    "many": """g (uint8[1,H,W,1] frame, int64[K] index, bool flag, double[4,5] table, int8 small)
    => (uint8[1,H,W,1] a, int64[K] b, bool c, double[?,5] d, int8 e) {
        a = Identity (frame)
        b = Identity (index)
        c = Identity (flag)
        d = Gather <axis: int = 0> (table, index)
        e = Identity (small)
    }""",
    "fails": """g (float[N] x) => (float[?] y) {
        shape = Constant <value: tensor = int64[1] {7}> ()
        y = Reshape (x, shape)
    }""",
}
CLONE_NEWNET = 0x40000000
UPLOAD = bytes(range(256)) * 1000
NUMBERS = itertools.count()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file as it is copied to a board: nothing of autoseg beside it."""
    folder = tmp_path_factory.mktemp("board")
    shutil.copy(runner.__file__, folder / "runner.py")
    for name, text in MODELS.items():
        onnx.save(onnx.parser.parse_model(HEAD + text), folder / f"{name}.onnx")
    return folder


@pytest.fixture(scope="module")
def shared(folder: Path) -> Iterator[Runner]:
    """One runner for all tests that leave it as it was."""
    with Runner(folder / "runner.py") as started:
        yield started


@pytest.fixture
def start(folder: Path, tmp_path: Path) -> Iterator[Callable[..., Runner]]:
    """Starts runners with a home of their own, of which constants can be changed."""
    started: list[Runner] = []

    def begin(*flags: str, limits: Callable[[], None] | None = None, **constants: Any) -> Runner:
        lines = (folder / "runner.py").read_text().splitlines()
        for name, value in constants.items():
            (at,) = (n for n, line in enumerate(lines) if line.startswith(f"{name} = "))
            lines[at] = f"{name} = {value!r}"
        file = tmp_path / f"runner{len(started)}.py"
        file.write_text("\n".join(lines))
        started.append(Runner(file, *flags, home=tmp_path, limits=limits))
        return started[-1]

    yield begin
    for each in started:
        each.__exit__()


def claim_name() -> str:
    return f"autoseg-test-{os.getpid()}-{next(NUMBERS)}"


def children(pid: int) -> list[int]:
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == pid and fields[0] != "Z":
            found.append(int(path.parent.name))
    return found


def seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def gone(pid: int) -> bool:
    try:
        return (Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def soon(holds: Callable[[], object], limit_s: float = 5.0) -> bool:
    end = time.monotonic() + limit_s
    while not holds() and time.monotonic() < end:
        time.sleep(0.01)
    return bool(holds())


def begin_long_timing(board: Runner, folder: Path) -> int:
    """Starts to time for a minute; returns the process that computes."""
    assert "opened" in board.open(slow=folder / "slow.onnx")
    board.say("time", blocks=[{"model": "slow", "runs": 10**6, "max_s": 60}])
    (child,) = children(board.process.pid)
    return child


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def put(board: Runner, data: bytes) -> Line:
    return board.ask("put", data, digest=digest(data))


def test_runner_is_python_3_8_and_imports_nothing_of_autoseg() -> None:
    tree = ast.parse(Path(runner.__file__).read_text(), feature_version=(3, 8))
    imported = {
        name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names
    } | {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {name.split(".")[0] for name in imported} <= sys.stdlib_module_names


# ---- Facts


def test_runner_hello_describes_the_machine(shared: Runner, folder: Path) -> None:
    told = shared.ask("hello")["hello"]
    assert told["runtime"] == f"onnxruntime {onnxruntime.__version__}"
    assert told["runtime_error"] is None and "CPUExecutionProvider" in told["providers"]
    assert told["affinity"] == sorted(os.sched_getaffinity(0))
    assert told["cache"] == str(folder / ".cache" / "autoseg")
    assert told["pid"] == shared.process.pid and told["cpu"] and told["machine"]


def test_runner_hello_without_onnxruntime_gives_the_error(
    start: Callable[..., Runner], folder: Path
) -> None:
    board = start("-S")
    told = board.ask("hello")["hello"]
    assert told["runtime"] is None and told["providers"] == []
    assert "pip install" in told["runtime_error"]
    assert board.open(open=folder / "open.onnx")["error"]["kind"] == "runtime"


def test_runner_status_counts_cpu_time_of_other_processes_only(
    start: Callable[..., Runner], folder: Path
) -> None:
    spin = "open('/proc/self/comm', 'w').write('spinner')\nwhile True: pass"
    board = start()
    child = begin_long_timing(board, folder)
    with subprocess.Popen([sys.executable, "-c", spin]) as other:
        try:
            assert soon(lambda: "(spinner)" in Path(f"/proc/{other.pid}/stat").read_text())
            begin, before = time.monotonic(), seconds(child)
            told = board.ask("status", window_s=0.3)["status"]
            ours = (seconds(child) - before) / (time.monotonic() - begin)
        finally:
            other.kill()
    # On a machine with more to do, three others may come before the spinner.
    top = dict(told["top"])
    assert ("spinner" in top or len(told["top"]) == 3) and max(top.values()) > 0.05
    assert told["other_cores"] > 0.05
    assert told["other_cores"] < (os.cpu_count() or 1) - ours + 0.5
    assert told["memory_total_bytes"] > told["memory_available_bytes"] > 0
    assert told["disk_free_bytes"] > 0 and abs(told["time"] - time.time()) < 5


def test_runner_status_ignores_a_zone_that_is_no_sensor(
    start: Callable[..., Runner], tmp_path: Path
) -> None:
    # A Jetson Orin's: the PMIC always says 100, and a zone that is off says nonsense.
    zones = [("CPU-therm", 48_500), ("GPU-therm", 46_000), ("PMIC-Die", 100_000), ("off", 255_000)]
    for number, (kind, said) in enumerate(zones):
        zone = tmp_path / f"thermal_zone{number}"
        zone.mkdir()
        (zone / "type").write_text(f"{kind}\n")
        (zone / "temp").write_text(f"{said}\n")
    status = start(THERMAL=str(tmp_path)).ask("status", window_s=0.0)["status"]
    assert status["temperature_c"] == 48.5


# ---- Timing


def test_runner_open_fills_open_sizes_and_reports_them(shared: Runner, folder: Path) -> None:
    opened = shared.open(one=folder / "open.onnx", two=folder / "slow.onnx")["opened"]
    assert opened["inputs"]["one"] == [
        {
            "name": "x",
            "dtype": "float32",
            "shape": [1, 3, 224, 224],
            "declared": ["N", 3, "height", "W"],
        }
    ]
    assert opened["load_ms"]["one"] > 0


def test_runner_open_accepts_given_sizes(shared: Runner, folder: Path) -> None:
    plan = {"shapes": {"x": [2, 3, 8, 16]}}
    opened = shared.open(plan, one=folder / "open.onnx", two=folder / "map.onnx")["opened"]
    assert opened["inputs"]["one"][0]["shape"] == [2, 3, 8, 16]
    assert opened["inputs"]["two"][0]["shape"] == [1, 224, 224, 3]


def test_runner_open_takes_a_shape_without_a_name_for_the_only_open_input(
    shared: Runner, folder: Path
) -> None:
    plan = {"shapes": {"": [2, 3, 8, 16]}}
    opened = shared.open(plan, one=folder / "open.onnx", two=folder / "slow.onnx")["opened"]
    assert opened["inputs"]["one"][0]["shape"] == [2, 3, 8, 16]
    assert opened["inputs"]["two"][0]["shape"] == [1, 256, 256]
    for models, told in [
        ({"two": "slow.onnx"}, "all sizes are fixed"),
        ({"many": "many.onnx"}, r"\['frame', 'index'\] open.*NAME=SIZES"),
        ({"two": "map.onnx"}, r"\[2, 3, 8, 16\] does not fit .*\[1, 'H', 'W', 3\]"),
    ]:
        error = shared.open(plan, **{n: folder / file for n, file in models.items()})["error"]
        assert error["kind"] == "plan" and re.search(told, error["message"])


def test_runner_open_feeds_inputs_of_any_type_and_rank(shared: Runner, folder: Path) -> None:
    inputs = shared.open(many=folder / "many.onnx")["opened"]["inputs"]["many"]
    assert {each["name"]: (each["dtype"], each["shape"]) for each in inputs} == {
        "frame": ("uint8", [1, 224, 224, 1]),
        "index": ("int64", [1]),
        "flag": ("bool", []),
        "table": ("float64", [4, 5]),
        "small": ("int8", []),
    }


def test_runner_time_alternates_blocks_until_runs_or_seconds_are_spent(
    shared: Runner, folder: Path
) -> None:
    shared.open(a=folder / "slow.onnx", b=folder / "map.onnx")
    assert shared.ask("warm", model="a", warmup_s=0.01)["warm"]["runs"] >= 1
    asked = [("a", 5, 60.0), ("b", 3, 60.0), ("a", 10**6, 0.02), ("b", 5, 0.0)]
    blocks = [{"model": name, "runs": runs, "max_s": s} for name, runs, s in asked]
    *lines, last = shared.stream("time", blocks=blocks)
    told = [line["block"] for line in lines]
    assert [block["model"] for block in told] == ["a", "b", "a", "b"]
    counts = [len(block["times_ms"]) for block in told]
    assert counts[:2] == [5, 3] and 1 <= counts[2] < 10**4 and counts[3] == 1
    assert min(told[0]["times_ms"]) > 0 and 0 < told[2]["cpu_share"] < 1.1
    assert last["timed"]["peak_rss_bytes"] > 1 << 20
    status = shared.ask("status", window_s=0.0)["status"]
    assert last["timed"]["governors"] == status["governors"]


def test_runner_binds_only_the_child_to_the_cores(shared: Runner, folder: Path) -> None:
    cores = sorted(os.sched_getaffinity(0))
    shared.open({"affinity": cores[-1:]}, slow=folder / "slow.onnx")
    (child,) = children(shared.process.pid)
    assert os.sched_getaffinity(child) == set(cores[-1:])
    assert shared.ask("hello")["hello"]["affinity"] == cores


def test_runner_answers_pings_while_the_child_computes(shared: Runner, folder: Path) -> None:
    shared.open(slow=folder / "slow.onnx")
    shared.say("time", blocks=[{"model": "slow", "runs": 10**6, "max_s": 1.0}])
    before = shared.pongs
    for _ in range(3):  # each is answered before the block ends
        shared.say("ping")
        assert shared.stdout.readline() == b'{"pong": true}\n'
    shared.say("ping")
    assert "block" in shared.hear() and "timed" in shared.hear()
    assert shared.pongs == before + 1


def test_runner_profile_lists_nodes_with_their_provider(shared: Runner, folder: Path) -> None:
    plan: Line = {"threads": 1, "affinity": None, "shapes": {}}
    plan["providers"] = ["AzureExecutionProvider", "CPUExecutionProvider"]
    nodes = shared.ask("nodes", path=str(folder / "slow.onnx"), plan=plan, runs=5)["nodes"]
    assert [(node["op"], node["provider"]) for node in nodes] == [
        ("MatMul", "CPUExecutionProvider")
    ] * 2
    assert all(node["output"] == [1, 256, 256] and node["ms"] > 0 for node in nodes)
    assert not list((folder / ".cache" / "autoseg").glob("profile*"))


# ---- Faults


@pytest.mark.parametrize(
    ("model", "plan", "kind", "told"),
    [
        ("runner.py", {}, "model", "runner.py"),
        ("gone.onnx", {}, "machine", "gone.onnx"),
        ("fails.onnx", {}, "input", "fed"),
        ("open.onnx", {"shapes": {"x": [1, 3, 5]}}, "plan", "[1, 3, 5]"),
        ("open.onnx", {"shapes": {"z": [1, 3, 5]}}, "plan", "'z'"),
        ("open.onnx", {"shapes": {"x": [99999, 3, 99999, 999]}}, "memory", "memory"),
        ("open.onnx", {"threads": "two"}, "machine", "TypeError"),
        ("open.onnx", {"affinity": [4000]}, "machine", "affinity"),
        ("open.onnx", {"providers": ["NoExecutionProvider"]}, "machine", "["),
    ],
)
def test_runner_error_is_one_line_and_the_next_request_is_answered(
    shared: Runner, folder: Path, model: str, plan: Line, kind: str, told: str
) -> None:
    error = shared.open(plan, model=folder / model)["error"]
    assert error["kind"] == kind and told in error["message"] and len(error["message"]) < 2500
    assert "opened" in shared.open(open=folder / "open.onnx")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV])
def test_runner_survives_a_model_that_crashes(shared: Runner, folder: Path, number: int) -> None:
    os.kill(begin_long_timing(shared, folder), number)
    error = shared.hear()["error"]
    assert error["kind"] == "crash" and f"signal {int(number)}" in error["message"]
    assert ("memory" in error["message"]) == (number == signal.SIGKILL)
    assert shared.ask("warm", model="slow", warmup_s=0)["error"]["kind"] == "crash"
    assert "opened" in shared.open(open=folder / "open.onnx")


def test_runner_reports_a_dead_child_at_the_next_request(shared: Runner, folder: Path) -> None:
    shared.open(open=folder / "open.onnx")
    (child,) = children(shared.process.pid)
    os.kill(child, signal.SIGKILL)
    frame = bytes(1 << 20)
    assert shared.ask("run", frame, model="open", shape=[1])["error"]["kind"] == "crash"
    assert "hello" in shared.ask("hello")


def test_runner_close_ends_a_slow_model_at_once(shared: Runner, folder: Path) -> None:
    child = begin_long_timing(shared, folder)
    assert shared.ask("close") == {"closed": True}
    assert gone(child)
    assert shared.ask("warm", model="slow", warmup_s=0)["error"]["kind"] == "plan"


def test_runner_exits_on_an_invalid_request(start: Callable[..., Runner]) -> None:
    for sent in (b"hello?\n", b"[]\n", b"x" * (3 << 20)):
        board = start()
        try:
            board.stdin.write(sent)
        except BrokenPipeError:
            pass
        assert board.hear()["error"]["kind"] == "plan"
        assert board.process.wait(5) == 1
    assert "'sing'" in start().ask("sing")["error"]["message"]


# ---- Its end, and whose the machine is


@pytest.mark.parametrize("how", ["input", "reader", "term", "hangup", "kill"])
def test_runner_exits_with_its_client_and_leaves_nothing(
    start: Callable[..., Runner], folder: Path, how: str
) -> None:
    name, board, second = claim_name(), start(), start()
    board.ask("claim", name=name, who="the first")
    child = begin_long_timing(board, folder)
    if how == "input":
        board.stdin.close()
    elif how == "reader":
        board.stdout.close()
        board.say("ping")
    else:
        numbers = {"term": signal.SIGTERM, "hangup": signal.SIGHUP, "kill": signal.SIGKILL}
        os.kill(board.process.pid, numbers[how])
    board.process.wait(5)
    assert soon(lambda: gone(child))
    assert second.ask("claim", name=name, who="the second") == {"claimed": True}


def test_runner_exits_when_nothing_is_received_and_stays_while_pinged(
    start: Callable[..., Runner],
) -> None:
    board = start(QUIET_S=0.3)
    for _ in range(5):
        assert board.ask("has", digest="0" * 64) == {"path": None}
        time.sleep(0.08)
    assert board.process.poll() is None
    assert board.process.wait(3) == 1


def test_runner_exits_when_nobody_reads_its_output(start: Callable[..., Runner]) -> None:
    board = start(QUIET_S=0.3)
    # More answers than the pipe holds, fewer requests.
    for _ in range(1500):
        board.say("sing")
    assert board.process.wait(3) == 1


def test_runner_continues_after_a_freeze(start: Callable[..., Runner]) -> None:
    board = start(QUIET_S=0.3)
    board.ask("has", digest="0" * 64)
    os.kill(board.process.pid, signal.SIGSTOP)
    board.say("ping")
    time.sleep(0.5)
    os.kill(board.process.pid, signal.SIGCONT)
    assert "error" in board.ask("sing") and board.pongs == 1


@pytest.mark.parametrize("abstract", [True, False])
def test_runner_claim_names_the_holder_to_the_second(
    start: Callable[..., Runner], folder: Path, abstract: bool
) -> None:
    name, first, second = claim_name(), start(ABSTRACT=abstract), start(ABSTRACT=abstract)
    assert first.ask("claim", name=name, who="process 7, Zoë") == {"claimed": True}
    assert first.ask("claim", name=name, who="process 7, timing x") == {"claimed": True}
    begin_long_timing(first, folder)
    for _ in range(2):
        error = second.ask("claim", name=name, who="second")["error"]
        assert error["kind"] == "busy"
        assert error["message"] == "process 7, timing x" or not abstract
    assert first.ask("release") == {"released": True}
    assert second.ask("claim", name=name, who="second") == {"claimed": True}
    assert first.ask("claim", name=name, who="first")["error"]["message"] == "second"


def test_runner_claim_does_not_reach_into_another_network_namespace(
    start: Callable[..., Runner],
) -> None:
    """As docs/measurement.md says of two containers; each still counts the load of the other."""

    def alone() -> None:
        if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNET):
            os._exit(9)

    name, first, second = claim_name(), start(), start(limits=alone)
    if second.process.poll() == 9 or not second.ask("hello"):
        pytest.skip("cannot make a namespace here")
    assert first.ask("claim", name=name, who="first") == {"claimed": True}
    assert second.ask("claim", name=name, who="second") == {"claimed": True}
    assert second.ask("status", window_s=0.05)["status"]["other_cores"] is not None


def test_runner_claim_is_held_by_a_hanging_holder(start: Callable[..., Runner]) -> None:
    name, first, second = claim_name(), start(), start(HOLDER_S=0.1)
    first.ask("claim", name=name, who="first")
    os.kill(first.process.pid, signal.SIGSTOP)
    error = second.ask("claim", name=name, who="second")["error"]
    assert error["kind"] == "busy" and "autoseg" in error["message"]


def test_runner_claim_names_the_holder_during_an_upload(start: Callable[..., Runner]) -> None:
    name, first, second = claim_name(), start(), start()
    first.ask("claim", name=name, who="first")
    first.say_part("put", UPLOAD[:1000], bytes=len(UPLOAD), digest=digest(UPLOAD))
    assert second.ask("claim", name=name, who="second")["error"]["message"] == "first"
    first.stdin.write(UPLOAD[1000:])
    assert first.hear()["path"].endswith(".onnx")


# ---- The cache


def test_runner_put_keeps_a_model_for_its_owner_alone(start: Callable[..., Runner]) -> None:
    board = start()
    assert board.ask("has", digest=digest(UPLOAD)) == {"path": None}
    path = Path(put(board, UPLOAD)["path"])
    assert path.read_bytes() == UPLOAD and path.name == f"{digest(UPLOAD)}.onnx"
    assert board.ask("has", digest=digest(UPLOAD)) == {"path": str(path)}
    modes = [stat.S_IMODE(each.stat().st_mode) for each in (path, path.parent, path.parents[1])]
    assert modes == [0o600, 0o700, 0o700]
    assert put(board, UPLOAD)["path"] == str(path) and len(list(path.parent.iterdir())) == 1


def put_files(board: Runner, graph: bytes, weights: dict[str, bytes], total: str = "") -> Line:
    lines = [f"{digest(graph)} \n", *(f"{digest(data)} {n}\n" for n, data in weights.items())]
    found = digest("".join(lines).encode())
    sizes = {name: len(data) for name, data in weights.items()}
    payload = graph + b"".join(weights.values())
    return board.ask("put", payload, digest=total or found, weights=sizes)


def test_runner_put_keeps_all_files_of_a_model_together(
    start: Callable[..., Runner], tmp_path: Path
) -> None:
    board, weights = (
        start(MAX_CACHE_BYTES=3000),
        {"a.data": b"\0\n" * 400, "sub/b": b"", "c": b"c"},
    )
    path = Path(put_files(board, b"graph", weights)["path"])
    assert path.read_bytes() == b"graph" and path.parent.name == path.name
    assert {name: (path.parent / name).read_bytes() for name in weights} == weights
    assert board.ask("has", digest=path.stem) == {"path": str(path)}
    # They leave together as well: the next model needs their place.
    assert put(board, bytes(2500))["path"] and not path.parent.exists()
    assert board.ask("has", digest=path.stem) == {"path": None}


@pytest.mark.parametrize("name", ["../x", "/tmp/x", "a/../../x", "", ".", "a//b", "x\0"])
def test_runner_put_of_several_files_stays_in_their_folder(
    start: Callable[..., Runner], tmp_path: Path, name: str
) -> None:
    board = start()
    before = sorted(tmp_path.rglob("*"))
    assert put_files(board, b"graph", {name: b"x"})["error"]["kind"] == "plan"
    assert sorted(tmp_path.rglob("*")) == before
    assert put(board, UPLOAD)["path"]


def test_runner_put_of_several_files_checks_the_digest_over_all(
    start: Callable[..., Runner], tmp_path: Path
) -> None:
    board = start()
    error = put_files(board, b"graph", {"w": b"1"}, total="0" * 64)["error"]
    assert error["kind"] == "machine" and not list((tmp_path / ".cache/autoseg/models").iterdir())


def test_runner_put_digest_cannot_lead_out_of_the_cache(start: Callable[..., Runner]) -> None:
    board = start()
    for wrong in ("../" * 3 + "x", "0" * 63, None, "/" * 64):
        for answer in (board.ask("has", digest=wrong), board.ask("put", b"x", digest=wrong)):
            assert answer["error"]["kind"] == "plan"


def test_runner_put_refuses_bytes_with_another_digest(
    start: Callable[..., Runner], tmp_path: Path
) -> None:
    board = start()
    error = board.ask("put", UPLOAD[1:] + b"x", digest=digest(UPLOAD))["error"]
    assert error["kind"] == "machine"
    assert not list((tmp_path / ".cache/autoseg/models").iterdir())
    assert put(board, UPLOAD)["path"]


@pytest.mark.parametrize("how", ["input", "kill"])
def test_runner_put_interrupted_leaves_no_model(
    start: Callable[..., Runner], tmp_path: Path, how: str
) -> None:
    board, models = start(), tmp_path / ".cache/autoseg/models"
    board.say_part("put", UPLOAD[:-1], bytes=len(UPLOAD), digest=digest(UPLOAD))
    assert soon(lambda: list(models.glob("*.part")))
    if how == "input":
        board.stdin.close()
    else:
        board.process.kill()
    board.process.wait(5)
    assert not list(models.glob("*.onnx"))
    again = start()
    assert again.ask("has", digest=digest(UPLOAD)) == {"path": None}
    assert put(again, UPLOAD)["path"]
    assert [each.suffix for each in models.iterdir()] == [".onnx"]


def test_runner_put_removes_the_least_recently_used_models(
    start: Callable[..., Runner], tmp_path: Path
) -> None:
    board = start(MAX_CACHE_BYTES=3000)
    first, second, third, fourth = (bytes([n]) * 1000 for n in range(4))
    for data in (first, second, third):
        # As on a board that woke up in the past: the order of use counts, not the clock.
        path = Path(put(board, data)["path"])
    os.utime(path, (4e9, 4e9))
    board.ask("has", digest=digest(first))
    put(board, fourth)
    kept = {each.stem for each in (tmp_path / ".cache/autoseg/models").iterdir()}
    assert kept == {digest(data) for data in (first, third, fourth)}
    error = put(board, bytes(3001))["error"]
    assert error["kind"] == "disk" and "3001" in error["message"]
    assert board.ask("has", digest=digest(first))["path"]


def test_runner_put_on_a_full_disk_fails_and_leaves_nothing(
    start: Callable[..., Runner], tmp_path: Path
) -> None:
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))

    check_full(start(limits=limit), tmp_path)


def test_runner_put_on_a_full_tmpfs_removes_models_first(
    start: Callable[..., Runner], tmp_path: Path
) -> None:
    (tmp_path / ".cache").mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=160k", "none", str(tmp_path / ".cache")]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("needs to mount a tmpfs")
    try:
        board = start()
        put(board, UPLOAD[:80_000])
        check_full(board, tmp_path)
    finally:
        subprocess.run(["umount", "-l", str(tmp_path / ".cache")], check=True)


def check_full(board: Runner, home: Path) -> None:
    models = home / ".cache/autoseg/models"
    error = put(board, UPLOAD)["error"]
    assert error["kind"] == "disk"
    assert str(models) in error["message"] and str(len(UPLOAD)) in error["message"]
    assert not list(models.iterdir())
    assert put(board, UPLOAD[:90_000])["path"]


# ---- Running


def test_runner_run_gives_the_class_maps_of_onnxruntime(shared: Runner, folder: Path) -> None:
    shared.open({"shapes": {"frame": [1, 8, 8, 3]}}, map=folder / "map.onnx")
    session = onnxruntime.InferenceSession(folder / "map.onnx")
    random = np.random.default_rng(0)
    for shape in ((20, 30, 3), (400, 500, 3)):
        frame = random.integers(0, 256, shape, np.uint8)
        expected = session.run(None, {"frame": frame[None]})[0][0]
        np.testing.assert_array_equal(shared.class_map("map", frame), expected)


def test_runner_run_refuses_a_frame_that_does_not_fit_and_continues(
    shared: Runner, folder: Path
) -> None:
    shared.open(map=folder / "map.onnx", slow=folder / "slow.onnx")
    for model, shape, told in [
        ("map", [8, 8, 1], "uint8"),
        ("map", [9, 8, 3], "uint8"),
        ("slow", [8, 8, 3], "uint8"),
        ("gone", [8, 8, 3], "'gone'"),
    ]:
        error = shared.ask("run", bytes(192), model=model, shape=shape)["error"]
        assert error["kind"] == "plan" and told in error["message"]
    assert shared.class_map("map", np.zeros((8, 8, 3), np.uint8)).shape == (8, 8)


def test_runner_open_starts_a_program_anew_that_holds_the_claim(
    start: Callable[..., Runner], folder: Path
) -> None:
    def stack_at(pid: int) -> str:
        """Where the stack ends in memory: a fork's does where its parent's does."""
        lines = Path(f"/proc/{pid}/maps").read_text().splitlines()
        (stack,) = (line for line in lines if line.endswith("[stack]"))
        return stack.partition(" ")[0].partition("-")[2]

    name, first, second = claim_name(), start(), start()
    first.ask("claim", name=name, who="first")
    plan = {"threads": 1, "providers": ["CPUExecutionProvider"], "affinity": None, "shapes": {}}
    places = {stack_at(first.process.pid)}
    for fresh in (True, True, False):
        models = {"a": str(folder / "slow.onnx")}
        assert "opened" in first.ask("open", models=models, plan=plan, fresh=fresh)
        (child,) = children(first.process.pid)
        places.add(stack_at(child))
        block = {"model": "a", "runs": 1, "max_s": 0.1}
        assert [*first.stream("time", blocks=[block])][0]["block"]["model"] == "a"
    assert len(places) == 3
    assert second.ask("claim", name=name, who="second")["error"]["message"] == "first"
    first.ask("open", models=models, plan=plan, fresh=True)
    (child,) = children(first.process.pid)
    first.process.kill()
    first.process.wait()
    assert soon(lambda: gone(child))
    assert second.ask("claim", name=name, who="second") == {"claimed": True}
