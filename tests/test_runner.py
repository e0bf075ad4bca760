"""The runner as boards run it: one file, alone, answering in lines."""

import ast
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx.parser
import pytest

from autoseg import runner

HEAD = '<ir_version: 9, opset_import: ["": 18]>'
OPEN = "g (float[N,3,height,W] x) => (float[N,3,height,W] y) { y = Relu (x) }"
SLOW = """g (float[1,256,256] x) => (float[1,256,256] y) {
    a = MatMul (x, x)
    b = MatMul (a, x)
    y = MatMul (b, x)
}"""
MANY = """g (uint8[1,H,W,1] frame, int64[K] index, bool flag, double[4,5] table, int8 small)
=> (uint8[1,H,W,1] a, int64[K] b, bool c, double[?,5] d, int8 e) {
    a = Identity (frame)
    b = Identity (index)
    c = Identity (flag)
    d = Gather <axis: int = 0> (table, index)
    e = Identity (small)
}"""


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file as it is copied to a board: nothing of autoseg beside it."""
    folder = tmp_path_factory.mktemp("board")
    shutil.copy(runner.__file__, folder / "runner.py")
    for name, text in {"open": OPEN, "slow": SLOW, "many": MANY}.items():
        onnx.save(onnx.parser.parse_model(HEAD + text), folder / f"{name}.onnx")
    return folder


def ask(folder: Path, *arguments: str, flags: str = "-I") -> tuple[int, list[dict[str, Any]]]:
    done = subprocess.run(
        [sys.executable, *flags.split(), str(folder / "runner.py"), *arguments],
        stdout=subprocess.PIPE,
        cwd=folder,
        timeout=60,
    )
    return done.returncode, [json.loads(line) for line in done.stdout.splitlines()]


def timed(folder: Path, model: str, **plan: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    code, lines = ask(folder, f"{model}.onnx", json.dumps({"warmup_s": 0.01, **plan}))
    assert code == 0, lines
    assert [next(iter(line)) for line in (lines[0], lines[-1])] == ["facts", "result"]
    return lines[0]["facts"], lines[-1]["result"]


def test_it_is_python_3_8_and_imports_nothing_of_autoseg() -> None:
    tree = ast.parse(Path(runner.__file__).read_text(), feature_version=(3, 8))
    imported = {
        name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names
    } | {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {name.split(".")[0] for name in imported} <= sys.stdlib_module_names


def test_open_sizes_are_filled_and_said(alone: Path) -> None:
    facts, result = timed(alone, "open", max_runs=40)
    assert facts["inputs"] == [{"name": "x", "dtype": "float32", "shape": [1, 3, 224, 224]}]
    assert facts["runtime"].startswith("onnxruntime ") and facts["load_ms"] > 0
    assert facts["threads"] == 1 and facts["cpu"] and facts["machine"] and facts["python"]
    assert result["runs"] == 40 and result["load_ms"] == facts["load_ms"]


def test_open_sizes_can_be_given(alone: Path) -> None:
    facts, _ = timed(alone, "open", shapes={"x": [2, 3, 8, 16]}, max_runs=40)
    assert facts["inputs"][0]["shape"] == [2, 3, 8, 16]


def test_several_inputs_of_any_type_and_rank_are_fed(alone: Path) -> None:
    facts, _ = timed(alone, "many", max_runs=40)
    fed = {each["name"]: (each["dtype"], each["shape"]) for each in facts["inputs"]}
    assert fed == {
        "frame": ("uint8", [1, 224, 224, 1]),
        "index": ("int64", [1]),
        "flag": ("bool", []),
        "table": ("float64", [4, 5]),
        "small": ("int8", []),
    }


def test_a_screen_stops_when_the_ceiling_is_clear_but_not_before_min_runs(alone: Path) -> None:
    for ceiling_ms in (1e-6, 1e6):
        plan = {"phase": "screen", "statistic": "p50", "ceiling_ms": ceiling_ms}
        _, result = timed(alone, "slow", **plan, min_runs=60, max_runs=4000)
        assert result["runs"] == 60


def test_more_runs_support_more_percentiles(alone: Path) -> None:
    few, some, many = (
        timed(alone, "open", shapes={"x": [1, 3, 8, 8]}, min_runs=runs, max_runs=runs)[1]
        for runs in (30, 80, 1000)
    )
    names = ("p90_ms", "p95_ms", "p99_ms")
    assert [[found[name] is None for name in names] for found in (few, some, many)] == [
        [True, True, True],
        [False, False, True],
        [False, False, False],
    ]
    assert few["p50_ci_ms"][0] <= few["p50_ms"] <= few["p50_ci_ms"][1]


def test_seconds_are_a_cap_as_well(alone: Path) -> None:
    _, result = timed(alone, "slow", max_s=0.05, min_runs=10**6, max_runs=10**6)
    assert runner.FEWEST_RUNS <= result["runs"] < 10**4


def test_without_a_model_it_tells_the_facts(alone: Path) -> None:
    code, lines = ask(alone, "{}")
    assert code == 0 and list(lines[0]) == ["facts"] and len(lines) == 1


@pytest.mark.parametrize(
    ("arguments", "flags", "kind", "told"),
    [
        (("runner.py", "{}"), "-I", "model", "cannot load"),
        (("gone.onnx", "{}"), "-I", "model", "no file"),
        (("open.onnx", "{"), "-I", "plan", "JSON"),
        (("open.onnx", '{"runs": 3}'), "-I", "plan", "unknown in the plan: ['runs']"),
        (("open.onnx", '{"statistic": "p42"}'), "-I", "plan", "p42"),
        (("open.onnx", '{"shapes": {"x": [1, 3, 5]}}'), "-I", "plan", "does not fit"),
        (("open.onnx", '{"shapes": {"x": [99999, 3, 99999, 999]}}'), "-I", "memory", "memory"),
        (("open.onnx", '{"threads": "two"}'), "-I", "machine", "TypeError"),
        (("open.onnx", "{}"), "-I -S", "runtime", "install it: pip install onnxruntime"),
    ],
)
def test_a_fault_is_one_line(
    alone: Path, arguments: tuple[str, ...], flags: str, kind: str, told: str
) -> None:
    code, lines = ask(alone, *arguments, flags=flags)
    assert code == 1 and len(lines) == 1
    assert lines[0]["error"]["kind"] == kind and told in lines[0]["error"]["message"]


def test_it_ends_when_nobody_listens(alone: Path) -> None:
    plan = json.dumps({"max_s": 600, "min_runs": 10**6, "max_runs": 10**7, "warmup_s": 0.01})
    with subprocess.Popen(
        [sys.executable, "-I", str(alone / "runner.py"), str(alone / "slow.onnx"), plan],
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None and b"facts" in process.stdout.readline()
        process.stdout.close()
        assert process.wait(timeout=60) == 1


@pytest.mark.parametrize("statistic", ["p50", "p90", "mean"])
def test_the_interval_holds_the_truth_as_often_as_it_says(statistic: str) -> None:
    random = np.random.default_rng(0)
    truth = {"p50": 1.0, "p90": float(np.exp(0.1 * 1.2816)), "mean": float(np.exp(0.005))}
    held = [
        low <= truth[statistic] <= high
        for times in np.exp(0.1 * random.standard_normal((400, 200)))
        for _, (low, high) in [runner.estimate(list(times), statistic)]
    ]
    assert 0.93 <= np.mean(held) <= 1.0


def test_a_machine_that_drifts_widens_the_interval() -> None:
    random = np.random.default_rng(0)
    drifting = 1 + np.repeat(0.01 * random.standard_normal(20), 50)
    drifting += 0.001 * random.standard_normal(1000)

    def width(times: np.ndarray) -> float:
        low, high = runner.estimate(list(times), "p50")[1]
        return high - low

    assert width(drifting) > 3 * width(random.permutation(drifting))
