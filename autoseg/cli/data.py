"""The `autoseg data` commands."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from autoseg.cli.options import GroupColumnOption, SplitColumnOption

app = typer.Typer(no_args_is_help=True, help="Look at a data set.")

FolderArgument = Annotated[Path, typer.Argument(help="a folder with images/ and masks/")]


@app.command()
def check(
    folder: FolderArgument,
    split_column: SplitColumnOption = None,
    group_column: GroupColumnOption = None,
) -> int:
    """Say what was understood of a data set, and every fault in it."""
    from autoseg.data.dataset import Reading
    from autoseg.data.folder import inspect
    from autoseg.report.console import inspection_lines

    reading = Reading(split_column=split_column, group_column=group_column)
    inspection = inspect(folder, reading)
    for line in inspection_lines(inspection):
        print(line)
    for warning in inspection.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    for fault in inspection.faults:
        print(f"fault: {fault}", file=sys.stderr)
    return 2 if inspection.faults else 0
