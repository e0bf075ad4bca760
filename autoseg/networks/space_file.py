"""Search spaces as YAML files: reading one, and all its faults with their lines."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from autoseg import networks
from autoseg.core import yaml_files
from autoseg.core.errors import InputError
from autoseg.core.units import Choice, parse_hw
from autoseg.core.yaml_files import Fault, did_you_mean
from autoseg.networks.space import (
    INPUT_KNOBS,
    Effort,
    Knob,
    SearchSpace,
    Stage,
    listed,
    normal_choice,
)

_Knobs = Mapping[str, Mapping[Any, Any]]


def load_space(name_or_path: str | Path) -> SearchSpace:
    """The space of a shipped name (`fast_scnn`) or of a YAML file.

    Raises InputError with all faults of the file at once, each with its line and the fix.
    """
    path = yaml_files.find("search_spaces", name_or_path)
    return _space(path.stem, yaml_files.load(path, _SpaceFile, _faults))


class _KnobFile(BaseModel):
    """The shape only; the values are checked by `_knob_faults`."""

    model_config = ConfigDict(extra="forbid")
    choices: list[Any] = Field(min_length=1)
    baseline: Any
    effort: Effort
    stage: Stage = "build"
    when: dict[str, Any] = {}


class _SpaceFile(BaseModel):
    model_config = ConfigDict(extra="forbid")
    network: str
    knobs: dict[str, _KnobFile]
    recipe: dict[str, Any] = {}


def _space(name: str, file: _SpaceFile) -> SearchSpace:
    knobs = [
        Knob(
            knob,
            tuple(normal_choice(knob, choice) for choice in body.choices),
            normal_choice(knob, body.baseline),
            body.effort,
            stage=body.stage,
            when=tuple((other, normal_choice(other, v)) for other, v in body.when.items()),
        )
        for knob, body in file.knobs.items()
    ]
    if "channels" not in file.knobs:
        knobs.append(Knob("channels", (3,), 3, "expert"))
    return SearchSpace(name, file.network, tuple(knobs), file.recipe)


def _faults(data: Any) -> Iterator[Fault]:
    """The rules beyond the shape, as far as the shape lets them be checked."""
    if not isinstance(data, Mapping) or not isinstance(data.get("knobs"), Mapping):
        return
    bodies = {str(n): b if isinstance(b, Mapping) else {} for n, b in data["knobs"].items()}
    for name, body in bodies.items():
        yield from _knob_faults(name, body)
        yield from _stage_faults(name, body)
        yield from _when_faults(name, body, bodies)
    if isinstance(data.get("network"), str):
        yield from _network_faults(data["network"], bodies)


def _knob_faults(name: str, body: Mapping[Any, Any]) -> Iterator[Fault]:
    choices: list[Choice] = []
    for index, value in enumerate(_written_choices(body)):
        try:
            choice = normal_choice(name, value)
        except InputError as error:
            yield ("knobs", name, "choices", index), str(error)
            continue
        if choice in choices:
            yield ("knobs", name, "choices", index), f"{value!r} stands twice; remove one"
        choices.append(choice)
    if "baseline" not in body:
        return
    try:
        baseline = normal_choice(name, body["baseline"])
        if choices and baseline not in choices:
            rule = f"must be one of the choices {listed(choices)}, got {body['baseline']!r}"
            yield ("knobs", name, "baseline"), rule
    except InputError as error:
        yield ("knobs", name, "baseline"), str(error)


def _stage_faults(name: str, body: Mapping[Any, Any]) -> Iterator[Fault]:
    stage = body.get("stage")
    if name == "out_stride":
        yield ("knobs", name), "nothing applies this knob yet; remove it"
    elif name in INPUT_KNOBS and stage not in (None, "input"):
        yield ("knobs", name, "stage"), f"{name} is always of stage input; remove `stage`"
    elif name not in INPUT_KNOBS and stage == "input":
        rule = f"only {listed(INPUT_KNOBS)} are of stage input; choose another stage"
        yield ("knobs", name, "stage"), rule
    elif stage == "compress":
        yield ("knobs", name, "stage"), "nothing compresses networks yet; remove the knob"


def _when_faults(name: str, body: Mapping[Any, Any], bodies: _Knobs) -> Iterator[Fault]:
    when = body.get("when")
    if not isinstance(when, Mapping):
        return
    if name in INPUT_KNOBS:
        yield ("knobs", name, "when"), f"every candidate has {name}; remove `when`"
    before = list(bodies)[: list(bodies).index(name)]
    for other, value in when.items():
        place = ("knobs", name, "when", other)
        if other not in bodies:
            hint = did_you_mean(str(other), before)
            yield place, f"there is no such knob{hint}; it may be {listed(before)}"
        elif other not in before:
            # So no circle can arise, and a file reads from top to bottom.
            yield place, f"a knob depends only on knobs above it; move {other} up, or remove this"
        elif fault := _value_fault(other, value, bodies[other]):
            yield place, fault


def _value_fault(knob: str, value: Any, body: Mapping[Any, Any]) -> str | None:
    choices: list[Choice] = []
    for choice in _written_choices(body):
        with suppress(InputError):  # reported at the choice
            choices.append(normal_choice(knob, choice))
    try:
        has_it = not choices or normal_choice(knob, value) in choices
    except InputError as error:
        return str(error)
    return None if has_it else f"must be one of the choices {listed(choices)}, got {value!r}"


def _written_choices(body: Mapping[Any, Any]) -> list[Any]:
    written = body.get("choices")
    return written if isinstance(written, list) else []


def _network_faults(network: str, bodies: _Knobs) -> Iterator[Fault]:
    """Knobs of stage `build` against the arguments of the network's builder."""
    if "resolution" not in bodies:
        yield ("knobs", "resolution"), "is required: the size of the input; add it"
    try:
        parameters = inspect.signature(networks.builder(network)).parameters
        known = networks.knobs_of(network)
    except InputError as error:
        yield ("network",), str(error)
        return
    yield from _stride_faults(networks.stride_of(network), bodies.get("resolution", {}))
    built = [
        name
        for name, body in bodies.items()
        if name not in INPUT_KNOBS and body.get("stage", "build") == "build"
    ]
    for name in built:
        if name not in known and "**" not in known:
            hint = did_you_mean(name, known)
            yield ("knobs", name), f"{network} takes no such knob{hint}; it takes {listed(known)}"
    for name in known:
        if name == "**" or parameters[name].default is not inspect.Parameter.empty:
            continue
        if name not in built:
            yield ("knobs", name), f"{network} cannot be built without it; add it"
        elif bodies[name].get("when"):
            rule = f"{network} cannot be built without {name}; remove `when`"
            yield ("knobs", name, "when"), rule


def _stride_faults(stride: int, body: Mapping[Any, Any]) -> Iterator[Fault]:
    """Resolutions that the network's stride does not divide, or below twice the stride."""
    for index, value in enumerate(_written_choices(body)):
        with suppress(InputError):  # reported by `_knob_faults`
            hw = parse_hw(normal_choice("resolution", value))
            if any(side % stride or side < 2 * stride for side in hw):
                sides = [max(2, round(side / stride)) * stride for side in hw]
                near = sides[0] if hw[0] == hw[1] else f"{sides[0]}x{sides[1]}"
                rule = f"each side must be a multiple of {stride} and at least {2 * stride}"
                place = ("knobs", "resolution", "choices", index)
                yield place, f"{rule}, got {value}; the nearest is {near}"
