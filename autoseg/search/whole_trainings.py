"""The policy for a sampler's proposals: each is trained to the longest rung.

Optuna's samplers learn from whole trainings only. Latency comes first here, too: a candidate over
the ceiling is not trained, and the sampler gets it with the floor as its IoU.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

from autoseg.core.records import Candidate, Evaluation, Job
from autoseg.search.protocol import Observation, Proposer, Screen
from autoseg.search.state import SearchState
from autoseg.search.status import next_job, p50_ms, undecayed

MAX_PROPOSALS = 500  # after which nothing new is expected of a proposer


@dataclass(frozen=True)
class WholeTrainings:
    """Trains the candidates begun to the longest rung, then takes the proposer's next one."""

    proposer: Proposer

    def next_step(self, state: SearchState, left_s: float | None) -> Screen | Job | None:
        """The next rung of one that was begun, else the measurement or first rung of a new one."""
        if job := _begun(state, left_s):
            return job
        candidate = self._next(state, left_s)
        if candidate is None:
            return None
        known = candidate.key in state.evaluations
        return Job(candidate, 0, state.recipe.rungs[0]) if known else Screen(candidate)

    def stops(self, state: SearchState) -> Sequence[tuple[Candidate, str]]:
        """None: a sampler learns from whole trainings."""
        return ()

    def prefers_training(self, state: SearchState, left_s: float | None) -> bool:
        """Yes: the survey serves the verdict; what a sampler proposes is measured later."""
        return True

    def _next(self, state: SearchState, left_s: float | None) -> Candidate | None:
        """The first proposal that may be taken, else any measured candidate that may."""
        known = (_observation(state, e) for e in state.evaluations.values())
        history = [observation for observation in known if observation]
        proposed = self.proposer.propose(history, MAX_PROPOSALS)
        # Where no more may be measured, a sampler of a large space may never hit a measured one.
        measured = [e.candidate for e in state.evaluations.values()]
        return next((c for c in chain(proposed, measured) if _is_allowed(state, c, left_s)), None)


def _begun(state: SearchState, left_s: float | None) -> Job | None:
    """The next job of the first that was trained, or proposed and measured, and has one."""
    for e in state.evaluations.values():
        # What was measured after the survey was proposed.
        proposed = e.state == "measured" and e.candidate not in state.surveyed
        if (e.state == "scored" or proposed) and e.candidate.key not in state.busy:
            job = next_job(e, state.recipe)
            if job and _in_time(state, job, left_s):
                return job
    return None


def _is_allowed(state: SearchState, candidate: Candidate, left_s: float | None) -> bool:
    """Whether it may be begun, and trained to the longest rung in the time."""
    known = state.evaluations.get(candidate.key)
    if known is None:
        able = state.may_measure and state.problem.training_time.buildable(candidate)
    else:
        able = known.state == "measured" and candidate.key not in state.busy
    return able and _in_time(state, Job(candidate, 0, state.recipe.rungs[-1]), left_s)


def _in_time(state: SearchState, job: Job, left_s: float | None) -> bool:
    """Whether the job ends in time; before any score, its seconds are guesses."""
    if left_s is None or not any(undecayed(e) for e in state.evaluations.values()):
        return True
    epoch_s = state.problem.training_time.epoch_s(job.candidate, state.evaluations)
    return (job.to_epoch - job.from_epoch) * epoch_s < left_s


def _observation(state: SearchState, evaluation: Evaluation) -> Observation | None:
    """For a whole training its IoU, for one that is too slow the floor; None for all others."""
    score = undecayed(evaluation)
    if score and score.epoch == state.recipe.rungs[-1]:
        iou = score.iou
    elif evaluation.state == "too_slow":
        iou = state.problem.constraints.min_iou
    else:
        return None
    return Observation(evaluation.candidate, p50_ms(evaluation), iou)
