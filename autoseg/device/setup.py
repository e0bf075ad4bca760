"""Installs onnxruntime, numpy and Pillow on a board, in a virtual environment of their own.

`inspect_board` changes nothing, `steps` lists in words what `install` would do.
"""

import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Protocol

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from autoseg.core.errors import DeviceError, InputError
from autoseg.core.text import bounded
from autoseg.device.findings import system_findings, too_old, version
from autoseg.device.runtimes import tested_runtimes
from autoseg.device.ssh.launcher import Ran

# With -I, as a random.py in the home folder must not shadow Python's.
PYTHON = "python3"
NEWEST = "onnxruntime>=1.16"
NEEDED_BYTES, PILLOW_BYTES = 600 << 20, 64 << 20
PIP = ["--no-input", "--disable-pip-version-check", "--only-binary=:all:"]
# A board without a network fails after half a minute instead of ten.
SHORT_TIMEOUT = ["--timeout", "15", "--retries", "1"]

Text = Annotated[str, Field(max_length=2000)]


class Shell(Protocol):
    """Runs a command on the board, each word quoted.

    Raises DeviceError where it fails to run, or does not end within `limit_s`.
    """

    def __call__(self, argv: Sequence[str], stdin: bytes = b"", limit_s: float = 60.0) -> Ran: ...


class _Strict(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True)


class Imports(_Strict):
    """The onnxruntime and the Pillow of an interpreter.

    `error` is that of importing onnxruntime, which may have ended the interpreter.
    """

    runtime: Text | None
    pillow: Text | None
    error: Text | None
    ended: bool = False


class BoardState(_Strict):
    """A board before or after its setup; `own` is of its python, `inside` of the environment."""

    python: Text
    machine: Text
    bits: int
    glibc: Text | None
    ensurepip: bool
    cache: Annotated[str, Field(pattern=r"^/[^\x00-\x1f]{1,1000}$")]
    free_bytes: int
    own: Imports
    venv: bool
    venv_python: Text | None
    venv_pip: bool
    inside: Imports | None

    @property
    def used(self) -> Imports:
        """Those of measurements, where the environment precedes the system's python."""
        return self.own if self.inside is None else self.inside

    @property
    def ready(self) -> str | None:
        """The onnxruntime that measurements use, where it is new enough."""
        runtime = self.used.runtime
        return None if runtime is None or too_old(runtime) else runtime


def inspect_board(shell: Shell, named: str | None = None) -> BoardState:
    """The state of the board; `named` is the python of its profile, then the only one used.

    Raises DeviceError for a board without a working python.
    """
    python = named or PYTHON
    script = (Path(__file__).parent / "inspect_board.py").read_bytes()
    ran = shell([*_words(python), "-"], script, 300)
    if ran.code in (126, 127):
        raise DeviceError(
            f"the board cannot run {python!r} ({bounded(ran.err)}); install it there (sudo apt "
            "install python3), or name another in the profile's `python`"
        )
    lines = ran.out[-100_000:].splitlines()
    try:
        found = BoardState.model_validate_json(lines[-1] if lines else b"")
    except ValidationError as error:
        output = bounded(ran.err or ran.out, 500)
        raise DeviceError(f"{python} on the board did not report its state: {output}") from error
    alone = {"venv": False, "venv_python": None, "venv_pip": False, "inside": None}
    return found.model_copy(update=alone) if named else found


