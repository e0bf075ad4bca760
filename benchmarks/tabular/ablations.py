"""Our search with one of its ideas taken away at a time; all else stays as it is."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
from tabular.replay import Trajectory, Walk, judged, ours, replay
from tabular.tables import Table

from autoseg.core.records import Candidate, Constraints, Evaluation, Job
from autoseg.search.expected_hypervolume import ExpectedHypervolume, Options
from autoseg.search.gp import Array
from autoseg.search.proposers.optuna import OptunaProposer
from autoseg.search.protocol import Observation, Screen
from autoseg.search.scheduler import Policy
from autoseg.search.state import SearchState
from autoseg.search.status import epoch_of, next_job, p50_ms

# Times what the whole table costs: so much simulated time that a search ends when it has enough.
BUDGETS = 10


class CostBlind(ExpectedHypervolume):
    """Takes what is expected to add most, whatever it costs."""

    def worth(self, options: Options) -> Array:
        return options.gains


class NeverStopping(ExpectedHypervolume):
    """What is started goes to the top at once, and nothing is stopped."""

    def options(self, state: SearchState, left_s: float | None) -> Options:
        found = super().options(state, left_s)
        whole = found.rungs == state.recipe.rungs[-1]
        return found.where(whole)

    def stops(self, state: SearchState) -> Sequence[tuple[Candidate, str]]:
        return ()

    def next_step(self, state: SearchState, left_s: float | None) -> Screen | Job | None:
        busy = {job.candidate.key for job in state.running}
        for e in state.evaluations.values():
            begun = e.state == "scored" and e.candidate.key not in busy
            if begun and (job := next_job(e, state.recipe)):
                return job
        return super().next_step(state, left_s)


class LatencyLast(ExpectedHypervolume):
    """Latency is known only of what was trained; of the rest it is predicted from those."""

    def next_step(self, state: SearchState, left_s: float | None) -> Screen | Job | None:
        timed = {key: e for key, e in state.evaluations.items() if e.measurement}
        step = super().next_step(replace(state, evaluations=timed), left_s)
        if isinstance(step, Screen):
            return Job(step.candidate, 0, state.recipe.rungs[0])
        return step


class LateWalk(Walk):
    """Measures after the first training, not before it."""

    def screen(self, candidates: Iterable[Candidate]) -> None:
        for candidate in candidates:
            known = Evaluation(
                candidate=candidate, state="measured", cost=self.table.costs.get(candidate.key)
            )
            self.evaluations.setdefault(candidate.key, known)

    def collect(self, ended: Iterable[Job]) -> Iterator[Job]:
        jobs = list(ended)
        self.screen(job.candidate for job in jobs)
        for job in super().collect(jobs):
            known = self.evaluations[job.candidate.key]
            if not known.measurement:
                with self.pool.paused():
                    measurement = self.device.measure(job.candidate)
                late = judged(measurement, self.constraints) == "too_slow"
                state = "too_slow" if late else known.state
                known = replace(known, state=state, measurements=(measurement,))
                self.evaluations[job.candidate.key] = known
            yield job


class Proposed(ExpectedHypervolume):
    """Decides when to start another candidate, but Optuna's GP decides which one."""

    sampler = "gp"

    def step_to(self, state: SearchState, row: int) -> Screen | Job | None:
        known = state.evaluations.get(state.candidates.candidates[row].key)
        if known is not None and epoch_of(known):
            return super().step_to(state, row)
        chosen = self._proposal(state)
        if chosen is None:
            return super().step_to(state, row)
        known = state.evaluations.get(chosen.key)
        return Screen(chosen) if known is None else Job(chosen, 0, state.recipe.rungs[0])

    def _proposal(self, state: SearchState) -> Candidate | None:
        asked = state.problem
        proposer = OptunaProposer(
            asked.space, asked.effort, asked.constraints, asked.seed, self.sampler
        )
        busy = {job.candidate.key for job in state.running}

        def allowed(candidate: Candidate) -> bool:
            known = state.evaluations.get(candidate.key)
            untried = known is None or (known.state == "measured" and not epoch_of(known))
            there = candidate.key in state.candidates.rows
            return untried and there and candidate.key not in busy

        history = [seen for e in state.evaluations.values() if (seen := _observation(state, e))]
        return next(filter(allowed, proposer.proposals(history, len(state.evaluations))), None)


def _observation(state: SearchState, evaluation: Evaluation) -> Observation | None:
    """What the surrogate expects of a begun one at the top; the floor for the too slow."""
    if not evaluation.measurement:
        return None
    iou, floor = None, state.problem.constraints.min_iou
    if epoch_of(evaluation) and state.row(evaluation) is not None:
        mean, _ = state.forecast([evaluation], [state.recipe.rungs[-1]])
        iou = 1 - math.exp(float(mean[0]))
    elif evaluation.state != "too_slow":
        return None
    return Observation(evaluation.candidate, p50_ms(evaluation), floor if iou is None else iou)


def without(
    table: Table,
    constraints: Constraints,
    seed: int,
    *,
    policy: Policy,
    walk: type[Walk] = Walk,
    enough: float = 0.99,
) -> Trajectory:
    """One search by a variant, or by `ExpectedHypervolume` itself."""
    budget_s = BUDGETS * table.total_s
    scheduler = ours(table, constraints, seed=seed, budget_s=budget_s, policy=policy)
    return replay(table, scheduler, constraints, budget_s=budget_s, enough=enough, walk=walk)


VARIANTS = {
    "without latency first": partial(without, policy=LatencyLast(), walk=LateWalk),
    "without early stopping": partial(without, policy=NeverStopping()),
    "without known latency": partial(without, policy=Proposed()),
    "without cost": partial(without, policy=CostBlind()),
}
