"""What the search may turn: a network's knobs, their choices, and the effort that unlocks each."""

from __future__ import annotations

import inspect
import itertools
import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field

from autoseg import networks
from autoseg.core import yaml_files
from autoseg.core.errors import InputError
from autoseg.core.records import Candidate
from autoseg.core.units import Choice, parse_hw

Effort = Literal["entry", "intermediate", "expert"]
EFFORTS: tuple[Effort, ...] = get_args(Effort)

# These two reach the net otherwise: as the size of its input, and as an argument of every builder.
_NOT_THE_BUILDERS = ("resolution", "channels")


@dataclass(frozen=True)
class Knob:
    """One thing the search may turn; `effort` is the lowest that unlocks it."""

    name: str
    choices: tuple[Choice, ...]
    baseline: Choice
    effort: Effort

    @property
    def ordered(self) -> bool:
        """Whether all choices are numbers, so that a search may use their distances."""
        return all(isinstance(choice, (int, float)) for choice in self.choices)


@dataclass(frozen=True)
class SearchSpace:
    """A network and its knobs, which always include resolution and channels.

    `network` is a built-in name or `package.module:function`; `recipe` is what the file says about
    training, as it stands there.
    """

    name: str
    network: str
    knobs: tuple[Knob, ...]
    recipe: Mapping[str, Any] = field(default_factory=dict)

    def knobs_at(self, effort: str) -> tuple[Knob, ...]:
        """The knobs that an effort unlocks. Raises InputError for an unknown effort."""
        unlocked = EFFORTS[: check_effort_rank(effort) + 1]
        return tuple(knob for knob in self.knobs if knob.effort in unlocked)

    def count(self, effort: str) -> int:
        """How many candidates an effort opens."""
        return math.prod(len(knob.choices) for knob in self.knobs_at(effort))

    def candidates(self, effort: str) -> Iterator[Candidate]:
        """Every candidate of an effort, lazily; locked knobs stay at their baseline."""
        free = self.knobs_at(effort)
        for values in itertools.product(*(knob.choices for knob in free)):
            turned = {knob.name: value for knob, value in zip(free, values, strict=True)}
            yield Candidate.of(self.name, {**self._baselines, **turned})

    @property
    def baseline(self) -> Candidate:
        """The candidate with every knob at its baseline."""
        return Candidate.of(self.name, self._baselines)

    def candidate(self, **choices: Choice) -> Candidate:
        """The baseline with some knobs turned.

        Raises InputError for a knob or a choice that the space does not have.
        """
        known = {knob.name: knob for knob in self.knobs}
        turned = {}
        for name, value in choices.items():
            if name not in known:
                hint = yaml_files.did_you_mean(name, known)
                raise InputError(f"{self.name} has no knob {name!r}{hint}; it has {_list(known)}")
            turned[name] = _choice_of(known[name], value)
        return Candidate.of(self.name, {**self._baselines, **turned})

    @property
    def _baselines(self) -> dict[str, Choice]:
        return {knob.name: knob.baseline for knob in self.knobs}


def load_space(name_or_path: str | Path) -> SearchSpace:
    """The space of a shipped name (`fast_scnn`) or of a YAML file.

    Raises InputError with all faults of the file at once, each with its line and the fix.
    """
    path = yaml_files.find("search_spaces", name_or_path)
    said: list[str] = []
    try:
        yaml_files.load(path, _SpaceFile)
    except InputError as error:
        said.append(str(error))
    data = _data(path) if said else yaml_files.read(path).data
    if found := list(_faults(data)):
        said.append(str(yaml_files.faults(path, found)))
    if said:
        raise InputError("\n".join(said))
    return _space(path.stem, _SpaceFile.model_validate(data))


def check_effort_rank(effort: str) -> int:
    """The rank of an effort: 0 for entry. Raises InputError for an unknown one."""
    if effort not in EFFORTS:
        hint = yaml_files.did_you_mean(effort, EFFORTS)
        raise InputError(f"an effort is one of {_list(EFFORTS)}, got {effort!r}{hint}")
    return EFFORTS.index(effort)


class _KnobFile(BaseModel):
    """Only the shape: what the values must be is `_knob_faults`."""

    model_config = ConfigDict(extra="forbid")
    choices: list[Any] = Field(min_length=1)
    baseline: Any
    effort: Effort


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
        )
        for knob, body in file.knobs.items()
    ]
    if "channels" not in file.knobs:
        knobs.append(Knob("channels", (3,), 3, "expert"))
    return SearchSpace(name, file.network, tuple(knobs), file.recipe)


