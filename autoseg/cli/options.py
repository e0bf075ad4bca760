"""Arguments and options that several commands take."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from autoseg.run.declaration import OPTIONS, default_text, flag

RunArgument = Annotated[Path, typer.Argument(help="a run's folder, or its name under results/")]
OurModelArgument = Annotated[
    Path, typer.Argument(help="a model of ours (uint8 frame in, class map out)")
]
ResultsOption = Annotated[Path, typer.Option(help="where runs are kept")]
JsonOption = Annotated[bool, typer.Option("--json", help="machine-readable output on stdout")]
DeviceOption = Annotated[
    str, typer.Option(help="local, a profile's name or file, or user@host[:port]")
]


def declared(name: str) -> Any:
    """The command-line option of a field of the declaration, with its help and default."""
    option, default = OPTIONS[name], default_text(name)
    shown = f"{option.help}  [default: {default}]" if default else option.help
    return typer.Option(flag(name), metavar=option.metavar, help=shown)


DevicesOption = Annotated[list[str] | None, declared("device")]
NeededDevicesOption = Annotated[
    list[str] | None, typer.Option("--device", help=f"{OPTIONS['device'].help}  [required]")
]
SEEN_BY = "as one that it was measured on afterwards sees it"
SeenByOption = Annotated[str | None, typer.Option("--device", help=SEEN_BY)]
AcceptOption = Annotated[
    bool,
    typer.Option("--accept-new-host-key", help="trust a board that is reached for the first time"),
]
DataOption = Annotated[Path | None, declared("data")]

# How a data folder is read. A command takes all of them, in this order, by their field names of
# `autoseg.data.dataset.Reading`, and makes one of them.
FormatOption = Annotated[str | None, declared("format")]
RemapOption = Annotated[str | None, declared("remap")]
SplitColumnOption = Annotated[str | None, declared("split_column")]
GroupColumnOption = Annotated[str | None, declared("group_column")]
GroupPatternOption = Annotated[str | None, declared("group_pattern")]
SeedOption = Annotated[int, typer.Option(min=0, help="of the split of a folder that has none")]


def run_folder(run: Path) -> Path:
    """The folder of a RunArgument: a path, or a name under results/."""
    here = (run / "run.yaml").exists() or run != Path(run.name)
    return run if here else Path("results") / run
