"""The search problem: what is searched and within which limits."""

from __future__ import annotations

from dataclasses import dataclass

from autoseg.core.records import Constraints
from autoseg.networks.space import SearchSpace
from autoseg.search.training_time import TrainingTime
from autoseg.train.recipe import Recipe


@dataclass(frozen=True)
class SearchProblem:
    """A space at one effort, the constraints, the training schedule and its time, the limits.

    `budget_s` and `trials` are None where the search has no such limit.
    """

    space: SearchSpace
    effort: str
    constraints: Constraints
    recipe: Recipe
    training_time: TrainingTime
    seed: int
    budget_s: float | None = None
    trials: int | None = None
