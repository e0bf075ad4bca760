"""Setting up a board: what is asked of it, what would be done, and that it is done once."""

import ensurepip
import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import onnxruntime
import PIL
import pytest

from autoseg.core.errors import DeviceError, InputError
from autoseg.device import setup
from autoseg.device.setup import COPY_WHOLE, BoardState, Ran, Shell, inspect_board, install, steps

NOTHING = {"runtime": None, "pillow": None, "error": "No module named 'onnxruntime'"}


def has(runtime: str, pillow: str | None = "12.0.0") -> dict[str, Any]:
    return {"runtime": runtime, "pillow": pillow, "error": None}


FRESH: dict[str, Any] = {
    "python": "3.11.2",
    "machine": "aarch64",
    "bits": 64,
    "glibc": "2.36",
    "ensurepip": True,
    "cache": "/home/pi/.cache/autoseg",
    "free_bytes": 20 << 30,
    "own": NOTHING,
    "venv": False,
    "venv_python": None,
    "venv_pip": False,
    "inside": None,
}


def board(**changed: Any) -> BoardState:
    return BoardState.model_validate(FRESH | changed)


def here(home: Path) -> Shell:
    """This machine as a board whose login lives in `home`, where modules of its own lie."""
    for name in ("json", "logging", "random"):
        (home / f"{name}.py").write_text("raise SystemExit('not the one of Python')\n")

    def shell(argv: Sequence[str], stdin: bytes = b"", limit_s: float = 60.0) -> Ran:
        environment = {"HOME": str(home), "PATH": os.environ["PATH"], "PIP_CONFIG_FILE": "/none"}
        environment["PIP_INDEX_URL"] = "http://127.0.0.1:9/simple"  # nobody answers there
        try:
            done = subprocess.run(
                list(argv), input=stdin, capture_output=True, env=environment, timeout=limit_s,
                cwd=home,
            )  # fmt: skip
        except FileNotFoundError as error:
            return Ran(127, b"", str(error).encode())
        return Ran(done.returncode, done.stdout, done.stderr)

    return shell


def test_steps_for_a_fresh_board_make_an_environment_and_install_packages() -> None:
    first, second = steps(board())
    assert "virtual environment" in first and "/home/pi/.cache/autoseg/venv" in first
    assert re.search(r"onnxruntime==1\.23\.2, numpy and pillow .*\bpip\b", second)


@pytest.mark.parametrize(
    ("machine", "python", "first"),
    [
        ("aarch64", "3.11.2", "onnxruntime==1.23.2"),
        ("aarch64", "3.8.10", "onnxruntime==1.19.2"),
        ("x86_64", "3.13.0", "onnxruntime==1.31.1"),
        ("x86_64", "3.10.12", "onnxruntime==1.23.2"),
        ("aarch64", "3.14.0", "onnxruntime>=1.16"),
        ("riscv64", "3.11.2", "onnxruntime>=1.16"),
    ],
)
def test_packages_are_those_tested_with_the_processor_and_python(
    machine: str, python: str, first: str
) -> None:
    wanted = setup.packages(board(machine=machine, python=python))[0]
    assert wanted == [first, "numpy", "pillow"]


def dying(folder: Path, code: str) -> None:
    """A package that ends the interpreter at its import."""
    (folder / "onnxruntime").mkdir(parents=True)
    (folder / "onnxruntime" / "__init__.py").write_text(f"import os, signal\n{code}\n")
    (folder / "numpy.py").write_text("")


def test_inspect_board_reports_an_onnxruntime_that_ends_the_interpreter(tmp_path: Path) -> None:
    dying(tmp_path / "site", "os.kill(os.getpid(), signal.SIGILL)")
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nPYTHONPATH={tmp_path}/site exec {sys.executable} "$@"\n')
    python.chmod(0o755)
    found = inspect_board(here(tmp_path), str(python))
    assert found.own.ended and found.ready is None
    assert found.own.error and "SIGILL, illegal instruction" in found.own.error