def steps(found: BoardState, named: str | None = None) -> list[str]:
    """The steps of `install` in words; none where the board has all.

    Raises DeviceError for boards that onnxruntime is not built for; InputError where the profile
    names a python, which only its owner changes.
    """
    if found.ready and found.used.pillow:
        return []
    if named:
        lacks = "Pillow" if found.ready else "onnxruntime of 1.16 or newer"
        told = bounded(found.own.error or found.own.runtime)
        raise InputError(
            f"the profile names {named!r}, which has no {lacks}"
            f"{'' if found.ready else f' ({told})'}; install it there, or "
            "remove `python` from the profile, so that setup makes an environment"
        )
    if not found.ready:
        for finding in system_findings(found.machine, found.python, found.bits):
            raise DeviceError(str(finding))
    needed, free = PILLOW_BYTES if found.ready else NEEDED_BYTES, found.free_bytes
    if free < needed:
        text = f"the board has {free >> 20} MiB of free disk, {needed >> 20} are needed"
        raise DeviceError(f"{text}; free some")
    environment = f"make a virtual environment in {found.cache}/venv{_seeing(found)}"
    *others, last = packages(found)[0]
    return [
        *([] if found.venv_python else [environment]),
        f"install {', '.join(others)}{' and ' if others else ''}{last} into it by the board's own "
        "pip; where that reaches no package index, copy the wheels from here "
        f"(about {8 if found.ready else 60} MB)",
    ]


def _seeing(found: BoardState) -> str:
    return " that also sees the board's own packages" if found.ready else ""


def packages(found: BoardState) -> list[list[str]]:
    """What to install: the sets to try, in order.

    An onnxruntime that works is kept. Else there is a set with each that autoseg was tested
    with, or one with the newest.
    """
    if found.ready:
        return [["pillow"]]
    tested = tested_runtimes(found.machine, found.python)
    runtimes = [f"onnxruntime=={version}" for version in tested] or [NEWEST]
    return [[runtime, "numpy", "pillow"] for runtime in runtimes]


def install(shell: Shell, found: BoardState, progress: Callable[[str], None]) -> BoardState:
    """Runs the steps and returns the new state. Raises DeviceError naming the failed step."""
    if found.venv_python is None:
        _make_environment(shell, found, progress)
    for wanted in packages(found):
        try:
            _install_packages(shell, found, wanted, progress)
        except DeviceError as error:
            if found.ready or wanted[0] == NEWEST:
                raise
            progress(f"{error}; trying the newest that the board can install")
            _install_packages(shell, found, [NEWEST, *wanted[1:]], progress)
        done = inspect_board(shell)
        if done.inside is None or not done.inside.ended:
            break
        progress(f"{wanted[0]} does not run there: {bounded(done.inside.error, 300)}")
    return _require_ready(done)


def _make_environment(shell: Shell, found: BoardState, progress: Callable[[str], None]) -> None:
    venv = f"{found.cache}/venv"
    progress(f"making {venv}")
    flags = [
        *(["--clear"] if found.venv else []),
        *([] if found.ensurepip else ["--without-pip"]),
        # Keeps the onnxruntime that the board has, such as a build for its GPU.
        *(["--system-site-packages"] if found.ready else []),
    ]
    _must(shell(["mkdir", "-p", "-m", "700", found.cache]), "making the folder")
    made = shell([PYTHON, "-I", "-m", "venv", *flags, venv], limit_s=600)
    _must(made, "making the virtual environment")


def _install_packages(
    shell: Shell, found: BoardState, packages: Sequence[str], progress: Callable[[str], None]
) -> None:
    inside = f"{found.cache}/venv/bin/python"
    if found.venv_pip or (found.venv_python is None and found.ensurepip):
        progress(f"installing {', '.join(packages)} by the board's own pip")
        pip = [inside, "-I", "-m", "pip", "install", *PIP, *SHORT_TIMEOUT, "--upgrade", *packages]
        ran = shell(pip, limit_s=1800)
        if ran.code == 0:
            return
        progress(f"that failed: {_last(ran)}")
    _copy_wheels(shell, found, packages, progress)


# The size is checked: `cat` takes a lost connection for the end of the file.
COPY_WHOLE = 'cat > "$1.part" && [ "$(wc -c < "$1.part")" -eq "$2" ] && mv "$1.part" "$1"'


