"""A candidate's four parts (input, build, train, compress), and its identity over all of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from autoseg.core.records import Candidate
from autoseg.core.serialize import digest
from autoseg.core.units import Choice
from autoseg.networks.space import SearchSpace, Stage


@dataclass(frozen=True)
class Parts:
    """A candidate's choices by the stage of their knobs.

    `input` is what the network sees, `build` the arguments of its builder, `train` numbers of the
    recipe, `compress` what is done to the trained network.
    """

    input: Mapping[str, Choice]
    build: Mapping[str, Choice]
    train: Mapping[str, Choice]
    compress: Mapping[str, Choice]


def parts_of(space: SearchSpace, candidate: Candidate) -> Parts:
    """The candidate's choices, told apart by the stages of the space's knobs."""
    stages = {knob.name: knob.stage for knob in space.knobs}

    def part(stage: Stage) -> dict[str, Choice]:
        return {name: value for name, value in candidate.choices if stages[name] == stage}

    return Parts(part("input"), part("build"), part("train"), part("compress"))


def identity(structure: str, parts: Parts) -> str:
    """12 hex digits, equal only where two candidates would give the same shipped network.

    `structure` is the digest of the built network and stands for the build part, since different
    choices may round to the same widths.
    """
    return digest([structure, parts.input, parts.train, parts.compress])


def channels_of(candidate: Candidate) -> int:
    """3 (RGB) unless the space turns the knob `channels`."""
    return int(dict(candidate.choices).get("channels", 3))
