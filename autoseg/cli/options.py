"""Arguments and options that several commands take."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

RunArgument = Annotated[Path, typer.Argument(help="a run's folder, or its name under results/")]
OurModelArgument = Annotated[
    Path, typer.Argument(help="a model of ours (uint8 frame in, class map out)")
]
ResultsOption = Annotated[Path, typer.Option(help="where runs are kept")]
JsonOption = Annotated[bool, typer.Option("--json", help="machine-readable output on stdout")]
DeviceOption = Annotated[str, typer.Option(help="local, a profile's name or a profile's file")]
DataOption = Annotated[
    Path | None, typer.Option(help="labelled pictures; without it, the synthetic parcels")
]

# How a data folder is read: the fields of `autoseg.data.dataset.Reading`.
SplitColumnOption = Annotated[
    str | None, typer.Option(help="the column of index.csv that holds the split")
]
GroupColumnOption = Annotated[
    str | None, typer.Option(help="the column of index.csv that holds the group")
]