def _copy_wheels(
    shell: Shell, found: BoardState, packages: Sequence[str], progress: Callable[[str], None]
) -> None:
    there, inside = f"{found.cache}/wheels", f"{found.cache}/venv/bin/python"
    with tempfile.TemporaryDirectory(prefix="autoseg-wheels-") as folder:
        progress("downloading wheels for the board here")
        wheels = fetch(found, packages, Path(folder))
        size = sum(wheel.stat().st_size for wheel in wheels)
        progress(f"copying {len(wheels)} wheels ({size / 1e6:.0f} MB) to the board")
        try:
            # An interrupted setup may have left a part of a wheel.
            shell(["rm", "-rf", there])
            _must(shell(["mkdir", "-p", "-m", "700", there]), "making the folder")
            for wheel in wheels:
                data, path = wheel.read_bytes(), f"{there}/{wheel.name}"
                copy = ["sh", "-c", COPY_WHOLE, "sh", path, str(len(data))]
                _must(shell(copy, data, 600), f"copying {wheel.name}")
            (pip,) = [wheel.name for wheel in wheels if wheel.name.startswith("pip-")]
            progress("installing them")
            # Runs pip from its wheel: without ensurepip the environment has none.
            words = [inside, f"{there}/{pip}/pip", "install", *PIP, "--no-index", "--upgrade"]
            ran = shell([*words, "--find-links", there, "pip", *packages], limit_s=1800)
            _must(ran, "installing the wheels")
        finally:
            shell(["rm", "-rf", there])


def fetch(found: BoardState, packages: Sequence[str], folder: Path) -> list[Path]:
    """Wheels of packages, pip and their dependencies for the board, downloaded here."""
    if found.glibc is None:
        raise DeviceError(
            "the board's system has no glibc, which the wheels need; connect the board to a "
            "package index, or install onnxruntime there by hand"
        )
    newest = min((*version(found.glibc), 0, 0)[1], 99)
    machine = re.sub(r"\W", "", found.machine)
    names = [f"manylinux_2_{minor}" for minor in range(newest, 16, -1)] + ["manylinux2014"]
    platforms = [f"--platform={name}_{machine}" for name in names]
    series = ".".join(map(str, version(found.python)[:2]))
    # -P: a pip.py of the folder we are called in must not run.
    words = [sys.executable, "-P", "-m", "pip", "download", *PIP, "--quiet", "--dest", str(folder)]
    wanted = [*platforms, "--implementation=cp", f"--python-version={series}", "pip", *packages]
    done = subprocess.run([*words, *wanted], stdin=subprocess.DEVNULL, capture_output=True)
    if done.returncode:
        raise DeviceError(
            f"no wheels could be downloaded here for python {series} on {machine} with glibc "
            f"{bounded(found.glibc)}: {_last(Ran(done.returncode, done.stdout, done.stderr))}"
        )
    return sorted(folder.glob("*.whl"))


def _require_ready(found: BoardState) -> BoardState:
    if found.ready and found.used.pillow:
        return found
    if found.ready:
        raise DeviceError("Pillow is installed on the board, but cannot be imported there")
    text = "onnxruntime is installed on the board, but cannot be used"
    raise DeviceError(f"{text}: {bounded(found.used.error or found.used.runtime, 500)}")


def _words(python: str) -> list[str]:
    """The words that start a python; `~/` needs a shell, as commands run without one."""
    if not python.startswith("~/"):
        return [python]
    return ["sh", "-c", 'p="$HOME/$1"; shift; exec "$p" "$@"', "sh", python[2:]]


def _must(ran: Ran, what: str) -> None:
    if ran.code:
        raise DeviceError(f"{what} on the board failed: {_last(ran)}")


def _last(ran: Ran) -> str:
    """The most telling line: pip's last error, else the last line."""
    lines = [line for line in (ran.err or ran.out).decode(errors="replace").splitlines() if line]
    errors = [line for line in lines if line.startswith("ERROR")]
    return bounded((errors or lines or [f"exit code {ran.code}"])[-1], 500)
