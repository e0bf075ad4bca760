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
DeviceOption = Annotated[
    str, typer.Option(help="local, a profile's name or file, or user@host[:port]")
]
DEVICES = (
    "local, a profile's name or file, or user@host[:port]; given again, boards of one kind that "
    "share the measuring"
)
DevicesOption = Annotated[
    list[str] | None, typer.Option("--device", help=f"{DEVICES}  [default: local]")
]
NeededDevicesOption = Annotated[
    list[str] | None, typer.Option("--device", help=f"{DEVICES}  [required]")
]
SEEN_BY = "as one that it was measured on afterwards sees it"
SeenByOption = Annotated[str | None, typer.Option("--device", help=SEEN_BY)]
AcceptOption = Annotated[
    bool,
    typer.Option("--accept-new-host-key", help="trust a board that is reached for the first time"),
]
DataOption = Annotated[
    Path | None, typer.Option(help="labelled pictures; without it, the synthetic parcels")
]
AugmentOption = Annotated[
    str | None,
    typer.Option(
        help="an augmentation saved by albumentations (.json, .yaml), or package.module:function"
        "  [default: built in]"
    ),
]

# How a data folder is read. A command takes all of them, in this order, by their field names of
# `autoseg.data.dataset.Reading`, and makes one of them.
FormatOption = Annotated[
    str | None, typer.Option(help="the data's format, where it is not recognized as what it is")
]
RemapOption = Annotated[
    str | None, typer.Option(help="a YAML file that merges, renames or drops classes")
]
SplitColumnOption = Annotated[
    str | None, typer.Option(help="the column of index.csv that holds the split")
]
GroupColumnOption = Annotated[
    str | None, typer.Option(help="the column of index.csv that holds the group")
]
GroupPatternOption = Annotated[
    str | None,
    typer.Option(help="a regular expression: what it finds in a picture's name is its group"),
]
SeedOption = Annotated[int, typer.Option(min=0, help="of the split of a folder that has none")]


def run_folder(run: Path) -> Path:
    """The folder of a RunArgument: a path, or a name under results/."""
    here = (run / "run.yaml").exists() or run != Path(run.name)
    return run if here else Path("results") / run
