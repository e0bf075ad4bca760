"""The `autoseg data` commands."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from autoseg.cli.options import (
    FormatOption,
    GroupColumnOption,
    GroupPatternOption,
    RemapOption,
    SeedOption,
    SplitColumnOption,
)

app = typer.Typer(no_args_is_help=True, help="Look at a data set.")

FolderArgument = Annotated[Path, typer.Argument(help="a folder of pictures and masks")]


@app.command()
def check(
    folder: FolderArgument,
    format: FormatOption = None,
    remap: RemapOption = None,
    split_column: SplitColumnOption = None,
    group_column: GroupColumnOption = None,
    group_pattern: GroupPatternOption = None,
    seed: SeedOption = 0,
) -> int:
    """Say what was understood of a data set, and every fault in it."""
    from autoseg.data.dataset import Reading
    from autoseg.data.folder import inspect
    from autoseg.report.console import inspection_lines

    reading = Reading(format, remap, split_column, group_column, group_pattern, seed)
    inspection = inspect(folder, reading)
    for line in inspection_lines(inspection):
        print(line)
    for warning in inspection.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    for fault in inspection.faults:
        print(f"fault: {fault}", file=sys.stderr)
    return 2 if inspection.faults else 0
