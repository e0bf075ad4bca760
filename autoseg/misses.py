"""Why nothing meets the constraints: what binds, what came nearest, what relaxing would give."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from autoseg.records import Evaluation

Binds = Literal["ceiling", "floor", "both", "time"]


class Way(NamedTuple):
    """One way to let a model in: ``option value`` as on the command line, and what it gives."""

    option: str
    value: str
    gives: str


@dataclass(frozen=True)
class Explanation:
    """Why nothing meets both constraints, as far as the ledger shows.

    `binds` is what stands in the way; "time": what fits is not trained to its end. `says` is that
    in one sentence. `nearest` are the nearest misses, the nearest first; `relax` what letting one
    in takes; `notes` what else there is to know, such as how many candidates failed and why.
    """

    binds: Binds
    says: str
    nearest: tuple[Evaluation, ...] = ()
    relax: tuple[Way, ...] = ()
    notes: tuple[str, ...] = ()

    def lines(self) -> list[str]:
        """The explanation as it is printed."""
        ways = [f"  {way.option} {way.value}: {way.gives}" for way in self.relax]
        return [self.says, *self.notes, *(["to let one in:"] if ways else []), *ways]


def explain(evaluations: Sequence[Evaluation]) -> Explanation:
    """What a run without a front has to say for itself."""
    return Explanation("time", "no model meets both constraints")
