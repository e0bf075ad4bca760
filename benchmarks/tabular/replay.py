"""A whole search against a table: the real scheduler, a simulated clock, a second of real time.

    python benchmarks/tabular/replay.py packages --seed 0 --workers 2      # prints a trajectory

    from tabular.replay import ours, replay        # with benchmarks/ on sys.path
    from tabular.tables import load
    table = load("packages")                       # or the path of the thesis' fastscnn_rpi4.csv
    asked = Constraints(table.latency_at(0.5), 0.93, "p50")
    seen = replay(table, ours(table, asked, seed=0), asked)
    seen.seconds_to(0.99)                          # training seconds, inf where it never got there

Any policy serves; what a scheduler needs of a table is `table.space`, `table.recipe` and
`table.training_time`. The clock moves by the measurements, which pause the trainings as
on a machine that does both, and by the trainings. At each moment a search is worth the hypervolume
of what finishing now would give: of every candidate the decayed IoU at the highest rung that it
has reached. The decays are charged to nobody."""

from __future__ import annotations

import argparse
import heapq
import itertools
import math
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
from tabular.tables import Table, load

from autoseg.core.errors import CandidateError
from autoseg.core.feasibility import MIN_P_FEASIBLE, p_latency_met
from autoseg.core.pareto import Point, hypervolume
from autoseg.core.records import Candidate, Constraints, Evaluation, Job, Measurement, Score, State
from autoseg.search.expected_hypervolume import ExpectedHypervolume
from autoseg.search.protocol import Done, Screen, Wait
from autoseg.search.scheduler import Policy, SearchScheduler
from autoseg.search.state import SearchProblem, StateBuilder

HALF_WIDTH = 0.01  # of the screening measurement's 95 % interval, as a share of the median


@dataclass
class Clock:
    """Simulated seconds."""

    now_s: float = 0.0


@dataclass(frozen=True)
class TableDevice:
    """Times a candidate by looking it up."""

    table: Table
    clock: Clock

    def measure(self, candidate: Candidate) -> Measurement:
        if candidate.key not in self.table.entries:
            raise CandidateError(f"{candidate} is not in the table")
        entry = self.table.entries[candidate.key]
        self.clock.now_s += entry.measure_s
        return timing(entry.latency_ms)


def timing(p50_ms: float) -> Measurement:
    """A measurement without a tail: every percentile is the median."""
    interval = (1 - HALF_WIDTH) * p50_ms, (1 + HALF_WIDTH) * p50_ms
    return Measurement(
        device="table", phase="screen", runtime="", threads=1, provider="", runs=400, warmup=1,
        min_ms=p50_ms, mean_ms=p50_ms, std_ms=0.0, p50_ms=p50_ms, p50_ci_ms=interval,
        p90_ms=p50_ms, p90_ci_ms=interval, p95_ms=p50_ms, p99_ms=p50_ms, load_ms=0.0,
        peak_rss_bytes=0, onnx_digest="", taken_at="",
    )  # fmt: skip


def judged(measurement: Measurement, constraints: Constraints) -> State:
    """What a screening makes of a candidate."""
    too_slow = p_latency_met(measurement, constraints) < 1 - MIN_P_FEASIBLE
    return "too_slow" if too_slow else "measured"


@dataclass
class TablePool:
    """Jobs end when the clock says so; at most `workers` at a time."""

    table: Table
    clock: Clock
    workers: int
    seed: int = 0
    _ends: list[tuple[float, int, Job]] = field(default_factory=list)
    _number: Iterator[int] = field(default_factory=itertools.count)

    @property
    def running(self) -> Sequence[Job]:
        return [job for _, _, job in self._ends]

    def submit(self, job: Job) -> None:
        if len(self._ends) >= self.workers:
            raise ValueError(f"{self.workers} workers are busy, and {job.id} was submitted")
        end = self.clock.now_s + self.seconds(job)
        heapq.heappush(self._ends, (end, next(self._number), job))

    def seconds(self, job: Job) -> float:
        """Those of every rung that the job passes, or of the branch that decays."""
        cells = self.table.entries[job.candidate.key].cells[self.seed]
        if job.decay:
            return cells[job.from_epoch, True].train_s
        passed = [r for r in self.table.recipe.rungs if job.from_epoch < r <= job.to_epoch]
        return sum(cells[rung, False].train_s for rung in passed)

    def wait(self, timeout_s: float) -> Iterator[Job]:
        """What has ended by now; with any patience at all, the next end comes first."""
        if timeout_s > 0 and self._ends:
            self.clock.now_s = max(self.clock.now_s, self._ends[0][0])
        while self._ends and self._ends[0][0] <= self.clock.now_s:
            yield heapq.heappop(self._ends)[2]

    @contextmanager
    def paused(self) -> Iterator[None]:
        began_s = self.clock.now_s
        yield
        lost_s = self.clock.now_s - began_s
        self._ends = [(end + lost_s, number, job) for end, number, job in self._ends]


