"""The rehearsal: the rest of the search, played on its own forecasts, to plan with what may come.

The scheduler decides as it will in the run. Latencies and IoUs are one seeded draw from the models
so far; the seconds are the expected ones. Before any score the models are priors and the figures
rough, but they count what a sum over first rungs leaves out: promotions, measuring, the finish.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from statistics import median
from typing import Protocol

import numpy as np

from autoseg.core.feasibility import MIN_P_FEASIBLE, p_latency_met
from autoseg.core.records import Candidate, Evaluation, Job, Measurement, Score
from autoseg.search.finalists import finish_s, search_left_s
from autoseg.search.overheads import WORKER_START_S
from autoseg.search.protocol import Evaluations, Screen, Step, Wait
from autoseg.search.state import SearchState, StateBuilder
from autoseg.search.status import epoch_of, p50_ms, undecayed

MAX_JOBS = 120  # that are rehearsed: enough for hours, in a second or two
USUAL_CI95 = 0.02  # width of an IoU's interval, before any score


class Player(Protocol):
    """The decisions of the scheduler."""

    @property
    def states(self) -> StateBuilder: ...

    def state(self, evaluations: Evaluations) -> SearchState: ...

    def next_step(
        self, evaluations: Evaluations, running: Collection[Job], remaining_s: float | None
    ) -> Step: ...

    def finalists(self, evaluations: Evaluations, remaining_s: float | None) -> Sequence[Job]: ...


@dataclass(frozen=True, kw_only=True)
class Rehearsal:
    """What the time is expected to bring; not `whole` where more jobs follow than are rehearsed:
    such a search is expected to use all of its time.

    `first_rungs` are candidates that reach their first rung, `longest` the epochs of the one that
    is trained furthest, `finalists` those that take the final check; all seconds are from now.
    """

    measured: int
    first_rungs: int
    longest: int
    finalists: int
    search_s: float
    ends_s: float
    whole: bool


def rehearse(scheduler: Player, evaluations: Evaluations, left_s: float) -> Rehearsal:
    """Play the search from these evaluations on, with `left_s` seconds left."""
    stage = _Stage(scheduler, dict(evaluations), left_s)
    begun = sum(map(_is_begun, evaluations.values()))
    whole = stage.play()
    search_s, after = stage.now_s, stage.evaluations
    jobs = scheduler.finalists(after, left_s - search_s)
    finish = finish_s(scheduler.state(after), jobs)
    return Rehearsal(
        measured=len(after) - len(evaluations),
        first_rungs=sum(map(_is_begun, after.values())) - begun,
        longest=max(map(epoch_of, after.values()), default=0),
        finalists=len(jobs),
        search_s=search_s,
        ends_s=search_s + finish if whole else left_s,
        whole=whole,
    )


@dataclass
class _Stage:
    """The clock and the evaluations of a rehearsal."""

    scheduler: Player
    evaluations: dict[str, Evaluation]
    left_s: float
    now_s: float = 0.0
    running: list[tuple[float, Job]] = field(default_factory=list)
    rng: np.random.Generator = field(init=False)

    def __post_init__(self) -> None:
        self.rng = np.random.default_rng(self.scheduler.states.problem.seed)

    def play(self) -> bool:
        """Until the search ends; False where it was cut after `MAX_JOBS` jobs."""
        jobs = 0
        while jobs < MAX_JOBS:
            running = [job for _, job in self.running]
            step = self.scheduler.next_step(self.evaluations, running, self.left_s - self.now_s)
            match step:
                case Screen(candidate):
                    self._screen(candidate)
                case Job():
                    jobs += 1
                    self._start(step)
                case Wait() if self._ends_in_time():
                    self._end_next()
                case _:
                    return True
        return False

    def _state(self) -> SearchState:
        return self.scheduler.state(self.evaluations)

    def _ends_in_time(self) -> bool:
        """Whether a job ends before the search does; else the clock goes to the search's end."""
        left_s = search_left_s(self._state(), self.left_s - self.now_s) or 0.0
        if min(end_s for end_s, _ in self.running) <= self.now_s + left_s:
            return True
        self.now_s += left_s
        return False

    def _screen(self, candidate: Candidate) -> None:
        state = self._state()
        seconds = state.problem.training_time.overheads.screen_s(self.evaluations.values())
        self.now_s += seconds
        # Measuring stops the trainings beside it, or holds up the handing out of jobs.
        self.running = [(end_s + seconds, job) for end_s, job in self.running]
        row = state.candidates.rows[candidate.key]
        mean, sd = (column[row] for column in state.predicted_log_ms)
        ms = math.exp(self.rng.normal(mean, sd if state.predicts_latency else 0.0))
        timed = _alike(self.evaluations.values(), ms)
        slow = p_latency_met(timed, state.problem.constraints) < 1 - MIN_P_FEASIBLE
        self.evaluations[candidate.key] = Evaluation(
            candidate=candidate,
            state="too_slow" if slow else "measured",
            cost=state.candidates.costs[row],
            measurements=(timed,),
            screened_s=seconds,
        )

    def _start(self, job: Job) -> None:
        times = self._state().problem.training_time
        seconds = times.job_s(job, self.evaluations)
        if not any(map(_is_begun, self.evaluations.values())):
            seconds += WORKER_START_S
        self.running.append((self.now_s + seconds, job))

    def _end_next(self) -> None:
        end_s, job = min(self.running, key=lambda pair: pair[0])
        self.running.remove((end_s, job))
        self.now_s = max(self.now_s, end_s)
        state, key = self._state(), job.candidate.key
        mean, sd = state.forecast([before := self.evaluations[key]], [job.to_epoch])[:, 0]
        iou = max(0.0, 1 - math.exp(self.rng.normal(mean, sd)))
        epochs_s = job.to_epoch * state.problem.training_time.epoch_s(
            job.candidate, self.evaluations
        )
        score = _score(iou, job, epochs_s, _usual_width(self.evaluations))
        self.evaluations[key] = replace(before, state="scored", scores=(*before.scores, score))


def _alike(evaluations: Collection[Evaluation], ms: float) -> Measurement:
    """A measurement as those so far, with its median at `ms`."""
    model = max((e for e in evaluations if e.measurements), key=lambda e: -p50_ms(e))
    return _scaled(model.measurements[0], ms / model.measurements[0].p50_ms)


def _scaled(measurement: Measurement, factor: float) -> Measurement:
    low, high = measurement.p50_ci_ms
    times = ("min_ms", "mean_ms", "std_ms", "p50_ms", "p90_ms", "p95_ms", "p99_ms")
    known = {name: ms for name in times if (ms := getattr(measurement, name)) is not None}
    p90 = measurement.p90_ci_ms
    return replace(
        measurement,
        **{name: factor * ms for name, ms in known.items()},
        p50_ci_ms=(factor * low, factor * high),
        p90_ci_ms=(factor * p90[0], factor * p90[1]) if p90 else None,
    )


def _score(iou: float, job: Job, train_s: float, width: float) -> Score:
    return Score(
        split="val", source="torch", iou=iou, iou_ci95=(iou - width / 2, iou + width / 2),
        class_iou=(iou,), pixel_accuracy=iou, epoch=job.to_epoch, train_s=train_s, seed=0,
    )  # fmt: skip


def _usual_width(evaluations: Evaluations) -> float:
    known = [s.iou_ci95[1] - s.iou_ci95[0] for e in evaluations.values() if (s := undecayed(e))]
    return median(known) if known else USUAL_CI95


def _is_begun(evaluation: Evaluation) -> bool:
    return undecayed(evaluation) is not None
