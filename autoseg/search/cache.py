"""The one place where a search keeps results between two decisions.

Each result is kept with the inputs that it was made from, and is made again when they differ. So
dropping the cache costs time and changes no decision.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from autoseg.search.candidate_set import CandidateSet
from autoseg.search.gp import Array
from autoseg.search.surrogate import Surrogate

T = TypeVar("T")


class Latest(Generic[T]):
    """The latest result and its inputs."""

    def __init__(self) -> None:
        self._kept: tuple[object, T] | None = None

    def get(self, inputs: object, make: Callable[[], T]) -> T:
        """The kept result if it was made from equal inputs, else a new one."""
        if self._kept is None or self._kept[0] != inputs:
            self._kept = inputs, make()
        return self._kept[1]


@dataclass(frozen=True)
class SearchCache:
    """Results that take long to make: the set, both fits, and the seconds set aside to finish."""

    candidates: Latest[CandidateSet] = field(default_factory=Latest)
    surrogate: Latest[Surrogate] = field(default_factory=Latest)
    latency: Latest[tuple[Array, Array] | None] = field(default_factory=Latest)
    reserve_s: Latest[float] = field(default_factory=Latest)
