"""Times one ONNX file and prints JSON lines: `python runner.py MODEL.onnx '{"min_runs": 40}'`.

The same file runs here and on a board, so it keeps to Python 3.8, numpy and onnxruntime, and
imports nothing of autoseg. Lines: `{"facts": ...}`, then `{"batch": ...}` while it runs, and last
`{"result": ...}`; or `{"error": {"kind", "message"}}` and exit code 1. No model: the facts alone.
Percentile intervals are order statistics (Conover, Practical Nonparametric Statistics, 3.2),
widened by the design effect of batches (Woodruff 1952), as neighbouring runs are not independent.
"""

from __future__ import annotations

import contextlib
import gc
import glob
import importlib
import json
import math
import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

PLAN: dict[str, Any] = {
    "phase": "confirm",
    "statistic": "p90",
    "ceiling_ms": None,
    "min_runs": 40,
    "max_runs": 400,
    "max_s": 1.0,
    "warmup_s": 0.2,
    "threads": 1,
    "provider": "CPUExecutionProvider",
    "affinity": None,
    "shapes": {},
    "seed": 0,
}
QUANTILES = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99}
# Fewer runs than this say nothing of the tail: the interval's upper rank would be the slowest run.
NEEDED_RUNS = {"p50": 1, "p90": 36, "p95": 75, "p99": 1000}
# The median of fewer runs has no 95 % interval at all.
FEWEST_RUNS = 6
STABLE = 0.02
# Short enough that an orphan soon notices that nobody reads its lines any more.
BLOCK_RUNS, BLOCK_S = 100, 0.2
DTYPES = {"float": "float32", "double": "float64"}


