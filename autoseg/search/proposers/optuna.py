"""Optuna's samplers as proposers of the next candidate, from what is known so far.

A proposer holds no state: it is given the history each time, so a resumed run proposes what an
uninterrupted one would.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from autoseg.core.records import Candidate, Constraints
from autoseg.core.units import parse_hw
from autoseg.networks.space import Knob, SearchSpace

POPULATION = 12  # of the genetic ones: a search looks at dozens, not at thousands
ASKS = 4  # a sampler's proposals that are tried before a random one is taken


@dataclass(frozen=True)
class Observation:
    """What a proposer is told of a candidate.

    An untrained one carries the floor as its IoU: 0, NaN or a failure would blind a sampler.
    """

    candidate: Candidate
    latency_ms: float
    iou: float
    imputed: bool


def ordered_choices(knob: Knob) -> list[Any]:
    """A knob's choices from small to large (resolutions by area); as written if no numbers."""
    if knob.name == "resolution":
        return sorted(knob.choices, key=lambda c: parse_hw(c)[0] * parse_hw(c)[1])
    return sorted(knob.choices) if knob.ordered else list(knob.choices)


@dataclass(frozen=True)
class OptunaProposer:
    """One of Optuna's samplers over positions of the ordered choices, with both constraints."""

    space: SearchSpace
    effort: str
    constraints: Constraints
    seed: int
    sampler: str

    def propose(
        self, history: Sequence[Observation], allowed: Callable[[Candidate], bool], number: int
    ) -> Candidate | None:
        """The sampler's first allowed proposal, else a random allowed one, else None."""
        distributions = self._distributions()
        with _one_thread():
            study = self._study(history, number)
            for _ in range(ASKS if distributions else 0):
                candidate = self._candidate(study.ask(distributions).params)
                if allowed(candidate):
                    return candidate
        return self._random(allowed, number)

    def _study(self, history: Sequence[Observation], number: int) -> Any:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        logging.getLogger("optuna").propagate = False
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # samplers that call themselves experimental
            sampler = self._sampler(self.seed * 10_007 + number)
            study = optuna.create_study(directions=["minimize", "maximize"], sampler=sampler)
        distributions = self._distributions()
        for place, seen in enumerate(history):
            study.add_trial(
                optuna.trial.create_trial(
                    params={
                        k.name: ordered_choices(k).index(k.choice_in(seen.candidate))
                        for k in self._knobs
                    },
                    distributions=distributions,
                    values=[float(np.log(seen.latency_ms)), seen.iou],
                    constraints={
                        "latency": float(
                            np.log(seen.latency_ms / self.constraints.max_latency_ms)
                        ),
                        "iou": self.constraints.min_iou - seen.iou,
                    },
                    system_attrs=_generation(sampler, place),
                )
            )
        return study

    def _sampler(self, seed: int) -> Any:
        from optuna import samplers

        match self.sampler:
            case "gp":
                return samplers.GPSampler(seed=seed)
            case "tpe":
                return samplers.TPESampler(multivariate=True, seed=seed)
            case "nsga2":
                return samplers.NSGAIISampler(population_size=POPULATION, seed=seed)
            case "nsga3":
                return samplers.NSGAIIISampler(population_size=POPULATION, seed=seed)
            case _:
                return samplers.RandomSampler(seed=seed)

    @property
    def _knobs(self) -> list[Knob]:
        return [knob for knob in self.space.knobs_at(self.effort) if len(knob.choices) > 1]

    def _distributions(self) -> dict[str, Any]:
        from optuna.distributions import CategoricalDistribution, IntDistribution

        return {
            knob.name: IntDistribution(0, len(knob.choices) - 1)
            if knob.ordered or knob.name == "resolution"
            else CategoricalDistribution(tuple(range(len(knob.choices))))
            for knob in self._knobs
        }

    def _candidate(self, positions: dict[str, int]) -> Candidate:
        by_name = {knob.name: ordered_choices(knob) for knob in self._knobs}
        return self.space.candidate(**{name: by_name[name][at] for name, at in positions.items()})

    def _random(self, allowed: Callable[[Candidate], bool], number: int) -> Candidate | None:
        return next(
            (c for c in sample(self.space, self.effort, 400, self.seed + number) if allowed(c)),
            None,
        )


def _generation(sampler: Any, place: int) -> dict[str, Any]:
    """What a genetic sampler writes on its trials itself, and would miss on those it is told."""
    key = getattr(sampler, "_get_generation_key", None)
    return {key(): place // POPULATION} if key else {}


@contextmanager
def _one_thread() -> Iterator[None]:
    """The sampler's own algebra must not take the cores from the trainings beside it."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def sample(space: SearchSpace, effort: str, most: int, seed: int) -> list[Candidate]:
    """At most `most` different candidates in a seeded order: all of them if there are no more."""
    rng = np.random.default_rng(seed)
    if space.count(effort) <= most:
        everything = list(space.candidates(effort))
        return [everything[i] for i in rng.permutation(len(everything))]
    knobs = space.knobs_at(effort)
    drawn: dict[str, Candidate] = {}
    while len(drawn) < most:
        candidate = space.candidate(
            **{k.name: k.choices[int(rng.integers(len(k.choices)))] for k in knobs}
        )
        drawn[candidate.key] = candidate
    return list(drawn.values())
