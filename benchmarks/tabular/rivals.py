"""What a search is compared with: Optuna's samplers, a grid, and an oracle, on the same table.

All are told the latencies for nothing: what is too slow is never trained. Each candidate that they
choose is trained rung by rung to the top, and credited at each rung as ours is.
"""

from __future__ import annotations

import logging
import math
import sys
import time
import warnings
from collections.abc import Collection, Iterator, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))
from tabular.replay import Credit, Moment, Trajectory
from tabular.tables import Table

from autoseg.core.pareto import hypervolume
from autoseg.core.records import Constraints, Job
from autoseg.search.proposers.optuna import POPULATION

# Proposals without anything new, after which the nearest untrained one stands in: a GP takes a
# second for each.
ASKS = {"gp": 4, "tpe": 20, "nsga2": 20, "nsga3": 20}
Choice = tuple[str, bool]  # a key, and whether it stands in for one that is trained already


def train_all(
    table: Table, choices: Iterator[Choice], constraints: Constraints, *, enough: float = math.inf
) -> Trajectory:
    """Each to the top, one after the other, until there is `enough` of the hypervolume."""
    credit, began = Credit(table, constraints), time.perf_counter()
    moments: list[Moment] = []
    jobs: list[Job] = []
    train_s, stand_ins = 0.0, 0
    for key, stands_in in choices:
        stand_ins += stands_in
        for before, rung in pairwise((0, *table.recipe.rungs)):
            jobs.append(Job(table.entries[key].candidate, before, rung))
            train_s += table.entries[key].cell(rung, decayed=False).train_s
            credit.reached(key, rung)
            moments.append(Moment(train_s, train_s, credit.hypervolume))
        if credit.hypervolume >= enough * credit.full:
            break
    real_s = time.perf_counter() - began
    return Trajectory(tuple(moments), credit.full, {}, tuple(jobs), real_s, stand_ins)


def grid(table: Table, constraints: Constraints, seed: int) -> Iterator[Choice]:
    """Everything, the too slow as well, in a seeded shuffle."""
    keys = list(table.entries)
    yield from ((keys[i], False) for i in np.random.default_rng(seed).permutation(len(keys)))


def random(table: Table, constraints: Constraints, seed: int) -> Iterator[Choice]:
    """Everything that fits the ceiling, in a seeded shuffle."""
    yield from (c for c in grid(table, constraints, seed) if fits(table, c[0], constraints))


def oracle(table: Table, constraints: Constraints, seed: int) -> Iterator[Choice]:
    """Only the members of the exhaustive front, the most hypervolume per second first."""
    rest = table.front_keys(constraints)
    reached: list[tuple[float, float]] = []
    while rest:
        best = max(
            rest,
            key=lambda k: (
                (
                    hypervolume([*reached, table.point(k)], constraints)
                    - hypervolume(reached, constraints)
                )
                / table.train_s(k)
            ),
        )
        rest.remove(best)
        reached.append(table.point(best))
        yield best, False


def fits(table: Table, key: str, constraints: Constraints) -> bool:
    return table.entries[key].latency_ms <= constraints.max_latency_ms


def sampled(
    table: Table, constraints: Constraints, seed: int, *, sampler: str
) -> Iterator[Choice]:
    """What one of Optuna's samplers asks for, until all that fits was asked for."""
    study, spots = _study(sampler, seed), Spots(table)
    left = {key for key in table.entries if fits(table, key, constraints)}
    in_vain = 0
    while left:
        trial = study.ask(spots.distributions)
        key = spots.nearest(trial)
        if stands_in := key not in left and in_vain >= ASKS[sampler]:
            key = spots.nearest(trial, left)
        spots.move(study, trial, key)
        in_vain = 0 if key in left else in_vain + 1
        if key in left:
            left.remove(key)
            yield key, stands_in  # a trained one is told with what it gave, each time
        _tell(study, trial, table, key, constraints)


def _tell(study: Any, trial: Any, table: Table, key: str, constraints: Constraints) -> None:
    """Both objectives and both constraints; what is too slow has the floor as its IoU."""
    latency_ms, iou = table.point(key)
    iou = iou if fits(table, key, constraints) else constraints.min_iou
    trial.set_constraint("latency", math.log(latency_ms / constraints.max_latency_ms))
    trial.set_constraint("iou", constraints.min_iou - iou)
    study.tell(trial, [math.log(latency_ms), iou])


def _study(sampler: str, seed: int) -> Any:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    logging.getLogger("optuna").propagate = False
    made = {
        "gp": optuna.samplers.GPSampler,
        "tpe": partial(optuna.samplers.TPESampler, multivariate=True),
        "nsga2": partial(optuna.samplers.NSGAIISampler, population_size=POPULATION),
        "nsga3": partial(optuna.samplers.NSGAIIISampler, population_size=POPULATION),
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # samplers that call themselves experimental
        return optuna.create_study(
            directions=["minimize", "maximize"], sampler=made[sampler](seed=seed)
        )


class Spots:
    """Candidates as places of the ordered choices; what a table lacks is its nearest neighbour."""

    def __init__(self, table: Table) -> None:
        from optuna.distributions import IntDistribution

        knobs = [k for k in table.space.knobs if len(k.choices) > 1]
        self._knobs = {knob.name: knob.ordered_choices for knob in knobs}
        self.distributions = {
            name: IntDistribution(0, len(choices) - 1) for name, choices in self._knobs.items()
        }
        self._keys = list(table.entries)
        self._places = np.array([self._place(table, key) for key in self._keys])
        self._widths = np.array([len(choices) - 1 for choices in self._knobs.values()])

    def _place(self, table: Table, key: str) -> list[int]:
        candidate = table.entries[key].candidate
        return [choices.index(candidate[name]) for name, choices in self._knobs.items()]

    def nearest(self, trial: Any, among: Collection[str] | None = None) -> str:
        """What a trial asks for, or the nearest to it in the table, or in some of it."""
        asked: Sequence[int] = [trial.params[name] for name in self._knobs]
        apart = np.sum(((self._places - asked) / self._widths) ** 2, axis=1)
        if among is not None:
            apart[[key not in among for key in self._keys]] = np.inf
        return self._keys[int(np.argmin(apart))]

    def move(self, study: Any, trial: Any, key: str) -> None:
        """Give a trial the places of the candidate that it stands for."""
        places = self._places[self._keys.index(key)]
        for name, place in zip(self._knobs, places, strict=True):
            if trial.params[name] != place:
                # What is told must be of the place that it is told for, and the trial must be the
                # one that was asked for: NSGA-II counts its generations by them.
                distribution = self.distributions[name]
                study._storage.set_trial_param(trial._trial_id, name, float(place), distribution)


RIVALS = {
    "oracle": oracle,
    "random": random,
    "grid": grid,
    **{name: partial(sampled, sampler=name) for name in ASKS},
}
