"""What the benchmarks share: the facts that stand beside every table, and where tables go."""

from __future__ import annotations

import csv
import multiprocessing
import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

import yaml

ROOT = Path(__file__).parents[1]
REFERENCE = ROOT / "results" / "reference"
# On a busy machine several threads that wait for each other are a hundred times slower.
LOAD_BEFORE = os.getloadavg()[0]
Row = dict[str, str]
Order = TypeVar("Order")
Result = TypeVar("Result")
PACKAGES = ("autoseg", "torch", "albumentations", "numpy", "pillow")


def cores() -> list[int]:
    """The cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def settle(where: Sequence[int], threads: int) -> None:
    """Keep this process on some cores, with so many threads."""
    import torch

    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, where)
    torch.set_num_threads(threads)


@contextmanager
def process(
    where: list[int], threads: int, settings: Mapping[str, str]
) -> Iterator[ProcessPoolExecutor]:
    """A process of its own on some cores, that does one thing at a time."""
    spawn, before = multiprocessing.get_context("spawn"), dict(os.environ)
    with ProcessPoolExecutor(1, spawn, initializer=settle, initargs=(where, threads)) as one:
        os.environ.update(settings)  # the allocator reads its own at the start of a process
        try:
            one.submit(cores)  # starts it
        finally:
            os.environ.clear()
            os.environ.update(before)
        yield one


def side_by_side(
    work: Callable[[Order], Result], orders: Iterable[Order], processes: int
) -> Iterator[Result]:
    """What each order gives, as it ends; in some processes of one thread each."""
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, spawn, settle, (cores(), 1)) as pool:
        for future in as_completed([pool.submit(work, order) for order in orders]):
            yield future.result()


def overrides(pairs: Iterable[str]) -> dict[str, Any]:
    """`name=value` as the command line of autoseg takes a recipe's numbers."""
    split = (pair.partition("=") for pair in pairs)
    return {name: yaml.safe_load(value) for name, _, value in split}


def settings(knobs: Mapping[str, Any]) -> str:
    """Knobs as a line of text."""
    return ", ".join(f"{name}={value}" for name, value in knobs.items())


def facts() -> list[str]:
    """Machine and versions, as they stand beside every table."""
    from autoseg.device import resolve

    numbers = {"python": platform.python_version(), **{p: version(p) for p in PACKAGES}}
    model = resolve("local").describe().model
    return [
        f"- machine: {model}, {len(cores())} cores, {platform.machine()} ({platform.platform()})"
        + f"{graphics()}; load before {LOAD_BEFORE:.1f}",
        "- versions: " + ", ".join(f"{name} {number}" for name, number in numbers.items()),
    ]


def graphics() -> str:
    import torch

    return f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""


def command() -> str:
    """This process' command; of a path only the last part, since the rest is one machine's."""
    words = [_unplaced(word) for word in sys.argv[1:]]
    return shlex.join(["python", f"benchmarks/{Path(sys.argv[0]).name}", *words])


def run_command(said: Mapping[str, Any]) -> str:
    """The command of a run, from what its run.yaml says; of a path only the last part."""
    from autoseg.run.declaration import Declaration

    words = []
    for name, default in Declaration().to_yaml().items():
        value = said.get(name, default)
        if name not in ("seed", "workers", "recipe") and value != default:
            each = value if isinstance(value, list) else [value]
            words += [w for one in each for w in (f"--{name.replace('_', '-')}", str(one))]
    for name, value in said.get("recipe", {}).items():
        words += ["--recipe", f"{name}={value}"]
    return shlex.join(["autoseg", "optimize", *map(_unplaced, words)])


def _unplaced(word: str) -> str:
    return Path(word).name if os.path.isabs(word) or word.startswith("..") else word


def commit_of(tree: Path) -> str:
    """The last commit that touched a checkout's code; `+` says that it was edited since."""

    def git(*words: str) -> str:
        done = subprocess.run(["git", "-C", str(tree), *words], capture_output=True, text=True)
        return done.stdout.strip()

    code = ("--", "autoseg", "search_spaces")
    last = git("log", "-1", "--format=%h", *code) or "unknown"
    return last + ("+" if git("status", "--porcelain", *code) else "")


def table(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Rows as a Markdown table whose columns also stand in line on a screen."""
    lines = [list(rows[0]), *([str(value) for value in row.values()] for row in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    padded = [[cell.ljust(w) for cell, w in zip(line, widths, strict=True)] for line in lines]
    padded.insert(1, ["-" * w for w in widths])
    return [f"| {' | '.join(line)} |" for line in padded]


def read_csv(path: Path) -> list[Row]:
    """The rows of a table; none where there is no file."""
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def write_csv(
    path: Path, rows: Sequence[Mapping[str, Any]], columns: Sequence[str] | None = None
) -> None:
    """The whole table or, where this is cut short, the one before."""
    part = path.with_suffix(".part")
    with part.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(columns or rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    os.replace(part, path)


def append_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """These behind the rows of a table, which they begin where there is none."""
    if not path.exists():
        return write_csv(path, rows)
    with path.open("a", newline="") as file:
        csv.DictWriter(file, list(rows[0]), lineterminator="\n").writerows(rows)