class Fault(Exception):
    """An error line. Kinds: model, input, memory (its fault), runtime, machine, plan (ours)."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


def main(arguments: list[str], emit: Callable[[dict[str, Any]], None]) -> int:
    """Times the model, or tells the facts where none is given; returns the exit code."""
    try:
        model = arguments[0] if len(arguments) > 1 else None
        plan = read_plan(arguments[-1] if arguments else "{}")
        pin(plan["affinity"])
        facts = about(plan)
        if model is None:
            emit({"facts": facts})
        else:
            measure(model, plan, facts, emit)
    except Fault as fault:
        emit({"error": {"kind": fault.kind, "message": str(fault)}})
        return 1
    except MemoryError:
        emit({"error": {"kind": "memory", "message": "out of memory"}})
        return 1
    except BrokenPipeError:
        # Who asked is gone; go too, instead of disturbing the next measurement.
        return 1
    except Exception as error:  # the far side of a pipe can read a line, not a traceback
        emit({"error": {"kind": "machine", "message": f"{type(error).__name__}: {error}"}})
        return 1
    return 0


def read_plan(text: str) -> dict[str, Any]:
    try:
        given = json.loads(text)
    except ValueError as error:
        raise Fault("plan", f"the plan must be a JSON object: {error}") from error
    unknown = sorted(set(given) - set(PLAN)) if isinstance(given, dict) else ["not an object"]
    if unknown:
        raise Fault("plan", f"unknown in the plan: {unknown}; known: {sorted(PLAN)}")
    plan = dict(PLAN, **given)
    if plan["statistic"] not in QUANTILES and plan["statistic"] != "mean":
        raise Fault(
            "plan", f"unknown statistic {plan['statistic']!r}; known: mean {' '.join(QUANTILES)}"
        )
    return plan


def pin(core: int | None) -> None:
    if core is None:
        return
    if not hasattr(os, "sched_setaffinity"):
        raise Fault("machine", "this system cannot bind a process to a core; leave affinity out")
    try:
        os.sched_setaffinity(0, {core})
    except (OSError, ValueError) as error:
        cores = sorted(os.sched_getaffinity(0))
        raise Fault("machine", f"affinity must be one of the cores {cores}, got {core}") from error


def about(plan: dict[str, Any]) -> dict[str, Any]:
    runtime = library("onnxruntime")
    known = runtime.get_available_providers()
    if plan["provider"] not in known:
        raise Fault("machine", f"onnxruntime here has no {plan['provider']}; it has: {known}")
    return {
        "runtime": "onnxruntime " + runtime.__version__,
        "threads": plan["threads"],
        "provider": plan["provider"],
        "python": platform.python_version(),
        "machine": platform.machine(),
        "system": platform.system(),
        "cpu": cpu_model(),
        "cores": os.cpu_count(),
        "affinity": plan["affinity"],
    }


def library(name: str) -> Any:
    """A library, imported late so that its absence is an error line, not a traceback."""
    try:
        return importlib.import_module(name)
    except Exception as error:  # a broken install raises anything: OSError, AttributeError, ...
        text = f"cannot import {name} ({error}); install it: pip install {name}"
        raise Fault("runtime", text) from error


def cpu_model() -> str:
    """The board's name where there is one (device tree), else the processor's."""
    board = read_text("/proc/device-tree/model").strip("\0\n ")
    if board:
        return board
    for line in read_text("/proc/cpuinfo").splitlines():
        if line.lower().startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def measure(
    model: str, plan: dict[str, Any], facts: dict[str, Any], emit: Callable[[dict[str, Any]], None]
) -> None:
    """Loads, warms up, times; emits the facts, the batches and the result."""
    session, load_ms = load(model, plan)
    feeds = make_feeds(session, plan)
    fed = [{"name": n, "dtype": str(a.dtype), "shape": list(a.shape)} for n, a in feeds.items()]
    emit({"facts": dict(facts, load_ms=load_ms, inputs=fed)})

    def run() -> None:
        session.run(None, feeds)

    throttled = throttle_count()
    with no_collection():
        warmup = warm_up(run, plan, fed)
        emit({"batch": {"phase": "warmup", "runs": warmup}})
        begin, cpu = time.perf_counter(), time.thread_time()
        times_ms = time_runs(run, plan, emit)
        # Under 1 where other processes had the core, or where an accelerator did the work.
        cpu_share = (time.thread_time() - cpu) / (time.perf_counter() - begin)
    after = throttle_count()
    emit(
        {
            "result": dict(
                statistics(times_ms),
                runs=len(times_ms),
                warmup=warmup,
                load_ms=load_ms,
                peak_rss_bytes=peak_rss_bytes(),
                temperature_c=temperature_c(),
                throttled=None if after is None else after != throttled,
                cpu_share=cpu_share,
            )
        }
    )


def load(model: str, plan: dict[str, Any]) -> tuple[Any, float]:
    """A session of one model, and the ms that making it took."""
    runtime = library("onnxruntime")
    if not os.path.isfile(model):
        raise Fault("model", f"no file at {model}")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = plan["threads"]
    options.inter_op_num_threads = 1
    options.execution_mode = runtime.ExecutionMode.ORT_SEQUENTIAL
    options.log_severity_level = 4
    start = time.perf_counter_ns()
    try:
        session = runtime.InferenceSession(model, options, providers=[plan["provider"]])
    except Exception as error:  # onnxruntime has a dozen classes of its own, without a root
        raise fault_of("model", f"onnxruntime cannot load {model}", error) from error
    return session, (time.perf_counter_ns() - start) / 1e6


def fault_of(kind: str, what: str, error: Exception) -> Fault:
    said = " ".join(str(error).split())
    short = ("bad_alloc", "Failed to allocate", "out of memory")
    memory = isinstance(error, MemoryError) or any(sign in said for sign in short)
    return Fault("memory" if memory else kind, f"{what}: {said}")


def make_feeds(session: Any, plan: dict[str, Any]) -> dict[str, Any]:
    """Seeded random arrays for every input; `shapes` in the plan fills sizes left open."""
    numpy = library("numpy")
    random = numpy.random.RandomState(plan["seed"])
    inputs, shapes = session.get_inputs(), plan["shapes"]
    unknown = sorted(set(shapes) - {each.name for each in inputs})
    if unknown:
        known = ", ".join(each.name for each in inputs)
        raise Fault("plan", f"the model has no input {unknown}; it has: {known}")
    return {
        each.name: random_array(numpy, random, each, fill(each.shape, shapes.get(each.name)))
        for each in inputs
    }


def fill(shape: list[Any], given: Sequence[int] | None = None) -> list[int]:
    """A whole shape: open sizes become the given ones, else batch 1, 3 channels, 224 elsewhere."""
    if given is not None:
        fits = len(given) == len(shape) and all(
            size == own or not fixed(own)
            for size, own in zip(given, shape)  # noqa: B905
        )
        if not fits:
            raise Fault("plan", f"shape {given} does not fit the model's {shape}")
        return list(given)
    last = len(shape) - 1
    channels = last if last >= 2 and shape[last] in (1, 3, 4) else 1
    defaults = [
        1 if at == 0 else 3 if at == channels and last == 3 else 224 for at in range(last + 1)
    ]
    return [own if fixed(own) else size for own, size in zip(shape, defaults)]  # noqa: B905


def fixed(size: Any) -> bool:
    return isinstance(size, int) and size >= 0


def random_array(numpy: Any, random: Any, node: Any, shape: list[int]) -> Any:
    word = node.type[len("tensor(") : -1] if node.type.startswith("tensor(") else node.type
    try:
        dtype = numpy.dtype(DTYPES.get(word, word))
    except TypeError as error:
        raise Fault("input", f"cannot make input {node.name!r} of type {node.type}") from error
    if dtype.kind == "f":
        return random.random_sample(shape).astype(dtype)
    # Wide integers are mostly indices or lengths, for which 0 and 1 are nearly always legal.
    top = 256 if dtype.itemsize == 1 and dtype.kind in "iu" else 2
    return random.randint(0, top, shape).astype(dtype)


def warm_up(run: Callable[[], None], plan: dict[str, Any], fed: list[dict[str, Any]]) -> int:
    """Runs until the median of five agrees with that of the five before; at most 3 x warmup_s."""
    clock = time.perf_counter_ns
    times: list[int] = []
    begin = clock()
    while True:
        start = clock()
        try:
            run()
        except Exception as error:  # the first run finds what loading did not
            raise fault_of(
                "input", f"the model fails when fed {json.dumps(fed)}", error
            ) from error
        times.append(clock() - start)
        spent_s = (clock() - begin) / 1e9
        if spent_s >= plan["warmup_s"] and (steady(times) or spent_s >= 3 * plan["warmup_s"]):
            return len(times)


def steady(times: list[int]) -> bool:
    if len(times) < 10:
        return False
    old, new = sorted(times[-10:-5])[2], sorted(times[-5:])[2]
    return abs(new - old) <= STABLE * old


def time_runs(
    run: Callable[[], None], plan: dict[str, Any], emit: Callable[[dict[str, Any]], None]
) -> list[float]:
    """Milliseconds of each run, in blocks; after each block it is asked whether to go on."""
    clock = time.perf_counter_ns
    times_ms: list[float] = []
    most, begin = max(10, min(BLOCK_RUNS, plan["min_runs"] // 32)), clock()
    longest_ns = 1e9 * min(BLOCK_S, plan["max_s"])
    while True:
        block_begin = clock()
        for _ in range(most):
            start = clock()
            run()
            end = clock()
            times_ms.append((end - start) / 1e6)
            if end - block_begin >= longest_ns:
                break
        spent_s = (clock() - begin) / 1e9
        value, interval = estimate(times_ms, plan["statistic"])
        emit({"batch": {"phase": "timed", "runs": len(times_ms), "ms": value, "ci_ms": interval}})
        if enough(len(times_ms), spent_s, value, interval, plan):
            return times_ms


def enough(
    runs: int, spent_s: float, value: float, interval: tuple[float, float], plan: dict[str, Any]
) -> bool:
    if spent_s >= plan["max_s"] and (runs >= FEWEST_RUNS or spent_s >= 10 * plan["max_s"]):
        return True
    if runs < plan["min_runs"]:
        return False
    low, high = interval
    if runs >= plan["max_runs"] or high - low < STABLE * value:
        return True
    ceiling = plan["ceiling_ms"]
    return plan["phase"] == "screen" and ceiling is not None and not low <= ceiling <= high


def estimate(times_ms: list[float], statistic: str) -> tuple[float, tuple[float, float]]:
    """A statistic of the runs with its 95 % interval, ms."""
    numpy = library("numpy")
    times = numpy.asarray(times_ms)
    if statistic == "mean":
        mean, spread = float(times.mean()), float(times.std())
        half = 1.96 * spread * math.sqrt(design_effect(times - mean) / len(times))
        return mean, (mean - half, mean + half)
    quantile = QUANTILES[statistic]
    value = float(numpy.quantile(times, quantile))
    below = (times <= value).astype(float) - quantile
    runs = len(times)
    half = 1.96 * math.sqrt(runs * quantile * (1 - quantile) * design_effect(below))
    ordered = numpy.sort(times)
    low = max(1, math.floor(runs * quantile - half))
    high = min(runs, math.ceil(runs * quantile + half))
    return value, (float(ordered[low - 1]), float(ordered[high - 1]))


def design_effect(deviations: Any) -> float:
    """How much more the means of batches vary than those of independent runs would; at least 1."""
    numpy = library("numpy")
    count = min(16, len(deviations) // 10)
    if count < 4:
        return 1.0
    means = [batch.mean() for batch in numpy.array_split(deviations, count)]
    expected = float(deviations.var()) * count / len(deviations)
    return max(1.0, float(numpy.var(means, ddof=1)) / expected) if expected > 0 else 1.0


def statistics(times_ms: list[float]) -> dict[str, Any]:
    """Percentiles with intervals and spread, ms; null where the runs cannot support one."""
    numpy = library("numpy")
    found: dict[str, Any] = {
        "min_ms": min(times_ms),
        "mean_ms": float(numpy.mean(times_ms)),
        "std_ms": float(numpy.std(times_ms)),
    }
    for name in QUANTILES:
        supported = len(times_ms) >= NEEDED_RUNS[name]
        value, interval = estimate(times_ms, name) if supported else (None, None)
        found[name + "_ms"], found[name + "_ci_ms"] = value, interval
    return found


@contextlib.contextmanager
def no_collection() -> Iterator[None]:
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def peak_rss_bytes() -> int:
    # ru_maxrss survives exec: a child of a large process would report its parent's size.
    for line in read_text("/proc/self/status").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if platform.system() == "Darwin" else peak * 1024


def temperature_c() -> float | None:
    """The hottest thermal zone of Linux, or null."""
    texts = [read_text(path) for path in glob.glob("/sys/class/thermal/thermal_zone*/temp")]
    found = [int(text) / 1000 for text in texts if text.strip().lstrip("-").isdigit()]
    return max(found) if found else None


def throttle_count() -> int | None:
    """A number that changes when the machine is throttled, or null where nothing tells."""
    tool = shutil.which("vcgencmd")
    if tool:
        done = subprocess.run([tool, "get_throttled"], stdout=subprocess.PIPE, timeout=5)
        bits = done.stdout.decode().strip().rpartition("=")[2]
        return int(bits, 16) if bits.startswith("0x") else None
    paths = glob.glob("/sys/devices/system/cpu/cpu*/thermal_throttle/core_throttle_count")
    counts = [read_text(path).strip() for path in paths]
    return sum(int(count) for count in counts if count.isdigit()) if counts else None


def read_text(path: str) -> str:
    try:
        with open(path, errors="replace") as file:
            return file.read()
    except OSError:
        return ""


if __name__ == "__main__":
    # A native library that prints would break the lines: its stdout becomes our stderr.
    lines = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    code = main(sys.argv[1:], lambda line: print(json.dumps(line), file=lines, flush=True))
    # At once: a broken pipe must not be flushed again, and sessions take long to tear down.
    os._exit(code)
