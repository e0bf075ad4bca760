"""Our search with one of its ideas taken away at a time; all else stays as it is."""

from __future__ import annotations

import math
import sys
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import fields, replace
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
from tabular.replay import Trajectory, Walk, judged, ours, replay
from tabular.tables import Table

from autoseg.core.records import Candidate, Constraints, Evaluation, Job
from autoseg.search.gp import Array
from autoseg.search.proposers.optuna import Observation, OptunaProposer
from autoseg.search.protocol import Evaluations, Screen, Step, Wait
from autoseg.search.scheduler import Choices, HypervolumeScheduler
from autoseg.search.state import View
from autoseg.search.status import epoch_of, p50

# Times what the whole table costs: so much simulated time that a search ends when it has enough.
BUDGETS = 10


class CostBlind(HypervolumeScheduler):
    """Takes what is expected to add most, whatever it costs."""

    def worth(self, choices: Choices) -> Array:
        return choices.gains


class NeverStopping(HypervolumeScheduler):
    """What is started goes to the top at once, and nothing is stopped."""

    def choices(self, view: View, left_s: float | None) -> Choices:
        found = super().choices(view, left_s)
        whole = found.rungs == self.recipe.rungs[-1]
        return Choices(*(getattr(found, f.name)[whole] for f in fields(found)))

    def stops(
        self, evaluations: Evaluations, running: Collection[Job]
    ) -> Sequence[tuple[Candidate, str]]:
        return ()

    def propose(
        self, evaluations: Evaluations, running: Collection[Job], remaining_s: float | None
    ) -> Step:
        if len(running) >= self.pricing.workers:
            return Wait()
        busy = {job.candidate.key for job in running}
        for e in evaluations.values():
            begun = e.state == "scored" and e.candidate.key not in busy
            if begun and (job := self.next_job(e)):
                return job
        return super().propose(evaluations, running, remaining_s)


class LatencyLast(HypervolumeScheduler):
    """Latency is known only of what was trained; of the rest it is guessed from those."""

    def view(self, evaluations: Evaluations, running: Collection[Job]) -> View:
        timed = {key: e for key, e in evaluations.items() if e.measurement}
        return super().view(timed, running)

    def _step(self, view: View, row: int) -> Step:
        step = super()._step(view, row)
        return Job(step.candidate, 0, self.recipe.rungs[0]) if isinstance(step, Screen) else step


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


class Proposed(HypervolumeScheduler):
    """Decides when to start another candidate, but Optuna's GP decides which one."""

    sampler = "gp"

    def _step(self, view: View, row: int) -> Step:
        known = view.evaluations.get(self.ground.candidates[row].key)
        if known is not None and epoch_of(known):
            return super()._step(view, row)
        chosen = self._proposal(view)
        if chosen is None:
            return super()._step(view, row)
        known = view.evaluations.get(chosen.key)
        return Screen(chosen) if known is None else Job(chosen, 0, self.recipe.rungs[0])

    def _proposal(self, view: View) -> Candidate | None:
        proposer = OptunaProposer(
            self.space, self.effort, self.constraints, self.seed, self.sampler
        )
        busy = {job.candidate.key for job in view.running}

        def allowed(candidate: Candidate) -> bool:
            known = view.evaluations.get(candidate.key)
            untried = known is None or (known.state == "measured" and not epoch_of(known))
            return untried and candidate.key in self.ground.rows and candidate.key not in busy

        history = [seen for e in view.evaluations.values() if (seen := self._told(view, e))]
        return proposer.propose(history, allowed, len(view.evaluations))

    def _told(self, view: View, evaluation: Evaluation) -> Observation | None:
        """What the surrogate expects of a begun one at the top; the floor for the too slow."""
        if not evaluation.measurement:
            return None
        iou, floor = None, self.constraints.min_iou
        if epoch_of(evaluation) and view.row(evaluation) is not None:
            mean, _ = view.after([evaluation], [self.recipe.rungs[-1]])
            iou = 1 - math.exp(float(mean[0]))
        elif evaluation.state != "too_slow":
            return None
        at = p50(evaluation), floor if iou is None else iou
        return Observation(evaluation.candidate, *at, imputed=iou is None)


def without(
    table: Table,
    constraints: Constraints,
    seed: int,
    *,
    kind: type[HypervolumeScheduler],
    walk: type[Walk] = Walk,
    enough: float = 0.99,
) -> Trajectory:
    """One search by a variant, or by `HypervolumeScheduler` itself."""
    budget_s = BUDGETS * table.total_s
    scheduler = ours(table, constraints, seed=seed, budget_s=budget_s, kind=kind)
    return replay(table, scheduler, constraints, budget_s=budget_s, enough=enough, walk=walk)


VARIANTS = {
    "without latency first": partial(without, kind=LatencyLast, walk=LateWalk),
    "without early stopping": partial(without, kind=NeverStopping),
    "without known latency": partial(without, kind=Proposed),
    "without cost": partial(without, kind=CostBlind),
}
