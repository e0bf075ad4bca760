"""Versions of onnxruntime that autoseg was tested with, and what to do where one does not fit.

A library that was built for another processor ends the interpreter at its import: onnxruntime
1.21.0 does on the Cortex-A72 of a Raspberry Pi 4 (microsoft/onnxruntime#23957, #24112).
"""

from __future__ import annotations

import functools
import os
import platform
import signal
import subprocess
import sys

from autoseg.core.errors import DeviceError
from autoseg.device import runner

# The preferred one first. All were tested with Python 3.11, those of aarch64 on an emulated
# Cortex-A72; 1.21.0 and 1.31.1 end the interpreter there.
TESTED = {
    "aarch64": ("1.23.2", "1.20.1", "1.19.2"),
    "x86_64": ("1.31.1", "1.23.2", "1.20.1", "1.19.2"),
}
# The first and the last Python 3 for which each has a wheel.
PYTHONS = {"1.31.1": (11, 14), "1.23.2": (10, 13), "1.20.1": (10, 13), "1.19.2": (8, 12)}


def tested_runtimes(machine: str, python: str) -> list[str]:
    """Tested versions for a processor and a Python, the preferred one first; maybe none."""
    major, minor = (*python.split("."), "")[:2]
    if major != "3" or not minor.isdigit():
        return []
    fits = {name: first <= int(minor) <= last for name, (first, last) in PYTHONS.items()}
    return [name for name in TESTED.get(machine, ()) if fits[name]]


def other_versions(machine: str, python: str, told: str) -> str:
    """The command that installs another version than the one that `told` names."""
    first, *rest = [
        name for name in tested_runtimes(machine, python) if f" {name} " not in told
    ] or ["1.20.1"]
    more = f", or where that one ends too, {' or '.join(rest)}" if rest else ""
    return f"pip install onnxruntime=={first}{more}"


@functools.cache
def require_importable() -> None:
    """Tries in a child process to import onnxruntime. Raises DeviceError where that ends it."""
    if "onnxruntime" in sys.modules or not sys.executable:
        return
    paths = os.pathsep.join(path or os.getcwd() for path in sys.path)
    code = subprocess.run(
        # -P: a numpy.py of the folder we are called in must not run.
        [sys.executable, "-P", "-c", "import onnxruntime"],
        env={**os.environ, "PYTHONPATH": paths}, stdin=subprocess.DEVNULL, capture_output=True,
    ).returncode  # fmt: skip
    if code < 0:  # what it raises is raised here as well
        told = runner.ended_import("onnxruntime", signal.Signals(-code))
        fix = other_versions(platform.machine(), platform.python_version(), told)
        raise DeviceError(f"this machine: {told}; install another version: {fix}")
