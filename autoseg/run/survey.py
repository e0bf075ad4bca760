"""The survey: a few untrained networks, measured to know what fits before anything is trained."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from autoseg.core.records import Candidate
from autoseg.run.context import RunContext

MIN_BEFORE_TRAINING = 3  # the baseline, the smallest, and one that is unlike both
BUDGET_SHARE = 0.1  # of the budget, the most that it may take from training


@dataclass
class Survey:
    """Names the networks of the survey one by one, and says in `ended` why it ended.

    `part`: "tenth" ends it with a tenth of the budget, or when a measurement is worth less than
    training; "first" is the least that training needs to begin, "rest" what is measured beside
    it, and "none" names no network.
    """

    context: RunContext
    part: Literal["tenth", "first", "rest", "none"]
    ended: str = ""
    _began_s: float = 0.0

    def next(self) -> Candidate | None:
        """The next network to measure; None when the survey is over."""
        return next(self._all, None)

    @cached_property
    def _all(self) -> Iterator[Candidate]:
        return self.candidates()

    def candidates(self) -> Iterator[Candidate]:
        """The networks to measure, each chosen after those before it are measured."""
        planned = () if self.part == "none" else self.context.scheduler.survey()
        self._began_s = self.context.run.spent_s
        for number, candidate in enumerate(planned):
            if self.part == "rest" and candidate.key in self.context.run.evaluations:
                continue
            reason = self._reason(number)
            if reason is not None:
                self.ended = f"the survey has ended after {number} of {len(planned)}: {reason}"
                return
            yield candidate
        self.ended = f"all {len(planned)} of the survey are measured"

    def _reason(self, number: int) -> str | None:
        """Why it ends after `number` networks; None while it goes on."""
        context = self.context
        if number < MIN_BEFORE_TRAINING:
            return None
        if self.part == "first":
            return "the others follow while training begins"
        tenth_s = BUDGET_SHARE * (context.budget_s or float("inf"))
        if self.part == "tenth" and context.run.spent_s - self._began_s > tenth_s:
            return "it has taken a tenth of the budget"
        return context.scheduler.survey_is_enough(
            context.run.evaluations, context.remaining_s, beside=self.part == "rest"
        )
