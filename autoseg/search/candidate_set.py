"""The candidates that a search chooses among, as rows of features."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from autoseg.core.errors import CandidateError
from autoseg.core.records import Candidate, Cost
from autoseg.core.units import HW
from autoseg.networks.space import Knob
from autoseg.search.gp import Array
from autoseg.search.training_time import TrainingTime


@dataclass(frozen=True)
class CandidateSet:
    """Candidates that can be built, their counted cost, and features for the surrogate.

    `refused` says why the others cannot be: a user's own builder may refuse some knobs.
    """

    candidates: tuple[Candidate, ...]
    costs: tuple[Cost, ...]
    knobs: tuple[Knob, ...]
    refused: tuple[tuple[Candidate, str], ...] = ()

    @classmethod
    def of(
        cls, knobs: Sequence[Knob], candidates: Iterable[Candidate], training_time: TrainingTime
    ) -> CandidateSet:
        """Those of the candidates that can be built; `knobs` are the ones that are turned."""
        turned = tuple(k for k in knobs if len(k.choices) > 1)
        return cls((), (), turned).including(candidates, training_time)

    def including(
        self, candidates: Iterable[Candidate], training_time: TrainingTime
    ) -> CandidateSet:
        """This set with more candidates, behind the present ones."""
        able, refused = dict[Candidate, Cost](), list(self.refused)
        for candidate in candidates:
            try:
                able[candidate] = training_time.cost(candidate)
            except CandidateError as error:
                refused.append((candidate, str(error)))
        costs = (*self.costs, *able.values())
        return CandidateSet((*self.candidates, *able), costs, self.knobs, tuple(refused))

    @cached_property
    def rows(self) -> dict[str, int]:
        """Key to row."""
        return {c.key: row for row, c in enumerate(self.candidates)}

    @cached_property
    def known_keys(self) -> frozenset[str]:
        """Keys of the candidates that can be built and of those that cannot."""
        return frozenset([*self.rows, *(c.key for c, _ in self.refused)])

    def spread(self, first: Iterable[Candidate], count: int) -> Sequence[Candidate]:
        """The `first`, then those that fill the space between them (greedy maximin)."""
        chosen = [self.rows[c.key] for c in dict.fromkeys(first) if c.key in self.rows]
        count = min(count, len(self.features))
        nearest = np.full(len(self.features), np.inf)
        for number in range(count):
            if number >= len(chosen):
                chosen.append(int(np.argmax(nearest)))
            distances = np.linalg.norm(self.features - self.features[chosen[number]], axis=1)
            nearest = np.minimum(nearest, distances)
            nearest[chosen[: number + 1]] = -1.0
        return [self.candidates[row] for row in chosen[:count]]

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
        """Standardized logarithms of the cost, and each knob's value; ``[candidates, features]``.

        An ordered knob counts by the logarithm of its value (by its position, where it has a
        zero); any other has a column for each choice. An inactive knob counts as its baseline.
        """
        columns = [
            [math.log(max(1, getattr(cost, figure))) for cost in self.costs]
            for figure in ("macs", "activation_bytes", "params")
        ]
        columns.append(list(self.trends[:, 0]))
        for knob in self.knobs:
            columns += self._columns(knob)
        table = np.array(columns).T.reshape(len(self.candidates), -1)
        spread = table.std(axis=0)
        kept = spread > 1e-9
        standard: Array = (table[:, kept] - table[:, kept].mean(axis=0)) / spread[kept]
        return standard

    def _columns(self, knob: Knob) -> Iterable[list[float]]:
        if knob.name == "resolution":
            return
        chosen = [knob.choice_in(c) for c in self.candidates]
        choices = knob.ordered_choices
        if not knob.ordered:
            yield from ([float(value == choice) for value in chosen] for choice in choices)
        elif min(choices) > 0:
            yield [math.log(value) for value in chosen]  # type: ignore[arg-type]
        else:
            yield [float(choices.index(value)) for value in chosen]
