"""`autoseg report`: a run's report as a page or as Markdown, or two runs side by side."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from autoseg.cli.options import SEEN_BY, JsonOption, RunArgument, run_folder
from autoseg.cli.output import print_json, print_lines
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
        if other is not None:
            _compare(one, other, path, format, alone=out is not None)
        else:
            _write(one, path, format, alone=out is not None)
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


def _compare(one: Result, other: Result, path: Path, format: str, *, alone: bool) -> None:
    from autoseg.report import markdown, page
    from autoseg.report.figure_files import write_fronts

    if format == "md":
        markdown.write_markdown_comparison(one, other, path)
        return
    page.write_comparison(one, other, path)
    if not alone:
        write_fronts(one, other, path)


def _write(result: Result, path: Path, format: str, *, alone: bool) -> None:
    """A page with a path of its own is `alone`, without figures; Markdown has them beside it."""
    from autoseg.report import markdown, page
    from autoseg.report.figure_files import write_figures

    if format == "md":
        markdown.write_markdown(result, path)
        return
    page.write_page(result, path)
    if not alone:
        write_figures(result, path)
