"""The scheduler with one of Optuna's samplers in place of our own choice.

Latency comes first here, too: what is too slow is not trained, and the sampler is told so. Each
candidate that it proposes is trained to the longest rung, since a sampler learns from whole
trainings only.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property

from autoseg.core.records import Candidate, Evaluation, Job
from autoseg.search.proposers.optuna import Observation, OptunaProposer
from autoseg.search.protocol import Done, Evaluations, Outlook, Screen, Step, Wait
from autoseg.search.scheduler import HypervolumeScheduler
from autoseg.search.status import epoch_of, p50, undecayed


@dataclass
class SamplerScheduler:
    """`search` does all but choosing: survey, verdict, finishing and outlook."""

    search: HypervolumeScheduler
    proposer: OptunaProposer

    @cached_property
    def _surveyed(self) -> frozenset[Candidate]:
        return frozenset(self.survey())

    def survey(self) -> Sequence[Candidate]:
        return self.search.survey()

    def verdict(self, evaluations: Evaluations) -> Sequence[str]:
        return self.search.verdict(evaluations)

    def plan(
        self, evaluations: Evaluations, left_s: float | None, spent_s: float
    ) -> Sequence[str]:
        return self.search.plan(evaluations, left_s, spent_s)

    def propose(
        self, evaluations: Evaluations, running: Collection[Job], remaining_s: float | None
    ) -> Step:
        """The next rung of what was begun, else the sampler's next candidate."""
        left_s = self.search.left_s(evaluations, running, remaining_s)
        if left_s is not None and left_s <= 0:
            return Done()
        if len(running) >= self.search.pricing.workers:
            return Wait()
        if job := self._begun(evaluations, running, left_s):
            return job
        candidate = self._next(evaluations, running, left_s)
        if candidate is None:
            return Wait() if running else Done()
        known = candidate.key in evaluations
        return Job(candidate, 0, self.search.recipe.rungs[0]) if known else Screen(candidate)

    def stops(
        self, evaluations: Evaluations, running: Collection[Job]
    ) -> Sequence[tuple[Candidate, str]]:
        """None: a sampler learns from whole trainings."""
        return ()

    def finalists(self, evaluations: Evaluations, remaining_s: float | None) -> Sequence[Job]:
        return self.search.finalists(evaluations, remaining_s)

    def finish_s(self, evaluations: Evaluations, jobs: Sequence[Job]) -> float:
        return self.search.finish_s(evaluations, jobs)

    def outlook(
        self, evaluations: Evaluations, running: Collection[Job], horizon_s: float
    ) -> Outlook | None:
        return self.search.outlook(evaluations, running, horizon_s)

    def _begun(
        self, evaluations: Evaluations, running: Collection[Job], left_s: float | None
    ) -> Job | None:
        busy = {job.candidate.key for job in running}
        for e in evaluations.values():
            chosen = e.state == "scored" or (e.state == "measured" and self._asked_for(e))
            if chosen and e.candidate.key not in busy:
                job = self.search.next_job(e)
                if job and self._in_time(job, evaluations, left_s):
                    return job
        return None

    def _asked_for(self, evaluation: Evaluation) -> bool:
        """Whether the sampler has proposed it: all that was measured after the survey."""
        return evaluation.candidate not in self._surveyed

    def _in_time(self, job: Job, evaluations: Evaluations, left_s: float | None) -> bool:
        if left_s is None or not any(undecayed(e) for e in evaluations.values()):
            return True
        price_s = self.search.pricing.epoch_s(job.candidate, evaluations)
        return (job.to_epoch - job.from_epoch) * price_s < left_s

    def _next(
        self, evaluations: Evaluations, running: Collection[Job], left_s: float | None
    ) -> Candidate | None:
        busy = {job.candidate.key for job in running}
        trials = self.search.trials
        full = trials is not None and len(evaluations) >= trials

        def allowed(candidate: Candidate) -> bool:
            known = evaluations.get(candidate.key)
            if known is None:
                able = not full and self.search.pricing.buildable(candidate)
            else:
                able = known.state == "measured" and candidate.key not in busy
            whole = Job(candidate, 0, self.search.recipe.rungs[-1])
            return able and self._in_time(whole, evaluations, left_s)

        history = [seen for e in evaluations.values() if (seen := self._observation(e))]
        proposed = self.proposer.propose(history, allowed, len(history))
        # Where no more may be measured, a sampler of a large space may never hit what is.
        measured = (e.candidate for e in evaluations.values() if allowed(e.candidate))
        return proposed or next(measured, None)

    def _observation(self, evaluation: Evaluation) -> Observation | None:
        """What the sampler is told: whole trainings, and the floor for what is too slow."""
        score = undecayed(evaluation)
        if evaluation.measurement is None:
            return None
        if score and epoch_of(evaluation) == self.search.recipe.rungs[-1]:
            return Observation(evaluation.candidate, p50(evaluation), score.iou, imputed=False)
        if evaluation.state != "too_slow":
            return None
        floor = self.search.constraints.min_iou
        return Observation(evaluation.candidate, p50(evaluation), floor, imputed=True)
