"""Arguments and options that several commands take."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, get_type_hints

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
SeedOption = Annotated[
    int, typer.Option(min=0, help="of the split of a folder that has none, and of draws")
]
# How a data folder is read, by the fields of `autoseg.data.dataset.Reading`.
READING: dict[str, tuple[Any, Any]] = {
    "format": (FormatOption, None),
    "remap": (RemapOption, None),
    "split_column": (SplitColumnOption, None),
    "group_column": (GroupColumnOption, None),
    "group_pattern": (GroupPatternOption, None),
    "seed": (SeedOption, 0),
}


def reads_data(command: Callable[..., int]) -> Callable[..., int]:
    """A command whose keyword `reading` is made from the options that say how data are read."""

    def parsed(**given: Any) -> int:
        from autoseg.data.dataset import Reading

        reading = Reading(**{name: given.pop(name) for name in READING})
        return command(**given, reading=reading)

    command.__annotations__.pop("reading")  # the parser cannot know its type
    hints = get_type_hints(command, include_extras=True)
    keyword = inspect.Parameter.KEYWORD_ONLY
    own = [
        parameter.replace(annotation=hints[name], kind=keyword)
        for name, parameter in inspect.signature(command).parameters.items()
        if name != "reading"
    ]
    options = [
        inspect.Parameter(name, keyword, annotation=hint, default=default)
        for name, (hint, default) in READING.items()
    ]
    parsed.__name__, parsed.__doc__ = command.__name__, command.__doc__
    parsed.__annotations__ = {**hints, **{name: hint for name, (hint, _) in READING.items()}}
    vars(parsed)["__signature__"] = inspect.Signature([*own, *options])
    return parsed


def run_folder(run: Path) -> Path:
    """The folder of a RunArgument: a path, or a name under results/."""
    here = (run / "run.yaml").exists() or run != Path(run.name)
    return run if here else Path("results") / run
