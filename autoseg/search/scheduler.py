"""The scheduler: decides what to do next from the evaluations alone, so the ledger suffices.

The path of a decision (`SearchScheduler.next_step`):

    evaluations -> SearchState (state.py): candidates, predicted latencies, IoU forecasts
        -> seconds left to search (finalists.py sets aside the time to finish)
        -> the policy chooses: the best of all options (expected_hypervolume.py),
           or the whole training of a sampler's proposal (whole_trainings.py)
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

from autoseg.core.records import Candidate, Job
from autoseg.search.finalists import finalists, finish_s, search_left_s
from autoseg.search.outlook import outlook
from autoseg.search.plan import Plan, fitting, verdict_lines
from autoseg.search.protocol import Done, Evaluations, Outlook, Screen, Step, Wait
from autoseg.search.state import SearchState, StateBuilder


class Policy(Protocol):
    """The choice of the next step and of the candidates to stop; all else is shared."""

    def next_step(self, state: SearchState, left_s: float | None) -> Screen | Job | None:
        """What to measure or train in the `left_s` seconds left; None if nothing is worth it."""
        ...

    def stops(self, state: SearchState) -> Sequence[tuple[Candidate, str]]: ...


@dataclass(frozen=True)
class SearchScheduler:
    """Decides what is worth doing next; survey, budget, workers and finish go for every policy."""

    states: StateBuilder
    policy: Policy

    def survey(self) -> Sequence[Candidate]:
        """The candidates that are measured before anything is trained."""
        return self.states.surveyed

    def next_step(
        self, evaluations: Evaluations, running: Collection[Job], remaining_s: float | None
    ) -> Step:
        """A job while a worker is free, a candidate to measure, or wait; Done at the end."""
        state = self.states.state(evaluations, running)
        left_s = search_left_s(state, remaining_s)
        if left_s is not None and left_s <= 0:
            return Done()
        if len(running) >= state.problem.training_time.workers:
            return Wait()
        idle = Wait() if running else Done()
        return self.policy.next_step(state, left_s) or idle

    def stops(
        self, evaluations: Evaluations, running: Collection[Job]
    ) -> Sequence[tuple[Candidate, str]]:
        """Trained candidates that cannot reach the front, each with the reason."""
        return self.policy.stops(self.states.state(evaluations, running))

    def finalists(self, evaluations: Evaluations, remaining_s: float | None) -> Sequence[Job]:
        """The decay jobs of those that could still enter the front, best first, in the time."""
        return finalists(self.states.state(evaluations), remaining_s)

    def finish_s(self, evaluations: Evaluations, jobs: Sequence[Job]) -> float:
        """Seconds until these are confirmed and all files are written."""
        return finish_s(self.states.state(evaluations), jobs)

    # -- for the user: decides nothing

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
