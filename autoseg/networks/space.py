"""Search spaces: a network's knobs and their choices; a candidate's four parts, its identity."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from autoseg.core.errors import InputError
from autoseg.core.records import Candidate
from autoseg.core.serialize import digest
from autoseg.core.units import Choice, parse_hw
from autoseg.core.yaml_files import did_you_mean

Effort = Literal["entry", "intermediate", "expert"]
EFFORTS: tuple[Effort, ...] = get_args(Effort)
Stage = Literal["input", "build", "train", "compress"]
# Knobs of stage `input`; every candidate has the first two. All others are of a later stage.
INPUT_KNOBS = ("resolution", "channels", "out_stride")


@dataclass(frozen=True)
class Knob:
    """One thing the search may turn; `effort` is the lowest that unlocks it.

    `stage` is the part of a candidate that the knob belongs to. The knob is active only where all
    knobs that `when` names have these values; a space lists them before it.
    """

    name: str
    choices: tuple[Choice, ...]
    baseline: Choice
    effort: Effort
    stage: Stage = field(default="build", kw_only=True)
    when: tuple[tuple[str, Choice], ...] = field(default=(), kw_only=True)

    def __post_init__(self) -> None:
        if self.name in INPUT_KNOBS:
            object.__setattr__(self, "stage", "input")

    @property
    def ordered(self) -> bool:
        """Whether all choices are numbers, so that a search may use their distances."""
        return all(isinstance(choice, (int, float)) for choice in self.choices)

    @property
    def ordered_choices(self) -> list[Any]:
        """The choices from small to large (resolutions by area); as written if no numbers."""
        if self.name == "resolution":
            return sorted(self.choices, key=lambda choice: math.prod(parse_hw(choice)))
        return sorted(self.choices) if self.ordered else list(self.choices)

    def is_active(self, chosen: Mapping[str, Choice]) -> bool:
        """Whether the knob is turned at all, given the choices of the knobs before it."""
        return all(chosen.get(name) == value for name, value in self.when)

    def choice_in(self, candidate: Candidate) -> Choice:
        """The candidate's choice, or the baseline where the knob is inactive."""
        return dict(candidate.choices).get(self.name, self.baseline)


@dataclass(frozen=True)
class SearchSpace:
    """A network and its knobs, which always include resolution and channels.

    `network` is a built-in name or `package.module:function`; `recipe` is the file's own section
    about training, unchecked. A candidate has one choice for each active knob.
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
        """How many different candidates an effort opens."""
        free = self.knobs_at(effort)
        parents = {name for knob in self.knobs for name, _ in knob.when}
        # Only these decide which knobs are active, so no others need to be enumerated.
        switches = [knob for knob in self.knobs if knob.name in parents]
        others = [knob for knob in free if knob.name not in parents]
        return sum(
            math.prod(len(knob.choices) for knob in others if knob.is_active(chosen))
            for chosen in _assignments(switches, {knob.name for knob in free}, {})
        )

    def candidates(self, effort: str) -> Iterator[Candidate]:
        """Every candidate of an effort once, lazily; locked knobs stay at their baseline."""
        free = {knob.name for knob in self.knobs_at(effort)}
        for chosen in _assignments(self.knobs, free, {}):
            yield Candidate.of(self.name, chosen)

    @property
    def baseline(self) -> Candidate:
        """The candidate with every active knob at its baseline."""
        return self.candidate()

    def candidate(self, **choices: Choice) -> Candidate:
        """The baseline with some knobs turned; choices of knobs that are then inactive drop out.

        Raises InputError for a knob or a choice that the space does not have.
        """
        known = {knob.name: knob for knob in self.knobs}
        turned = {name: knob.baseline for name, knob in known.items()}
        for name, value in choices.items():
            if name not in known:
                hint = did_you_mean(name, known)
                raise InputError(f"{self.name} has no knob {name!r}{hint}; it has {listed(known)}")
            turned[name] = _choice_of(known[name], value)
        chosen: dict[str, Choice] = {}
        for name, knob in known.items():
            if knob.is_active(chosen):
                chosen[name] = turned[name]
        return Candidate.of(self.name, chosen)


def _assignments(
    knobs: Sequence[Knob], free: Set[str], chosen: dict[str, Choice]
) -> Iterator[dict[str, Choice]]:
    """Every different choice for the active knobs after `chosen`; the last one turns fastest."""
    if not knobs:
        yield chosen
        return
    knob, rest = knobs[0], knobs[1:]
    if not knob.is_active(chosen):
        yield from _assignments(rest, free, chosen)
        return
    for choice in knob.choices if knob.name in free else (knob.baseline,):
        yield from _assignments(rest, free, {**chosen, knob.name: choice})


def parts_of(space: SearchSpace, candidate: Candidate) -> dict[Stage, dict[str, Choice]]:
    """The candidate's choices, told apart by the stages of the space's knobs.

    `input` is what the network sees, `build` the arguments of its builder, `train` numbers of the
    recipe, `compress` what is done to the trained network.
    """
    stages = {knob.name: knob.stage for knob in space.knobs}
    parts: dict[Stage, dict[str, Choice]] = {stage: {} for stage in get_args(Stage)}
    for name, value in candidate.choices:
        parts[stages[name]][name] = value
    return parts


def identity(structure: str, parts: Mapping[Stage, Mapping[str, Choice]]) -> str:
    """12 hex digits, equal only where two candidates would give the same shipped network.

    `structure` is the digest of the built network and stands for the build part, since different
    choices may round to the same widths.
    """
    return digest([structure, parts["input"], parts["train"], parts["compress"]])


def channels_of(candidate: Candidate) -> int:
    """3 (RGB) unless the space turns the knob `channels`."""
    return int(dict(candidate.choices).get("channels", 3))


def check_effort_rank(effort: str) -> int:
    """The rank of an effort: 0 for entry. Raises InputError for an unknown one."""
    if effort not in EFFORTS:
        hint = did_you_mean(effort, EFFORTS)
        raise InputError(f"an effort is one of {listed(EFFORTS)}, got {effort!r}{hint}")
    return EFFORTS.index(effort)


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


def _choice_of(knob: Knob, value: Choice) -> Choice:
    try:
        value = normal_choice(knob.name, value)
    except InputError as error:
        raise InputError(f"{knob.name} {error}") from error
    if value not in knob.choices:
        raise InputError(f"{knob.name} must be one of {listed(knob.choices)}, got {value!r}")
    return value


def listed(values: Iterable[Any]) -> str:
    """The values for a message, separated by commas."""
    return ", ".join(map(str, values)) or "nothing"