@dataclass(frozen=True)
class Moment:
    """After a job: simulated seconds, seconds of training by all workers, and hypervolume."""

    clock_s: float
    train_s: float
    hypervolume: float


@dataclass(frozen=True)
class Trajectory:
    """How a search went; `full` is the hypervolume of the exhaustive front."""

    moments: tuple[Moment, ...]
    full: float
    evaluations: dict[str, Evaluation]
    jobs: tuple[Job, ...]
    real_s: float
    stand_ins: int = 0
    """Of what was trained, how many a sampler did not propose itself."""

    def seconds_to(self, share: float) -> float:
        """Training seconds until this share of the hypervolume is first there; else infinite."""
        if not self.full:
            return math.inf
        enough = (m.train_s for m in self.moments if m.hypervolume >= share * self.full)
        return next(enough, math.inf)

    @property
    def share(self) -> float:
        """Of the exhaustive front's hypervolume, at the end."""
        return self.moments[-1].hypervolume / self.full if self.moments and self.full else 0.0


class Credit:
    """The true hypervolume of what finishing now would give, kept up as rungs are reached."""

    def __init__(self, truth: Table, constraints: Constraints) -> None:
        self._truth, self._constraints = truth, constraints
        self._points: dict[str, Point] = {}
        self.full = truth.full(constraints)
        self.hypervolume = 0.0

    def reached(self, key: str, rung: int) -> float:
        """The hypervolume once a candidate has reached a rung."""
        latency_ms, iou = self._truth.point(key, rung)
        asked = self._constraints
        inside = latency_ms < asked.max_latency_ms and iou > asked.min_iou
        if inside or key in self._points:
            self._points[key] = latency_ms, iou
            self.hypervolume = hypervolume(self._points.values(), asked)
        return self.hypervolume


@dataclass
class Walk:
    """One search while it goes on."""

    table: Table
    scheduler: SearchScheduler
    constraints: Constraints
    clock: Clock
    pool: TablePool
    device: TableDevice
    evaluations: dict[str, Evaluation] = field(default_factory=dict)
    jobs: list[Job] = field(default_factory=list)
    train_s: float = 0.0

    def screen(self, candidates: Iterable[Candidate]) -> None:
        """As the product does: what is surely too slow is never trained."""
        for candidate in candidates:
            if candidate.key in self.evaluations:
                continue
            cost = self.table.costs.get(candidate.key)
            known = Evaluation(candidate=candidate, state="proposed", cost=cost)
            try:
                with self.pool.paused():
                    measurement = self.device.measure(candidate)
            except CandidateError as error:
                known = replace(known, state="failed", error=str(error))
            else:
                state = judged(measurement, self.constraints)
                known = replace(known, state=state, measurements=(measurement,))
            self.evaluations[candidate.key] = known

    def collect(self, ended: Iterable[Job]) -> Iterator[Job]:
        """Write down what jobs brought, then stop what can no longer matter."""
        for job in ended:
            self.jobs.append(job)
            self.train_s += 0.0 if job.decay else self.pool.seconds(job)
            before = self.evaluations[job.candidate.key]
            score = self.score(job, before)
            self.evaluations[job.candidate.key] = replace(
                before, state="scored", scores=(*before.scores, score)
            )
            for candidate, reason in self.scheduler.stops(self.evaluations, self.pool.running):
                stopped = replace(self.evaluations[candidate.key], state="stopped", error=reason)
                self.evaluations[candidate.key] = stopped
            yield job

    def score(self, job: Job, before: Evaluation) -> Score:
        entry = self.table.entries[job.candidate.key]
        rung = job.from_epoch if job.decay else job.to_epoch
        cell = entry.cell(rung, decayed=job.decay, seed=self.pool.seed)
        earlier = before.score("val", source="torch", decayed=False)
        train_s = (earlier.train_s if earlier else 0.0) + self.pool.seconds(job)
        return Score(
            split="val",
            source="torch",
            iou=cell.iou,
            iou_ci95=cell.iou_ci95,
            class_iou=(cell.iou,),
            pixel_accuracy=cell.iou,
            epoch=job.to_epoch,
            train_s=train_s,
            seed=self.pool.seed,
            decayed=job.decay,
        )

    def steps(self, budget_s: float | None) -> Iterator[Job]:
        """The loop of a journey's search; the jobs as they end."""
        self.screen(self.scheduler.survey())
        while True:
            yield from self.collect(self.pool.wait(0.0))
            left_s = None if budget_s is None else budget_s - self.clock.now_s
            step = self.scheduler.next_step(self.evaluations, self.pool.running, left_s)
            match step:
                case Screen(candidate):
                    self.screen([candidate])
                case Job():
                    self.pool.submit(step)
                case Wait():
                    yield from self.collect(self.pool.wait(1.0))
                case Done():
                    return


