"""`autoseg report` and `dashboard`: a run as a page or Markdown, or live in a browser."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from autoseg.cli.options import SEEN_BY, JsonOption, RunArgument, run_folder
from autoseg.cli.output import print_aside, print_json, print_lines
from autoseg.core.errors import InputError

if TYPE_CHECKING:
    from autoseg.run.result import Result

FORMATS = ("html", "md")


def report(
    run: RunArgument,
    *,
    compare: Annotated[
        Path | None, typer.Option(help="another run to compare with: its folder or name")
    ] = None,
    device: Annotated[
        list[str] | None,
        typer.Option(
            help=f"{SEEN_BY}; given again: the device of the other run, or a second device of "
            "this run to compare with"
        ),
    ] = None,
    format: Annotated[str, typer.Option(help="html or md")] = "html",
    out: Annotated[
        Path | None,
        typer.Option("-o", "--out", help="the file  [default: report.html in the run's folder]"),
    ] = None,
    as_json: JsonOption = False,
) -> int:
    """Write a run's report, live or finished, and print its path."""
    from autoseg.run.result import Result

    if format not in FORMATS:
        raise InputError(f"--format is one of {', '.join(FORMATS)}, got {format!r}")
    devices = [*(device or []), None, None]
    if len(devices) > 4:
        raise InputError(f"--device is given at most twice, got {len(devices) - 2}")
    one = Result.from_run(run_folder(run), devices[0])
    beside = compare or (run if devices[1] else None)
    other = Result.from_run(run_folder(beside), devices[1]) if beside else None
    path = out or one.files / _name(other, format)
    if path.is_dir():
        raise InputError(f"-o is the report's file, got the folder {str(path)!r}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _write(one, other, path, format, alone=out is not None)
    except OSError as error:
        raise InputError(
            f"the report cannot be written to {path} ({error.strerror}): choose another file "
            "with -o"
        ) from error
    print_json({"file": str(path)}) if as_json else print_lines([str(path)])
    return 0


def _name(other: Result | None, format: str) -> str:
    if other is None:
        return f"report.{format}"
    named = f"{other.folder.name}-{other.device}" if other.device else other.folder.name
    # A device's name may hold slashes.
    safe = re.sub(r"[^\w@.:+ -]", "_", named)
    return f"report-vs-{safe}.{format}"


def _write(one: Result, other: Result | None, path: Path, format: str, *, alone: bool) -> None:
    """A page with a path of its own is `alone`, without figures; Markdown has them beside it."""
    from autoseg.report import figure_files, markdown, page

    if other is not None and format == "md":
        markdown.write_markdown_comparison(one, other, path)
    elif format == "md":
        markdown.write_markdown(one, path)
    elif other is not None:
        page.write_comparison(one, other, path)
        if not alone:
            figure_files.write_fronts(one, other, path)
    else:
        page.write_page(one, path)
        if not alone:
            figure_files.write_figures(one, path)


def dashboard(
    run: RunArgument,
    *,
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="the port to listen on; 0 takes a free one")
    ] = 8080,
    host: Annotated[
        str, typer.Option(help="the address to listen on; the default serves this machine only")
    ] = "127.0.0.1",
    open_browser: Annotated[
        bool, typer.Option("--open", help="also open it in the browser")
    ] = False,
) -> int:
    """Show a run, live or finished, in Optuna's dashboard, until Ctrl-C."""
    from autoseg.report.dashboard.server import Dashboard

    logging.getLogger("optuna_dashboard").setLevel(logging.ERROR)
    folder = run_folder(run)
    with Dashboard(folder, host, port) as served:
        print(served.address, flush=True)
        print_aside(f"showing the run {folder.resolve().name}; Ctrl-C stops it")
        if not served.private:
            print_aside("warning: there is no password: all who reach this port can see the run")
        if open_browser:
            import webbrowser

            webbrowser.open(served.address)
        try:
            served.serve_forever()
        except KeyboardInterrupt:
            print_aside("")
    return 0
