"""Arguments and options that several commands take."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer

from autoseg.run.declaration import OPTIONS, default_text, flag

Command = Callable[..., int]

RunArgument = Annotated[Path, typer.Argument(help="a run's folder, or its name under results/")]
OurModelArgument = Annotated[
    Path, typer.Argument(help="a model of autoseg (uint8 frame in, class map out)")
]
JsonOption = Annotated[bool, typer.Option("--json", help="machine-readable output on stdout")]
DeviceOption = Annotated[
    str, typer.Option(help="local, a profile's name or file, or user@host[:port]")
]
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


def declared(name: str) -> Any:
    """The command-line option of a field of the declaration, with its help and default."""
    option, default = OPTIONS[name], default_text(name)
    shown = f"{option.help}  [default: {default}]" if default else option.help
    return typer.Option(flag(name), metavar=option.metavar, help=shown)


DataOption = Annotated[Path | None, declared("data")]
AugmentOption = Annotated[str | None, declared("augment")]
SeedOption = Annotated[
    int, typer.Option(min=0, help="for splits of a folder without any, and for random draws")
]
# The types of declared options that are no text.
TYPES: Mapping[str, Any] = {
    "min_iou": float, "trials": int, "workers": int, "seed": int,
    "gpus": int, "gpus_per_trial": float,
    "data": Path, "device": list[str], "recipe": list[str],
}  # fmt: skip
# Types and defaults of the declared options, and of those that say how a data folder is read.
Options = Mapping[str, tuple[Any, Any]]
DECLARED: Options = {
    name: (Annotated[TYPES.get(name, str) | None, declared(name)], None) for name in OPTIONS
}
FORMATS = ("format", "remap", "split_column", "group_column", "group_pattern")
READING: Options = {**{name: DECLARED[name] for name in FORMATS}, "seed": (SeedOption, 0)}


def reads_data(command: Command) -> Command:
    """Decorates a command: its keyword `reading` is made from the options for reading data."""

    def reading(**given: Any) -> Any:
        from autoseg.data.dataset import Reading

        return Reading(**given)

    return _with_options(command, READING, "reading", reading)


def declares(command: Command) -> Command:
    """Decorates a command: its keyword `given` holds the values of all declared options."""
    return _with_options(command, DECLARED, "given", dict)


def _with_options(
    command: Command, options: Options, keyword: str, gather: Callable[..., Any]
) -> Command:
    """The command with options in place of a keyword, whose value is gathered from theirs."""

    def parsed(**given: Any) -> int:
        values = {name: given.pop(name) for name in options}
        return command(**given, **{keyword: gather(**values)})

    command.__annotations__.pop(keyword)  # the parser cannot know its type
    hints = get_type_hints(command, include_extras=True)
    only = inspect.Parameter.KEYWORD_ONLY
    added = [
        inspect.Parameter(name, only, annotation=hint, default=default)
        for name, (hint, default) in options.items()
    ]
    parameters: list[inspect.Parameter] = []
    for name, own in inspect.signature(command).parameters.items():
        is_gathered = name == keyword
        parameters += added if is_gathered else [own.replace(annotation=hints[name], kind=only)]
    parsed.__name__, parsed.__doc__ = command.__name__, command.__doc__
    parsed.__annotations__ = {each.name: each.annotation for each in parameters}
    vars(parsed)["__signature__"] = inspect.Signature(parameters)
    return parsed


def run_folder(run: Path) -> Path:
    """The folder of a RunArgument: a path, or a name under results/."""
    here = (run / "run.yaml").exists() or run != Path(run.name)
    return run if here else Path("results") / run