def replay(
    table: Table,
    scheduler: SearchScheduler,
    constraints: Constraints,
    *,
    workers: int = 1,
    budget_s: float | None = None,
    enough: float = math.inf,
    truth: Table | None = None,
    walk: type[Walk] = Walk,
) -> Trajectory:
    """The search of a scheduler in a table, until it is done or has `enough` of the hypervolume.

    `truth` is what the trajectory is worth by, where the table is a noisy view of it. The budget
    is in simulated seconds and must be the scheduler's own.
    """
    clock, began = Clock(), time.perf_counter()
    pool = TablePool(table, clock, workers)
    search = walk(table, scheduler, constraints, clock, pool, TableDevice(table, clock))
    credit = Credit(truth or table, constraints)
    moments: list[Moment] = []
    for job in search.steps(budget_s):
        if not job.decay:
            credit.reached(job.candidate.key, job.to_epoch)
        moments.append(Moment(clock.now_s, search.train_s, credit.hypervolume))
        if credit.hypervolume >= enough * credit.full:
            break
    real_s = time.perf_counter() - began
    return Trajectory(tuple(moments), credit.full, search.evaluations, tuple(search.jobs), real_s)


def ours(
    table: Table,
    constraints: Constraints,
    *,
    seed: int,
    workers: int = 1,
    budget_s: float | None = None,
    policy: Policy | None = None,
) -> SearchScheduler:
    """The scheduler as a run makes it, over a table; with another policy for a variant of it."""
    problem = SearchProblem(
        space=table.space, effort="expert", constraints=constraints, recipe=table.recipe,
        training_time=table.training_time, seed=seed, budget_s=budget_s,
    )  # fmt: skip
    return SearchScheduler(StateBuilder(problem), policy or ExpectedHypervolume(), workers)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("table", help="a name in results/reference, or the path of the thesis'")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--budget", type=float, help="simulated seconds")
    parser.add_argument("--ceiling", type=float, help="ms; by default half of the table fits")
    parser.add_argument("--floor", type=float, default=0.93)
    show(parser.parse_args())


def show(asked: argparse.Namespace) -> None:
    table = load(asked.table)
    constraints = Constraints(asked.ceiling or table.latency_at(0.5), asked.floor, "p50")
    given = {"workers": asked.workers, "budget_s": asked.budget}
    scheduler = ours(table, constraints, seed=asked.seed, **given)
    seen = replay(table, scheduler, constraints, **given)
    print(f"{len(table.entries)} candidates, latencies {table.latencies}, {table.total_s:.0f} s")
    for moment, job in zip(seen.moments, seen.jobs, strict=True):
        share = moment.hypervolume / seen.full if seen.full else 0.0
        at = f"{moment.clock_s:9.1f} {moment.train_s:9.1f} {share:7.4f}"
        print(f"{at}  {job.id} {job.candidate}")
    states = [e.state for e in seen.evaluations.values()]
    print({state: states.count(state) for state in sorted(set(states))}, f"{seen.real_s:.2f} s")
    print({share: round(seen.seconds_to(share), 1) for share in (0.9, 0.95, 0.99)})


if __name__ == "__main__":
    main()
