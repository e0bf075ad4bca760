"""`autoseg spaces`: what can be searched."""

from __future__ import annotations

from typing import Annotated

import typer

from autoseg.cli.output import print_table


def spaces(
    name: Annotated[str | None, typer.Argument(help="a space's name or file")] = None,
) -> int:
    """List the search spaces, or show one: its knobs, and how many candidates an effort opens."""
    from autoseg import shipped
    from autoseg.space import EFFORTS, load_space

    if name is None:
        for known in shipped.names("search_spaces"):
            print(known)
        return 0
    space = load_space(name)
    print(f"{space.name}: network {space.network}")
    print_table(
        ["knob", "choices", "baseline", "effort"],
        [[k.name, " ".join(map(str, k.choices)), str(k.baseline), k.effort] for k in space.knobs],
    )
    print("candidates: " + ", ".join(f"{effort} {space.count(effort)}" for effort in EFFORTS))
    return 0
