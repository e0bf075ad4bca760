"""What many tests share: a tiny set of pictures, a tiny space, and one finished run of them."""

import fcntl
import io
import json
import os
import signal
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from brief import shorten
from PIL import Image

pytest_plugins = ["browser", "rays"]

# Started in the background of a script, this process is deaf to Ctrl-C, and so is all it starts.
signal.signal(signal.SIGINT, signal.default_int_handler)
# As in the workers: one thread, so that what is trained here is what is trained there.
os.environ["OMP_NUM_THREADS"] = "1"
# What earlier sittings know of this machine, a busy one, is not for tests.
os.environ["XDG_CACHE_HOME"] = tempfile.mkdtemp(prefix="autoseg-tests-cache-")
# Tests that import it themselves ask no network either.
os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"

SPACE = """\
network: fast_scnn
knobs:
  resolution: {choices: [96, 64], baseline: 96, effort: entry}
  a: {choices: [0.25, 0.125], baseline: 0.25, effort: intermediate}
  t: {choices: [2], baseline: 2, effort: expert}
  r: {choices: [1], baseline: 1, effort: expert}
  pp: {choices: [0], baseline: 0, effort: expert}
"""
# Every candidate ends at an IoU of over 0.7, whatever kernels the processor has and whatever the
# seed (test_tiny.py); FLOOR lies so far below that the probability of each promise is about 1.
RECIPE = {"rungs": [4, 10], "batch": 2, "warmup_steps": 2, "learning_rate": 0.05, "augment": False}
FLOOR = 0.4
PICTURES = {"train": 8, "val": 8, "test": 2}


@dataclass(frozen=True)
class Tiny:
    """A main job that takes seconds: what `autoseg.optimize` and the command line are given."""

    data: Path
    space: Path

    @property
    def given(self) -> dict[str, Any]:
        return {
            "data": self.data, "space": self.space, "trials": 4, "min_iou": FLOOR,
            "max_latency": "100ms", "workers": 1, "recipe": RECIPE,
        }  # fmt: skip

    def arguments(self, **changed: Any) -> list[str]:
        """The same for the command line, with some options changed; None leaves one out."""
        given: dict[str, Any] = {**self.given, **changed}
        recipe = given.pop("recipe")
        said = [(name, str(value)) for name, value in given.items() if value is not None]
        said += [("recipe", f"{name}={str(value).lower()}") for name, value in recipe.items()]
        return ["optimize", *(w for n, v in said for w in (f"--{n.replace('_', '-')}", v))]


def write_pictures(root: Path, counts: Mapping[str, int]) -> Path:
    """Bright boxes on dark noise, 96 x 64: what a network learns in a few epochs."""
    rng = np.random.default_rng(0)
    for split, count in counts.items():
        for number in range(count):
            image = rng.integers(0, 80, (64, 96, 3), dtype=np.uint8)
            mask = np.zeros((64, 96), np.uint8)
            y, x = rng.integers(4, 24), rng.integers(4, 44)
            mask[y : y + 32, x : x + 44] = 1
            image[mask == 1] += 150
            for kind, array in (("images", image), ("masks", mask)):
                path = root / kind / split / f"{split}{number}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(array).save(path)
    return root


@pytest.fixture(scope="session", autouse=True)
def short_timings() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        shorten(patch)
        yield


Once = Callable[[str, Callable[[Path], object]], Path]


@pytest.fixture(scope="session")
def once(tmp_path_factory: pytest.TempPathFactory) -> Once:
    """A folder for all workers of this session, made by the one that asks for it first."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base

    def folder_of(name: str, make: Callable[[Path], object]) -> Path:
        folder, made = shared / name, shared / f"{name}.made"
        with (shared / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not made.exists():
                folder.mkdir()
                make(folder)
                made.touch()
        return folder

    return folder_of


@pytest.fixture(scope="session")
def tiny(once: Once) -> Tiny:
    def make(folder: Path) -> None:
        write_pictures(folder / "boxes", PICTURES)
        (folder / "tiny.yaml").write_text(SPACE)

    root = once("tiny", make)
    return Tiny(root / "boxes", root / "tiny.yaml")


def _stat(pid: int) -> list[str]:
    # After the name, which may hold spaces: the state, the parent's id, ...
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


class Processes:
    """What the system says of processes."""

    def below(self, pid: int | None = None, named: str = "") -> list[int]:
        """Living children, and theirs, whose command line holds `named`."""
        parents: dict[int, int] = {}
        for entry in Path("/proc").iterdir():
            try:
                stat = _stat(int(entry.name))
            except (ValueError, OSError):
                continue
            if stat[0] not in "ZX":
                parents[int(entry.name)] = int(stat[1])
        found, todo = [], [pid or os.getpid()]
        while todo:
            here = todo.pop()
            kids = [kid for kid, parent in parents.items() if parent == here]
            found += kids
            todo += kids
        return [pid for pid in found if named in self.command(pid)]

    def command(self, pid: int) -> str:
        try:
            return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
        except OSError:
            return ""

    def alive(self, pids: Iterable[int]) -> list[int]:
        return [pid for pid in pids if Path(f"/proc/{pid}").exists() and _stat(pid)[0] not in "ZX"]

    def cpu_ticks(self, pid: int) -> int:
        """User and system time used so far, in hundredths of a second."""
        stat = _stat(pid)
        return int(stat[11]) + int(stat[12])

    def wait_for(self, what: Callable[[], Any], within_s: float = 60.0) -> Any:
        """The first answer of `what` that is true; a failure when there is none in time."""
        end = time.monotonic() + within_s
        while not (answer := what()):
            assert time.monotonic() < end, "waited too long"
            time.sleep(0.005)
        return answer


@pytest.fixture(scope="session")
def processes() -> Processes:
    if not Path("/proc/self/stat").exists():
        pytest.skip("needs /proc")
    return Processes()


@dataclass(frozen=True)
class Called:
    """What a command gave back."""

    code: int
    stdout: str
    stderr: str


def call(*arguments: str) -> Called:
    """The command line in this process: exit code, and what it wrote."""
    from autoseg.cli import main

    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err), pytest.raises(SystemExit) as exit:
        main(arguments)
    return Called(exit.value.code or 0, out.getvalue(), err.getvalue())


@pytest.fixture(scope="session")
def autoseg_command() -> Callable[..., Called]:
    return call


@dataclass(frozen=True)
class Finished:
    """A run that is done: its folder, and what the command said."""

    folder: Path
    called: Called


@pytest.fixture(scope="session")
def finished(tiny: Tiny, once: Once) -> Finished:
    """One run on this machine through the command line, read by many tests and changed by none."""

    def make(folder: Path) -> None:
        arguments = tiny.arguments(trials=2, results=folder / "results", name="demo")
        called = call(*arguments, "--json")
        (folder / "called.json").write_text(json.dumps(asdict(called)))

    root = once("finished", make)
    called = Called(**json.loads((root / "called.json").read_text()))
    return Finished(root / "results" / "demo", called)
