"""`autoseg spaces`: lists the search spaces, or shows one."""

from __future__ import annotations

from typing import Annotated

import typer

from autoseg.cli.options import JsonOption
from autoseg.cli.output import print_json, print_lines, print_table
from autoseg.core import yaml_files
from autoseg.core.serialize import to_json


def spaces(
    name: Annotated[str | None, typer.Argument(help="a space's name or file")] = None,
    *,
    as_json: JsonOption = False,
) -> int:
    """List the search spaces, or show one: its knobs and the candidates of each effort."""
    from autoseg.networks.space import EFFORTS
    from autoseg.networks.space_file import load_space

    if name is None:
        known = yaml_files.names("search_spaces")
        print_json({"spaces": [*known]}) if as_json else print_lines(known)
        return 0
    space = load_space(name)
    counts = {effort: space.count(effort) for effort in EFFORTS}
    if as_json:
        knobs = [{**to_json(knob), "choices": [*knob.choices]} for knob in space.knobs]
        print_json(
            {"name": space.name, "network": space.network, "knobs": knobs, "candidates": counts}
        )
        return 0
    print_lines([f"{space.name}: network {space.network}"])
    print_table(
        ["knob", "choices", "baseline", "effort"],
        [[k.name, " ".join(map(str, k.choices)), str(k.baseline), k.effort] for k in space.knobs],
    )
    print("candidates: " + ", ".join(f"{effort} {count}" for effort, count in counts.items()))
    return 0
