"""The scheduler: decides what to do next from the evaluations alone, so the ledger suffices.

The path of a decision (`SearchScheduler.next_step`):

    evaluations -> SearchState (state.py): candidates, predicted latencies, IoU forecasts
        -> seconds left to search (finalists.py sets aside the time to finish)
        -> the policy chooses: the best of all options (expected_hypervolume.py),
           or the whole training of a sampler's proposal (whole_trainings.py)
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from autoseg.core.records import Candidate, Job, SlotKind
from autoseg.search.finalists import finalists, finish_s, search_left_s
from autoseg.search.fit import uncertain_share
from autoseg.search.outlook import outlook
from autoseg.search.plan import Plan, plan
from autoseg.search.protocol import Done, Evaluations, Outlook, Screen, Step, Wait
from autoseg.search.state import SearchState, StateBuilder
from autoseg.search.verdict import verdict_lines

MIN_SURVEYED = 8  # measurements from which the survey may end
MAX_UNCERTAIN = 0.05  # share of candidates that may be uncertain to fit when it ends


class Policy(Protocol):
    """The choice of the next step and of the candidates to stop; all else is shared."""

    def next_step(self, state: SearchState, left_s: float | None) -> Screen | Job | None:
        """What to measure or train in the `left_s` seconds left; None if nothing is worth it."""
        ...

    def stops(self, state: SearchState) -> Sequence[tuple[Candidate, str]]: ...

    def prefers_training(self, state: SearchState, left_s: float | None) -> bool:
        """Whether training what is measured is worth more than measuring another."""
        ...


@dataclass(frozen=True)
class SearchScheduler:
    """Decides what is worth doing next; survey, budget, workers and finish go for every policy.

    `workers` jobs run side by side, on slots of a `kind`: what the pool has when it decides.
    """

    states: StateBuilder
    policy: Policy
    workers: int = 1
    kind: SlotKind = "cpu"

    def having(self, workers: int, kind: SlotKind) -> SearchScheduler:
        """The same scheduler for so many slots; while there are none, one job waits for a slot."""
        return replace(self, workers=max(1, workers), kind=kind)

    def state(
        self, evaluations: Evaluations, running: Collection[Job] = (), *, measuring: bool = False
    ) -> SearchState:
        """What it decides from."""
        return self.states.state(
            evaluations, running, measuring=measuring, workers=self.workers, kind=self.kind
        )

    def survey(self) -> Sequence[Candidate]:
        """The candidates that are measured before anything is trained."""
        return self.states.surveyed

    def survey_is_enough(
        self, evaluations: Evaluations, remaining_s: float | None, *, beside: bool = False
    ) -> str | None:
        """Why another measurement of the survey is worth less than training; None while it is not.

        What fits decides what is trained, so that must be known of nearly all candidates first.
        Then a measurement must be worth more than training, as the policy weighs them, unless it
        is taken `beside` the training and costs none.
        """
        state = self.state(evaluations)
        share = uncertain_share(state)
        if share is None or share > MAX_UNCERTAIN or len(evaluations) < MIN_SURVEYED:
            return None
        known = f"{100 * share:.0f} % of the candidates are uncertain to fit"
        if beside:
            return known
        trains = self.policy.prefers_training(state, search_left_s(state, remaining_s))
        return f"{known}, and training is worth more than measuring another" if trains else None

    def next_step(
        self,
        evaluations: Evaluations,
        running: Collection[Job],
        remaining_s: float | None,
        *,
        measuring: bool = False,
    ) -> Step:
        """A job while a worker is free, a candidate to measure, or wait; Done at the end.

        While the device is `measuring`, only what is measured already may be taken.
        """
        state = self.state(evaluations, running, measuring=measuring)
        left_s = search_left_s(state, remaining_s)
        if left_s is not None and left_s <= 0:
            return Done()
        if len(running) >= self.workers:
            return Wait()
        idle = Wait() if running else Done()
        return self.policy.next_step(state, left_s) or idle

    def stops(
        self, evaluations: Evaluations, running: Collection[Job]
    ) -> Sequence[tuple[Candidate, str]]:
        """Trained candidates that cannot reach the front, each with the reason."""
        return self.policy.stops(self.state(evaluations, running))

    def finalists(self, evaluations: Evaluations, remaining_s: float | None) -> Sequence[Job]:
        """The decay jobs of those that could still enter the front, best first, in the time."""
        return finalists(self.state(evaluations), remaining_s)

    def finish_s(self, evaluations: Evaluations, jobs: Sequence[Job]) -> float:
        """Seconds until these are confirmed and all files are written."""
        return finish_s(self.state(evaluations), jobs)

    # -- for the user: decides nothing

    def verdict(self, evaluations: Evaluations) -> Sequence[str]:
        """What of the space fits the ceiling, and how much of it the budget can train."""
        return verdict_lines(self.state(evaluations))

    def plan(
        self,
        evaluations: Evaluations,
        left_s: float | None,
        spent_s: float,
        *,
        resumed: bool = False,
    ) -> Plan:
        """What is ahead: candidates, seconds of a training, and what the budget may bring."""
        return plan(self, self.state(evaluations), left_s, spent_s, resumed)

    def outlook(self, evaluations: Evaluations, horizon_s: float) -> Outlook | None:
        """What is reached, and what going on is expected to add; None before any training."""
        state = self.state(evaluations)
        return outlook(state, horizon_s) if state.active else None
