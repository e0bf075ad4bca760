"""Runs on a board before its setup, changes nothing, and prints its state as one line of JSON.

`python - < inspect_board.py`, Python 3.6 and the standard library only.
"""

import sys

if __name__ == "__main__":
    # A json.py in the home folder must not be imported.
    sys.path[:] = [folder for folder in sys.path if folder]

import json
import os
import platform
import shutil
import signal
import struct
import subprocess
from typing import Dict, Union  # noqa: UP035

Imports = Dict[str, Union[str, bool, None]]  # noqa: UP006, UP007
ILLEGAL = ", illegal instruction: this build does not fit the processor"
CODE = """
import json, numpy, onnxruntime
found = {"runtime": onnxruntime.__version__, "pillow": None}
try:
    import PIL.Image
    found["pillow"] = PIL.__version__
except Exception:
    pass
print(json.dumps(found))
"""


def own() -> Imports:
    """The onnxruntime and the Pillow of this interpreter.

    In a fork: a library for another processor kills the process that imports it. Not by starting
    sys.executable: a wrapper around it may set the paths of libraries.
    """
    ours, theirs = os.pipe()
    pid = os.fork()
    if not pid:
        os.dup2(theirs, 1)
        code = 1
        try:
            exec(CODE)
            code = 0
        except BaseException as failure:
            print(f"{type(failure).__name__}: {failure}")
        finally:
            sys.stdout.flush()
            os._exit(code)
    os.close(theirs)
    with os.fdopen(ours, "rb") as pipe:
        output = pipe.read()
    status = os.waitpid(pid, 0)[1]
    code = -os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)
    return imports(code, output, output)


def of(python: str) -> Imports:
    """Those of another interpreter."""
    try:
        # Not in the home folder, where a numpy.py would shadow numpy.
        done = subprocess.run([python, "-c", CODE], capture_output=True, timeout=120, cwd="/")
    except Exception as failure:
        return missing(str(failure)[:500])
    return imports(done.returncode, done.stdout, done.stderr)


def imports(code: int, output: bytes, errors: bytes) -> Imports:
    lines = output.decode(errors="replace").splitlines()
    if code == 0 and lines:
        return dict(json.loads(lines[-1]), error=None, ended=False)
    if code < 0:
        how = signal.Signals(-code).name + ILLEGAL * (-code == signal.SIGILL)
        error = f"importing numpy and onnxruntime ends the interpreter ({how})"
        return missing(error, ended=True)
    lines = errors.decode(errors="replace").strip().splitlines() or [f"it ended with {code}"]
    return missing(lines[-1][:500])


def missing(error: str, ended: bool = False) -> Imports:
    return {"runtime": None, "pillow": None, "error": error, "ended": ended}


def runs(*words: str) -> bool:
    try:
        done = subprocess.run(
            words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=60
        )
    except Exception:
        return False
    return done.returncode == 0


def main() -> None:
    home = os.path.expanduser("~")
    cache = os.path.join(home, ".cache", "autoseg")
    venv = os.path.join(cache, "venv")
    python = os.path.join(venv, "bin", "python")
    there = runs(python, "-c", "")
    facts = {
        "python": platform.python_version(),
        "machine": platform.machine(),
        "bits": struct.calcsize("P") * 8,
        "glibc": platform.libc_ver()[1] if platform.libc_ver()[0] == "glibc" else None,
        "ensurepip": runs(sys.executable, "-I", "-c", "import ensurepip"),
        "cache": cache,
        "free_bytes": shutil.disk_usage(home).free,
        "own": own(),
        "venv": os.path.lexists(venv),
        "venv_python": platform.python_version() if there else None,
        "venv_pip": there and runs(python, "-I", "-m", "pip", "--version"),
        "inside": of(python) if there else None,
    }
    print(json.dumps(facts))


if __name__ == "__main__":
    main()
