"""Optuna's samplers as proposers of the next candidate, from what is known so far.

A proposer holds no state: it is given the history each time, so a resumed run proposes what an
uninterrupted one would.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np

from autoseg.core.records import Candidate, Constraints
from autoseg.networks.space import Knob, SearchSpace
from autoseg.search.proposers.space import sample
from autoseg.search.protocol import Observation

POPULATION = 12  # of the genetic ones: a search looks at dozens, not at thousands
ASKS = 4  # a sampler's proposals; random ones follow
RANDOM = 400


@dataclass(frozen=True)
class OptunaProposer:
    """One of Optuna's samplers over positions of the ordered choices, with both constraints."""

    space: SearchSpace
    effort: str
    constraints: Constraints
    seed: int
    sampler: str

    def propose(self, history: Sequence[Observation], count: int) -> Iterable[Candidate]:
        """What the sampler asks for, then random candidates, made as they are taken."""
        return islice(self.proposals(history, len(history)), count)

    def proposals(self, history: Sequence[Observation], number: int) -> Iterator[Candidate]:
        """The same; `number` is the part of the random seed that differs between calls."""
        yield from self._asked(history, number)
        yield from sample(self.space, self.effort, RANDOM, self.seed + number)

    def _asked(self, history: Sequence[Observation], number: int) -> Iterator[Candidate]:
        distributions = self._distributions()
        if not distributions:
            return
        study = self._study(history, number)
        for _ in range(ASKS):
            with _one_thread():
                params = study.ask(distributions).params
            yield self._candidate(params)

    def _study(self, history: Sequence[Observation], number: int) -> Any:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        logging.getLogger("optuna").propagate = False
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # samplers that call themselves experimental
            sampler = self._sampler(self.seed * 10_007 + number)
            study = optuna.create_study(directions=["minimize", "maximize"], sampler=sampler)
        for place, observation in enumerate(history):
            study.add_trial(self._trial(observation, _generation(sampler, place)))
        return study

    def _trial(self, observation: Observation, system_attrs: dict[str, Any]) -> Any:
        import optuna

        log_ratio = np.log(observation.latency_ms / self.constraints.max_latency_ms)
        return optuna.trial.create_trial(
            params={
                knob.name: knob.ordered_choices.index(knob.choice_in(observation.candidate))
                for knob in self._knobs
            },
            distributions=self._distributions(),
            values=[float(np.log(observation.latency_ms)), observation.iou],
            constraints={
                "latency": float(log_ratio),
                "iou": self.constraints.min_iou - observation.iou,
            },
            system_attrs=system_attrs,
        )

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
        by_name = {knob.name: knob.ordered_choices for knob in self._knobs}
        return self.space.candidate(**{name: by_name[name][at] for name, at in positions.items()})


def _generation(sampler: Any, place: int) -> dict[str, Any]:
    """What a genetic sampler itself writes on its trials, and needs on those of the history."""
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