def normal_choice(knob: str, value: Any) -> Choice:
    """The one spelling of a value, since keys are made from it: 1.0 is 1, 256x256 is 256.

    Raises InputError for what the knob cannot be.
    """
    if isinstance(value, bool):
        raise InputError(f"must be a number or text, got {value}; write 1 or 0, or quote the word")
    if not isinstance(value, (int, float, str)) or value != value:
        raise InputError(f"must be a number or text, got {value!r}")
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if knob == "channels" and value not in (1, 3):
        raise InputError(f"must be 1 (luminance) or 3 (RGB), got {value!r}")
    return _resolution(value) if knob == "resolution" else value


def _resolution(value: Choice) -> Choice:
    height, width = parse_hw(value)
    return height if height == width else f"{height}x{width}"


def _stride_faults(network: str, body: Mapping[Any, Any]) -> Iterator[yaml_files.Fault]:
    """Resolutions that the network's stride does not divide, or below twice the stride."""
    stride = networks.stride_of(network)
    written = body.get("choices")
    for index, value in enumerate(written if isinstance(written, list) else ()):
        with suppress(InputError):  # reported by `_knob_faults`
            hw = parse_hw(normal_choice("resolution", value))
            if any(side % stride or side < 2 * stride for side in hw):
                sides = [max(2, round(side / stride)) * stride for side in hw]
                near = f"{sides[0]}x{sides[1]}" if hw[0] != hw[1] else sides[0]
                yield (
                    ("knobs", "resolution", "choices", index),
                    f"each side must be a multiple of {stride} and at least {2 * stride}, "
                    f"got {value}; the nearest is {near}",
                )


def _data(path: Path) -> Any:
    """What can be read of a file that is known to be faulty."""
    try:
        return yaml_files.read(path).data
    except InputError:  # Has been said already, by the loading that failed.
        return None


def _faults(data: Any) -> Iterator[yaml_files.Fault]:
    """The rules that the shape alone does not tell, as far as the shape lets them be checked."""
    if not isinstance(data, Mapping):
        return
    knobs = data.get("knobs")
    if isinstance(knobs, Mapping):
        for name, body in knobs.items():
            if isinstance(body, Mapping):
                yield from _knob_faults(str(name), body)
        if isinstance(network := data.get("network"), str):
            yield from _network_faults(network, [str(name) for name in knobs])
            if isinstance(resolution := knobs.get("resolution"), Mapping):
                with suppress(InputError):  # reported by `_network_faults`
                    yield from _stride_faults(network, resolution)


def _knob_faults(name: str, body: Mapping[Any, Any]) -> Iterator[yaml_files.Fault]:
    choices: list[Choice] = []
    written = body.get("choices")
    for index, value in enumerate(written if isinstance(written, list) else ()):
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
            rule = f"must be one of the choices {_list(choices)}, got {body['baseline']!r}"
            yield ("knobs", name, "baseline"), rule
    except InputError as error:
        yield ("knobs", name, "baseline"), str(error)


def _network_faults(network: str, names: list[str]) -> Iterator[yaml_files.Fault]:
    if "resolution" not in names:
        yield ("knobs", "resolution"), "is required: the size of the input; add it"
    try:
        parameters = inspect.signature(networks.builder(network)).parameters
        known = networks.knobs_of(network)
    except InputError as error:
        yield ("network",), str(error)
        return
    asked = [name for name in names if name not in _NOT_THE_BUILDERS]
    for name in asked:
        if name not in known and "**" not in known:
            hint = yaml_files.did_you_mean(name, known)
            yield ("knobs", name), f"{network} takes no such knob{hint}; it takes {_list(known)}"
    for name in known:
        if (
            name != "**"
            and name not in asked
            and parameters[name].default is inspect.Parameter.empty
        ):
            yield ("knobs", name), f"{network} cannot be built without it; add it"


def _list(values: Iterable[Any]) -> str:
    return ", ".join(map(str, values)) or "nothing"


def _choice_of(knob: Knob, value: Choice) -> Choice:
    try:
        value = normal_choice(knob.name, value)
    except InputError as error:
        raise InputError(f"{knob.name} {error}") from error
    if value not in knob.choices:
        raise InputError(f"{knob.name} must be one of {_list(knob.choices)}, got {value!r}")
    return value
