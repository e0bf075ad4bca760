"""The command line: parses, prints, sets the exit code. stdout is the result, stderr the progress.

Exit codes: 0 the front meets both constraints, 3 nothing meets them, 2 bad input, 1 failure,
130 interrupted (resumable).
"""

from __future__ import annotations

import logging
import signal
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from io import TextIOWrapper
from typing import Any, NoReturn, TextIO

import typer

from autoseg.cli.bundles import bundle, verify
from autoseg.cli.data import app as data_app
from autoseg.cli.devices import app as devices_app
from autoseg.cli.listings import spaces
from autoseg.cli.models import evaluate, measure, predict
from autoseg.cli.output import print_aside, print_json
from autoseg.cli.report import dashboard, report
from autoseg.cli.runs import front, optimize, remeasure
from autoseg.core.errors import AutosegError, InputError
from autoseg.core.process import process_began_at
from autoseg.core.text import terminal_safe

KINDS = ("Interrupted", "InputError", "DeviceError", "CandidateError", "AutosegError")

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Finds the fastest accurate-enough segmentation network for a device.",
)
COMMANDS = (
    optimize, front, report, dashboard, remeasure, spaces, measure, predict, evaluate, bundle,
    verify,
)  # fmt: skip
for command in COMMANDS:
    app.command()(command)
app.add_typer(devices_app, name="devices")
app.add_typer(data_app, name="data")


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """The entry point: errors of the user give no traceback. Always raises SystemExit."""
    for stream in (sys.stdout, sys.stderr):
        # A file name that the terminal's encoding lacks must not end a command.
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    logging.basicConfig(handlers=[_Stderr()], format="%(levelname)s %(name)s: %(message)s")
    logging.getLogger("autoseg").setLevel(logging.INFO)  # the progress of long inspections
    logging.getLogger("autoseg.progress").setLevel(logging.WARNING)  # the panel shows it
    # Of a call from a program, the process is not the command's.
    began_at = process_began_at() if arguments is None else time.monotonic()
    as_json = "--json" in (sys.argv[1:] if arguments is None else arguments)
    try:
        with _sigterm_as_ctrl_c():
            code = app(args=arguments, standalone_mode=False, obj=began_at)
        if code == 130:  # the parser returns this for a KeyboardInterrupt, without a message
            raise KeyboardInterrupt
    except (typer.Abort, KeyboardInterrupt):
        code = _print_error("Interrupted", "interrupted", 130, as_json=as_json)
    except AutosegError as error:
        code = _print_own_error(error, as_json=as_json)
    except Exception as error:  # a usage error of the parser, or a defect of autoseg
        if not hasattr(error, "format_message"):
            if as_json:
                print_json(_failure(type(error).__name__, str(error), 1))
            raise
        code = _print_error("InputError", f"autoseg: {error.format_message()}", 2, as_json=as_json)
    sys.exit(code)


@contextmanager
def _sigterm_as_ctrl_c() -> Iterator[None]:
    """Handles SIGTERM like Ctrl-C: the command reports the interruption and exits with 130."""
    before = signal.getsignal(signal.SIGTERM)
    if before == signal.SIG_DFL:
        signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        if before == signal.SIG_DFL:
            signal.signal(signal.SIGTERM, before)


class _Stderr(logging.StreamHandler[TextIO]):
    """Writes without control sequences, which a name in a message may hold.

    It takes the current sys.stderr, which the live panel replaces to stay in one piece.
    """

    def emit(self, record: logging.LogRecord) -> None:
        self.stream = sys.stderr
        super().emit(record)

    def format(self, record: logging.LogRecord) -> str:
        return terminal_safe(super().format(record))


def _print_own_error(error: AutosegError, *, as_json: bool) -> int:
    # The public name: subclasses of DeviceError are internal.
    kind = next(c.__name__ for c in type(error).__mro__ if c.__name__ in KINDS)
    code = 2 if isinstance(error, InputError) else 130 if kind == "Interrupted" else 1
    result = getattr(error, "result", None)  # what was confirmed before an interruption
    found = result.to_json() if result is not None and as_json else {}
    return _print_error(kind, f"autoseg: {error}", code, found, as_json=as_json)


def _print_error(
    kind: str, line: str, code: int, found: Mapping[str, Any] | None = None, *, as_json: bool
) -> int:
    """Prints the error on stderr, and with --json as one object on stdout; returns the code."""
    print_aside(line)
    if as_json:
        print_json({**(found or {}), **_failure(kind, line.removeprefix("autoseg: "), code)})
    return code


def _failure(kind: str, message: str, code: int) -> dict[str, Any]:
    return {"error": {"kind": kind, "message": message}, "exit_code": code}
