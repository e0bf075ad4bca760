"""The planner: verdict, plan and outlook of a search, for the user."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from autoseg.search.outlook import outlook
from autoseg.search.plan import Plan
from autoseg.search.protocol import Evaluations, Outlook
from autoseg.search.state import StateBuilder
from autoseg.search.verdict import fitting, verdict_lines


@dataclass(frozen=True)
class SearchPlanner:
    """Describes the states of a search; decides nothing."""

    states: StateBuilder

    def verdict(self, evaluations: Evaluations) -> Sequence[str]:
        """What of the space fits the ceiling, and how much of it the budget can train."""
        return verdict_lines(self.states.state(evaluations))

    def plan(
        self, evaluations: Evaluations, left_s: float | None, spent_s: float
    ) -> Sequence[str]:
        """What is ahead: candidates, seconds of a training, and what the budget pays for."""
        state = self.states.state(evaluations)
        return Plan(state, fitting(state)).lines(left_s, spent_s)

    def outlook(self, evaluations: Evaluations, horizon_s: float) -> Outlook | None:
        """What is reached, and what going on is expected to add; None before any training."""
        state = self.states.state(evaluations)
        return outlook(state, horizon_s) if state.active else None
