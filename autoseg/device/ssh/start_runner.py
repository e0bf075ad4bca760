"""Starts the runner on a board over one SSH channel, and copies its file there if missing."""

from __future__ import annotations

import base64
import hashlib
import json
import shlex
import time
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from autoseg.core.errors import DeviceError
from autoseg.core.text import bounded
from autoseg.device import runner
from autoseg.device.rpc_schema import ConnectionLost, NoHeartbeat
from autoseg.device.ssh.channel import ChannelTransport
from autoseg.device.ssh.connection import ConnectError, SshConnection

# A login shell may be fish or csh, so it gets only this constant command; a POSIX shell then reads
# the command line from its input, with well-defined quoting. `read` takes no byte too many.
COMMAND = "exec sh -c 'IFS= read -r line && eval \"$line\"'"
REPLY_PREFIX = b"autoseg:"
# Python starts slowly from a cold SD card; a login shell prints little before it.
BOOT_S = 60.0
MAX_NOISE_BYTES = 64 << 10
MAX_MESSAGE_CHARS = 300

FIND_PYTHON = (
    'for p in {candidates}; do command -v "$p" >/dev/null 2>&1 && break; p=; done; '
    '[ -n "$p" ] || {{ echo \'autoseg:{{"error": "python"}}\'; exit 127; }}; '
    '"$p" -S -c {stage} {digest} {size}; e=$?; '
    'r="$HOME/.cache/autoseg/runner-{digest}.py"; '
    # The runner starts itself again as this, which may be a wrapper script.
    'export AUTOSEG_PYTHON="$p"; '
    'case $e in 0) exec "$p" -P "$r";; 10) exec "$p" "$r";; *) exit $e;; esac\n'
)
# Python 2 must be able to parse this.
BOOT_CODE = (
    "import sys;sys.path[:]=[p for p in sys.path if p];"
    "sys.version_info<(3,8) and (sys.stdout.write("
    '"autoseg:{{\\"error\\": \\"old\\", \\"message\\": \\"%d.%d\\"}}\\n"%sys.version_info[:2])'
    ",sys.stdout.flush(),sys.exit(8));"
    'import base64;exec(base64.b64decode("{boot}"))'
)
SETUP_PYTHON = '"$HOME/.cache/autoseg/venv/bin/python"'


def start(connection: SshConnection, name: str, python: str | None) -> ChannelTransport:
    """A running runner, once the board has confirmed the digest of its file.

    Raises ConnectError where the connection breaks, DeviceError for what the board lacks.
    """
    transport = ChannelTransport(connection, connection.session(COMMAND))
    try:
        _boot(transport, name, python)
    except (ConnectionLost, NoHeartbeat) as error:
        transport.close()
        raise ConnectError(f"{name}: {error}") from error
    except BaseException:
        transport.close()
        raise
    return transport


def quoted(words: Sequence[str]) -> str:
    """Words quoted for a POSIX shell on one line; a line end within a word becomes `$n`."""
    line = " ".join(shlex.quote(word).replace("\n", "'\"$n\"'") for word in words)
    return f"n=$(printf '\\nx'); n=${{n%x}}; exec {line}\n"


def _boot(transport: ChannelTransport, name: str, python: str | None) -> None:
    deadline = time.monotonic() + BOOT_S
    source = _runner()
    transport.send(_script(python).encode())
    if not _answer(transport, name, python, deadline).get("have"):
        transport.send(source)
        if not _answer(transport, name, python, deadline).get("placed"):
            raise DeviceError(
                f"{name}: unexpected output at the start of the runner; check its login shell"
            )


@cache
def _runner() -> bytes:
    return Path(runner.__file__).read_bytes()


def _script(python: str | None) -> str:
    boot = base64.b64encode((Path(__file__).parent / "receive_runner.py").read_bytes()).decode()
    source = _runner()
    return FIND_PYTHON.format(
        candidates=_candidate(python) if python else f"{SETUP_PYTHON} python3",
        stage=shlex.quote(BOOT_CODE.format(boot=boot)),
        digest=hashlib.sha256(source).hexdigest(),
        size=len(source),
    )


def _candidate(python: str) -> str:
    if python.startswith("~/"):
        return f'"$HOME"/{shlex.quote(python[2:])}'
    return shlex.quote(python)


def _answer(
    transport: ChannelTransport, name: str, python: str | None, deadline: float
) -> dict[str, Any]:
    """The next reply of `receive_runner` there: a line with REPLY_PREFIX; skips what precedes."""
    noise = b""
    while True:
        left_s = deadline - time.monotonic()
        if left_s <= 0:
            raise NoHeartbeat(f"no python answered within {BOOT_S:g} s")
        try:
            noise += transport.receive(left_s)
        except TimeoutError:
            continue
        except ConnectionLost as error:
            output = f", after the output {bounded(noise)!r}" if noise else ""
            raise ConnectionLost(f"the start of the runner {error}{output}") from error
        start = noise.find(REPLY_PREFIX)
        end = noise.find(b"\n", start) if start >= 0 else -1
        if end >= 0:
            transport.put_back(noise[end + 1 :])
            return _parsed(noise[start + len(REPLY_PREFIX) : end], name, python)
        if len(noise) > MAX_NOISE_BYTES:
            raise DeviceError(
                f"{name}: its login shell or python writes unexpected output: {bounded(noise)!r}"
            )


def _parsed(line: bytes, name: str, python: str | None) -> dict[str, Any]:
    try:
        answer = json.loads(line)
    except (ValueError, RecursionError):
        answer = None
    if not isinstance(answer, dict):
        raise DeviceError(f"{name}: the reply of its python is no JSON: {bounded(line)!r}")
    if "error" in answer:
        raise DeviceError(_problem(answer, name, python))
    return answer


def _problem(answer: dict[str, Any], name: str, python: str | None) -> str:
    detail = bounded(answer.get("message", ""), MAX_MESSAGE_CHARS)
    which = f"its python {python!r}" if python else "its python3"
    return f"{name}: " + {
        "python": f"{which} is missing; install python3 there, or name one by `python:` in "
        "a profile",
        "old": f"{which} is Python {detail}; autoseg needs 3.8 or newer there: name another by "
        "`python:` in a profile",
        "full": f"its disk is full ({detail}); free some space there",
        "home": f"its login has no home folder ({detail}); make one, as autoseg works in "
        "~/.cache/autoseg",
        "write": f"autoseg cannot write its folder there ({detail}); it works in ~/.cache/autoseg",
    }.get(str(answer["error"]), f"its start failed: {bounded(answer)}")
