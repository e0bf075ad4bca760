"""Spaces, evaluations and whole searches made by hand: no network is trained, nothing is timed."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from factories import make_evaluation, make_score

from autoseg.core.records import Candidate, Constraints, Evaluation, Job
from autoseg.networks.space import Knob, SearchSpace
from autoseg.search.expected_hypervolume import ExpectedHypervolume
from autoseg.search.proposers.optuna import OptunaProposer
from autoseg.search.protocol import Done, Evaluations, Screen, Wait
from autoseg.search.scheduler import SearchScheduler
from autoseg.search.state import SearchProblem, StateBuilder
from autoseg.search.training_time import TrainingTime
from autoseg.search.whole_trainings import WholeTrainings
from autoseg.train.recipe import Recipe

ASKED = Constraints(max_latency_ms=10.0, min_iou=0.9)
RESOLUTION = Knob("resolution", (128, 96, 64), 128, "entry")
WIDTH = Knob("a", (0.5, 0.25, 0.125), 0.5, "intermediate")
LOCKED = (Knob("r", (1,), 1, "expert"), Knob("channels", (3,), 3, "expert"))


def space_of(*knobs: Knob) -> SearchSpace:
    return SearchSpace("toy", "fast_scnn", (*knobs, *LOCKED))


def by_key(*evaluations: Evaluation) -> dict[str, Evaluation]:
    return {e.candidate.key: e for e in evaluations}


# The cost of networks, counted once for all worlds of a space: it takes longer than most searches.
COUNTED: dict[tuple[str, tuple[Knob, ...]], dict] = {}


def scheduler_of(space: SearchSpace, sampler: str | None = None, **changed) -> SearchScheduler:
    said = {"effort": "expert", "constraints": ASKED, "recipe": Recipe(), "seed": 0, **changed}
    workers = said.pop("workers", 1)
    times = said.pop("times", None) or TrainingTime(
        space=space, recipe=said["recipe"], outputs=1, pictures=100,
        _counted=COUNTED.setdefault((space.network, space.knobs), {}),
    )  # fmt: skip
    problem = SearchProblem(space=space, training_time=times, **said)
    policy = ExpectedHypervolume()
    if sampler:
        policy = WholeTrainings(
            OptunaProposer(space, said["effort"], ASKED, said["seed"], sampler)
        )
    return SearchScheduler(StateBuilder(problem), policy, workers)


@dataclass
class World:
    """What the scheduler meets: each candidate's latency and its error after the last epoch."""

    scheduler: SearchScheduler
    latency_ms: Callable[[Candidate], float]
    error: Callable[[Candidate], float]
    epoch_s: float = 1.0
    spent_s: float = 0.0
    fails: Callable[[Job], bool] = lambda job: False
    seen: dict[str, Evaluation] = field(default_factory=dict)
    jobs: list[Job] = field(default_factory=list)
    constraints: Constraints = field(init=False)
    budget_s: float | None = field(init=False)

    def __post_init__(self) -> None:
        problem = self.scheduler.states.problem
        self.constraints, self.budget_s = problem.constraints, problem.budget_s

    def run(self) -> Evaluations:
        for candidate in self.scheduler.survey():
            self.screen(candidate)
        self.scheduler.verdict(self.seen)
        while not isinstance(step := self.scheduler.next_step(self.seen, [], self.left_s), Done):
            assert not isinstance(step, Wait), "nothing runs that could be waited for"
            self.screen(step.candidate) if isinstance(step, Screen) else self.train(step)
        while jobs := self.scheduler.finalists(self.seen, self.left_s):
            for job in jobs:
                self.train(job)
            for job in jobs:
                self.confirm(job)
        return self.seen

    @property
    def left_s(self) -> float | None:
        return self.budget_s and self.budget_s - self.spent_s

    def screen(self, candidate: Candidate) -> None:
        assert candidate.key not in self.seen, "measured twice"
        p50_ms = self.latency_ms(candidate)
        late = p50_ms > self.constraints.max_latency_ms
        self.seen[candidate.key] = make_evaluation(
            candidate, "too_slow" if late else "measured", p50_ms
        )
        self.spent_s += 1.0

    def train(self, job: Job) -> None:
        assert job not in self.jobs, "trained twice"
        self.jobs.append(job)
        self.spent_s += self.epoch_s * (job.to_epoch - job.from_epoch)
        before = self.seen[job.candidate.key]
        if self.fails(job):
            self.seen[job.candidate.key] = replace(before, state="failed", error="it fails")
            return
        left = 2.0 if job.decay else 3.0  # of the final error, after many epochs
        iou = max(0.0, 1 - self.error(job.candidate) * (1 + left / job.to_epoch))
        score = replace(
            make_score(iou, job.to_epoch, decayed=job.decay), train_s=self.epoch_s * job.to_epoch
        )
        self.seen[job.candidate.key] = replace(
            before, state="scored", scores=(*before.scores, score)
        )
        for candidate, why in self.scheduler.stops(self.seen, []):
            self.seen[candidate.key] = replace(
                self.seen[candidate.key], state="stopped", error=why
            )

    def confirm(self, job: Job) -> None:
        before = self.seen[job.candidate.key]
        if before.state != "scored":
            return
        holds = before.iou >= self.constraints.min_iou
        score = replace(before.score("val"), source="onnx")
        self.seen[job.candidate.key] = replace(
            before, state="confirmed" if holds else "rejected", scores=(*before.scores, score)
        )
        self.spent_s += 4.0

    def states(self) -> dict[str, int]:
        states = [e.state for e in self.seen.values()]
        return {state: states.count(state) for state in sorted(set(states))}


def area(candidate: Candidate) -> float:
    """Latency in ms as the input's area says it: 4 at 64 x 64."""
    return candidate.input_hw[0] * candidate.input_hw[1] / 1024


def by_width(candidate: Candidate) -> float:
    """Larger nets err less: from 0.03 up."""
    return 0.01 / (dict(candidate.choices).get("a", 0.5) * candidate.input_hw[0] / 128)


DEPENDENT = space_of(
    RESOLUTION, Knob("pp", (0, 1), 0, "expert"), Knob("t", (4, 2), 4, "expert", when=(("pp", 1),))
)
WIDE = space_of(
    RESOLUTION, WIDTH, Knob("t", (4, 2, 1), 4, "expert"), Knob("pp", (1, 0), 0, "expert")
)
