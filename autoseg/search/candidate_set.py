"""The candidates that a search chooses among, as rows of figures."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from autoseg.core.errors import CandidateError
from autoseg.core.records import Candidate, Cost
from autoseg.core.units import HW
from autoseg.networks.space import Knob, SearchSpace
from autoseg.search.gp import Array
from autoseg.search.proposers.optuna import ordered_choices, sample
from autoseg.search.training_time import Pricing

MOST = 4000  # candidates that are told apart; larger spaces are sampled
MAX_NETWORKS = 300  # that are built and counted, each for all resolutions


@dataclass(frozen=True)
class Ground:
    """Candidates that can be built, their counted cost, and features for the surrogate.

    `refused` says why the others cannot be: a user's own builder may refuse some knobs.
    """

    candidates: tuple[Candidate, ...]
    costs: tuple[Cost, ...]
    knobs: tuple[Knob, ...]
    refused: tuple[tuple[Candidate, str], ...] = ()

    @classmethod
    def of(cls, space: SearchSpace, effort: str, pricing: Pricing, seed: int) -> Ground:
        """All of a small space, a seeded sample of a large one."""
        knobs = tuple(k for k in space.knobs_at(effort) if len(k.choices) > 1)
        return cls((), (), knobs).including(_choose(space, effort, seed), pricing)

    def including(self, candidates: Iterable[Candidate], pricing: Pricing) -> Ground:
        """This and more of them, behind what is there."""
        able, refused = dict[Candidate, Cost](), list(self.refused)
        for candidate in candidates:
            try:
                able[candidate] = pricing.cost(candidate)
            except CandidateError as error:
                refused.append((candidate, str(error)))
        costs = (*self.costs, *able.values())
        return Ground((*self.candidates, *able), costs, self.knobs, tuple(refused))

    @cached_property
    def rows(self) -> dict[str, int]:
        """Key to row."""
        return {c.key: row for row, c in enumerate(self.candidates)}

    @cached_property
    def sizes(self) -> tuple[HW, ...]:
        return tuple(c.input_hw for c in self.candidates)

    @cached_property
    def trends(self) -> Array:
        """Centred logarithms of the input's pixels and of the MACs; ``[candidates, 2]``."""
        rows = [
            (math.log(h * w), math.log(max(1, cost.macs)))
            for (h, w), cost in zip(self.sizes, self.costs, strict=True)
        ]
        table = np.array(rows, float).reshape(-1, 2)
        return table - table.mean(axis=0) if len(table) else table

    @cached_property
    def features(self) -> Array:
        """Standardized logarithms of the cost, and each knob's place; ``[candidates, figures]``.

        A knob that is ordered counts by the logarithm of its value (by its place, where it has a
        zero); any other has a column for each choice.
        """
        columns = [
            [math.log(max(1, figure)) for figure in figures]
            for figures in (
                [c.macs for c in self.costs],
                [c.activation_bytes for c in self.costs],
                [c.params for c in self.costs],
            )
        ]
        columns += [
            list(self.trends[:, 0]),
            *itertools.chain(*(self._knob(k) for k in self.knobs)),
        ]
        table = np.array(columns).T.reshape(len(self.candidates), -1)
        spread = table.std(axis=0)
        kept = spread > 1e-9
        standard: Array = (table[:, kept] - table[:, kept].mean(axis=0)) / spread[kept]
        return standard

    def _knob(self, knob: Knob) -> Iterable[list[float]]:
        if knob.name == "resolution":
            return
        chosen = [knob.choice_in(c) for c in self.candidates]
        choices = ordered_choices(knob)
        if not knob.ordered:
            yield from ([float(value == choice) for value in chosen] for choice in choices)
        elif min(choices) > 0:
            yield [math.log(value) for value in chosen]  # type: ignore[arg-type]
        else:
            yield [float(choices.index(value)) for value in chosen]


def _choose(space: SearchSpace, effort: str, seed: int) -> list[Candidate]:
    knobs = space.knobs_at(effort)
    sizes = next((len(k.choices) for k in knobs if k.name == "resolution"), 1)
    if space.count(effort) <= MOST and space.count(effort) / sizes <= MAX_NETWORKS:
        return list(space.candidates(effort))
    drawn = [space.baseline, smallest(space, effort), *sample(space, effort, MAX_NETWORKS, seed)]
    resolutions = [c for k in knobs if k.name == "resolution" for c in k.choices]
    every = drawn + [
        space.candidate(**{**dict(c.choices), "resolution": size})
        for c in drawn
        for size in resolutions
    ]
    return list({c.key: c for c in every}.values())


def smallest(space: SearchSpace, effort: str) -> Candidate:
    """The candidate with every ordered knob at its smallest."""
    knobs = [k for k in space.knobs_at(effort) if k.ordered or k.name == "resolution"]
    return space.candidate(**{k.name: ordered_choices(k)[0] for k in knobs})
