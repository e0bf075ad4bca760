"""Arguments and options that several commands take."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer

from autoseg.run.declaration import OPTIONS, default_text, flag

RunArgument = Annotated[Path, typer.Argument(help="a run's folder, or its name under results/")]
OurModelArgument = Annotated[
    Path, typer.Argument(help="a model of autoseg (uint8 frame in, class map out)")
]
ResultsOption = Annotated[Path, typer.Option(help="the folder of all runs")]
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
SEEN_BY = "show the view of another device that the run was measured on (remeasure)"
SeenByOption = Annotated[str | None, typer.Option("--device", help=SEEN_BY)]
AcceptOption = Annotated[
    bool,
    typer.Option(
        "--accept-new-host-key", help="accept the host key of a board at the first connection"
    ),
]
DataOption = Annotated[Path | None, declared("data")]
AugmentOption = Annotated[str | None, declared("augment")]

FormatOption = Annotated[str | None, declared("format")]
RemapOption = Annotated[str | None, declared("remap")]
SplitColumnOption = Annotated[str | None, declared("split_column")]
GroupColumnOption = Annotated[str | None, declared("group_column")]
GroupPatternOption = Annotated[str | None, declared("group_pattern")]
SeedOption = Annotated[
    int, typer.Option(min=0, help="for splits of a folder without any, and for random draws")
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
    """Decorates a command: its keyword `reading` is made from the options for reading data."""

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