def test_install_tries_older_runtimes_where_one_ends_the_interpreter(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A board on which every version but 1.20.1 dies, as a Raspberry Pi 4 with 1.21.0."""
    installed = ["1.21.0"]

    def state() -> BoardState:
        fits = installed[-1] == "1.20.1"
        died = NOTHING | {"error": "ends the interpreter (SIGILL)", "ended": True}
        inside = has("1.20.1") if fits else died
        return board(venv=True, venv_python="3.11.2", venv_pip=True, inside=inside)

    def shell(argv: Sequence[str], stdin: bytes = b"", limit_s: float = 60.0) -> Ran:
        installed.extend(word.split("==")[1] for word in argv if "onnxruntime==" in word)
        return Ran(0, b"", b"")

    monkeypatch.setattr(setup, "inspect_board", lambda shell: state())
    told: list[str] = []
    assert steps(state()) and install(shell, state(), told.append).ready == "1.20.1"
    assert installed == ["1.21.0", "1.23.2", "1.20.1"]
    assert any("1.23.2 does not run there" in line and "SIGILL" in line for line in told)


def test_steps_keep_a_working_environment() -> None:
    half = board(venv=True, venv_python="3.11.2", venv_pip=True, inside=NOTHING)
    assert [step.split()[0] for step in steps(half)] == ["install"]


@pytest.mark.parametrize("where", ["own", "inside"])
def test_steps_for_a_board_that_has_all_are_empty(where: str) -> None:
    assert steps(board(**{where: has("1.16.0")})) == []


def test_steps_for_a_board_without_pillow_keep_its_onnxruntime() -> None:
    (only,) = steps(board(inside=has("1.20.1", None), venv=True, venv_python="3.11.2"))
    assert re.search(r"install pillow into it .*\(about 8 MB\)", only)
    first, second = steps(board(own=has("1.20.1", None), machine="armv7l", free_bytes=100 << 20))
    assert "also sees the board's own packages" in first and "install pillow" in second


def test_steps_prefer_the_environment_to_the_python_of_the_system() -> None:
    found = board(
        own=has("1.23.2"), inside=has("1.15.1"), venv=True, venv_python="3.11.2", venv_pip=True
    )
    assert found.ready is None and steps(found)


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"machine": "armv7l", "bits": 32}, "32 bit .armv7l.*64-bit"),
        ({"bits": 32}, "32 bit"),
        ({"python": "3.7.3"}, r"python 3\.7\.3 .*3\.8"),
        ({"free_bytes": 100 << 20}, "100 MiB .*disk.* 600"),
    ],
)
def test_steps_refuse_an_unsupported_board_with_the_reason(
    changed: dict[str, Any], told: str
) -> None:
    with pytest.raises(DeviceError, match=told):
        steps(board(**changed))


def test_steps_refuse_to_install_into_a_python_of_the_profile() -> None:
    with pytest.raises(InputError, match="'/opt/python'.*onnxruntime"):
        steps(board(), "/opt/python")
    with pytest.raises(InputError, match="'/opt/python', which has no Pillow"):
        steps(board(own=has("1.20.0", None)), "/opt/python")
    assert steps(board(own=has("1.20.0")), "/opt/python") == []


def test_look_finds_a_python_below_the_home_folder(tmp_path: Path) -> None:
    (tmp_path / "my python").symlink_to(sys.executable)
    assert inspect_board(here(tmp_path), "~/my python").python.startswith("3.")


def test_look_reports_the_board_and_changes_nothing(tmp_path: Path) -> None:
    found = inspect_board(here(tmp_path), sys.executable)
    assert (found.own.runtime, found.own.pillow) == (onnxruntime.__version__, PIL.__version__)
    assert found.cache == f"{tmp_path}/.cache/autoseg" and not found.venv
    assert not (tmp_path / ".cache" / "autoseg").exists()


def test_look_without_python_names_the_install_command(tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match="'python9'.*sudo apt install python3"):
        inspect_board(here(tmp_path), "python9")


@pytest.mark.parametrize("said", ["", "hello", "{}", '{"cache": "../x"}', "[" * 10_000])
def test_look_refuses_an_invalid_answer(tmp_path: Path, said: str) -> None:
    def shell(argv: Sequence[str], stdin: bytes = b"", limit_s: float = 60.0) -> Ran:
        return Ran(0, said.encode(), b"")

    with pytest.raises(DeviceError):
        inspect_board(shell)


def test_install_failure_names_step_and_reason(tmp_path: Path) -> None:
    (tmp_path / ".cache").write_text("a file where a folder belongs")
    found = inspect_board(here(tmp_path), sys.executable)
    with pytest.raises(DeviceError, match=r"folder .*\.cache"):
        install(here(tmp_path), found, lambda line: None)


def test_fetch_shows_a_wheel_only_when_it_is_complete(tmp_path: Path) -> None:
    path = tmp_path / "a b.whl"
    copy = ["sh", "-c", COPY_WHOLE, "sh", str(path), "5"]
    assert here(tmp_path)(copy, b"half")[0] and not path.exists()
    assert not here(tmp_path)(copy, b"whole")[0] and path.read_bytes() == b"whole"


def wheel(folder: Path, name: str, version: str) -> Path:
    path, package = folder / f"{name}-{version}-py3-none-any.whl", name.replace("pillow", "PIL")
    files = {
        f"{package}/__init__.py": f"__version__ = '{version}'\n",
        f"{package}/Image.py": "",
        "METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        "WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        "RECORD": "",
    }
    with zipfile.ZipFile(path, "w") as archive:
        for file, text in files.items():
            inside = file if "/" in file else f"{name}-{version}.dist-info/{file}"
            archive.writestr(inside, text)
    return path


def wheels_of(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wheels of packages with nothing inside, and of a pip that works, in place of an index."""
    pips = list(Path(ensurepip.__file__).parent.glob("_bundled/pip-*.whl"))
    if not pips:
        pytest.skip("this python has no bundled pip")

    def fetched(found: BoardState, packages: Sequence[str], folder: Path) -> list[Path]:
        pip = folder / pips[0].name
        pip.write_bytes(pips[0].read_bytes())
        return [pip, *(wheel(folder, *f"{name}==12.0.0".split("==")[:2]) for name in packages)]

    monkeypatch.setattr(setup, "fetch", fetched)


@pytest.mark.slow
def test_install_without_network_and_pip_copies_wheels_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheels_of(monkeypatch)
    shell, told = here(tmp_path), []
    monkeypatch.setattr(setup, "PYTHON", os.path.realpath(sys.executable))
    found = inspect_board(shell).model_copy(update={"ensurepip": False})
    # What a setup that was cut off left: pip would take the newest.
    (tmp_path / ".cache" / "autoseg" / "wheels").mkdir(parents=True, mode=0o700)
    (tmp_path / ".cache" / "autoseg").chmod(0o700)
    half = tmp_path / ".cache" / "autoseg" / "wheels" / "numpy-9.0.0-py3-none-any.whl"
    half.write_bytes(b"PK")
    done = install(shell, found, told.append)
    assert done.ready == setup.packages(found)[0][0].split("==")[1] and steps(done) == []
    assert [line.split()[0] for line in told] == ["making", "downloading", "copying", "installing"]
    assert [path.name for path in (tmp_path / ".cache" / "autoseg").iterdir()] == ["venv"]
    assert (tmp_path / ".cache" / "autoseg").stat().st_mode & 0o777 == 0o700


@pytest.mark.slow
def test_install_of_pillow_keeps_the_onnxruntime_of_the_board(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheels_of(monkeypatch)
    python = os.path.realpath(sys.executable)
    monkeypatch.setattr(setup, "PYTHON", python)
    series = "python{}.{}".format(*sys.version_info)
    site = tmp_path / ".local" / "lib" / series / "site-packages"
    for name, version in (("numpy", "1.26.4"), ("onnxruntime", "1.18.0+gpu")):
        (site / name).mkdir(parents=True)
        (site / name / "__init__.py").write_text(f"__version__ = '{version}'\n")
    found = inspect_board(here(tmp_path)).model_copy(update={"ensurepip": False})
    assert found.ready == "1.18.0+gpu" and not found.used.pillow
    done = install(here(tmp_path), found, lambda line: None)
    assert (done.ready, done.used.pillow) == ("1.18.0+gpu", "12.0.0")
    assert done.inside is not None and steps(done) == []


def test_install_falls_back_to_the_newest_where_no_tested_wheel_fits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As a system with an older glibc than the wheels of the tested versions need."""
    asked: list[str] = []

    def refusing(found: BoardState, packages: Sequence[str], folder: Path) -> list[Path]:
        raise DeviceError("no wheels could be downloaded here")

    def shell(argv: Sequence[str], stdin: bytes = b"", limit_s: float = 60.0) -> Ran:
        asked.extend(word for word in argv if word.startswith("onnxruntime"))
        return Ran(int("onnxruntime>=1.16" not in argv), b"", b"ERROR: No matching distribution")

    before = board(venv=True, venv_python="3.11.2", venv_pip=True, inside=NOTHING)
    state = before.model_copy(update={"inside": setup.Imports.model_validate(has("1.17.0"))})
    monkeypatch.setattr(setup, "inspect_board", lambda shell: state)
    monkeypatch.setattr(setup, "fetch", refusing)
    told: list[str] = []
    assert install(shell, before, told.append).ready == "1.17.0"
    assert asked == ["onnxruntime==1.23.2", "onnxruntime>=1.16"]
    assert any("newest" in line for line in told)
