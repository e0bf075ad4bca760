"""The command line: parses, prints, sets the exit code. stdout is the result, stderr the progress.

Exit codes: 0 the front meets both constraints, 3 nothing meets them, 2 bad input, 1 failure,
130 interrupted (resumable).
"""

from __future__ import annotations

import logging
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NoReturn, TextIO

import typer

from autoseg.cli.bundles import bundle, verify
from autoseg.cli.dashboard import dashboard
from autoseg.cli.data import app as data_app
from autoseg.cli.devices import app as devices_app
from autoseg.cli.listings import spaces
from autoseg.cli.models import evaluate, measure, predict
from autoseg.cli.report import report
from autoseg.cli.runs import front, optimize, remeasure
from autoseg.records import AutosegError, InputError

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
    """The entry point: no traceback for anything that a user did. Always raises SystemExit."""
    handler = _Stderr()
    handler.setFormatter(logging.Formatter("%(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(handlers=[handler])
    logging.getLogger("autoseg").setLevel(logging.INFO)  # how far a long inspection is
    try:
        with _ended_as_by_ctrl_c():
            code = app(args=arguments, standalone_mode=False)
        if code == 130:  # the parser makes that of a KeyboardInterrupt, and says nothing
            raise KeyboardInterrupt
    except (typer.Abort, KeyboardInterrupt):
        print("interrupted", file=sys.stderr)
        code = 130
    except AutosegError as error:
        code = _report(error)
    except Exception as error:  # what is left is a usage error of the parser, or a defect of ours
        if not hasattr(error, "format_message"):
            raise
        print(f"autoseg: {error.format_message()}", file=sys.stderr)
        code = 2
    sys.exit(code)


@contextmanager
def _ended_as_by_ctrl_c() -> Iterator[None]:
    """Meanwhile SIGTERM is Ctrl-C, so that whatever it ends says so and exits with 130."""
    before = signal.getsignal(signal.SIGTERM)
    if before == signal.SIG_DFL:
        signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        if before == signal.SIG_DFL:
            signal.signal(signal.SIGTERM, before)


class _Stderr(logging.StreamHandler[TextIO]):
    """Writes to what sys.stderr is now: the live panel puts itself there, to stay in one piece."""

    def emit(self, record: logging.LogRecord) -> None:
        self.stream = sys.stderr
        super().emit(record)


def _report(error: AutosegError) -> int:
    print(f"autoseg: {error}", file=sys.stderr)
    if isinstance(error, InputError):
        return 2
    return 130 if type(error).__name__ == "Interrupted" else 1
