"""The engine: from the evaluations alone it says what to do next, so resuming needs nothing but the ledger.

Rungs climb as in multi-objective ASHA (Schmucker et al. 2021, arXiv 2106.12639): whoever is in the better half of
those that reached a rung, by non-dominated layers over (latency, IoU), may climb; continuing competes with starting.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from autoseg.cost import cost
from autoseg.front import front
from autoseg.journey import Done, Evaluations, Screen, Step, Wait
from autoseg.recipe import Recipe
from autoseg.records import Candidate, Constraints, Cost, Evaluation, Job, Score, parse_hw
from autoseg.search.forecast import Curves, LatencyModel, epoch_s
from autoseg.search.proposer import Observation, Proposer, ordered_choices, sample
from autoseg.search.verdict import verdict_lines
from autoseg.space import Knob, SearchSpace
from autoseg.train import build_candidate

log = logging.getLogger(__name__)

SURVEY = 28  # untrained networks that are measured before anything is trained
CLIMB_SHARE = 0.5  # of those on a rung, how many may climb before more have arrived
EXPLORE_SHARE = 0.55  # of the budget; after it nothing new is started, the best are taken higher
FINISH_SHARE = 0.45  # of the budget, the most that confirming may reserve
REPORT_S = 8.0  # front, plot and bundles
CONFIRM_S = 5.0  # export, check and IoU of one finalist, beside its training and its timing
MOST_FINALISTS = 8
SMALL = 8  # candidates that the seen-as-reachable test asks for at most


@dataclass
class AshaEngine:
    """Chooses among the candidates that can meet the ceiling, cheap ones first."""

    space: SearchSpace
    effort: str
    constraints: Constraints
    recipe: Recipe
    proposer: Proposer
    seed: int
    outputs: int
    pictures: int
    workers: int
    budget_s: float | None = None
    trials: int | None = None
    checkpoint: Mapping[str, str] = field(default_factory=dict)
    _costs: dict[tuple[tuple[str, object], ...], Cost] = field(default_factory=dict)

    # -- before any training -----------------------------------------------------------------------------------------

    def survey(self) -> Sequence[Candidate]:
        """The baseline, the smallest, and candidates that fill the space between them (greedy maximin)."""
        first = [self.space.baseline, self._smallest]
        others = [c for c in self._sample if c not in first]
        chosen = list(dict.fromkeys(first))
        most = min(SURVEY, self.trials or SURVEY, self.space.count(self.effort))
        points = np.array([self._position(c) for c in others]).reshape(len(others), -1)
        nearest = np.full(len(others), np.inf)
        for c in chosen:
            nearest = np.minimum(nearest, np.linalg.norm(points - self._position(c), axis=1))
        while len(chosen) < most and len(others):
            index = int(np.argmax(nearest))
            chosen.append(others[index])
            nearest = np.minimum(nearest, np.linalg.norm(points - points[index], axis=1))
            nearest[index] = -1
        return chosen[:most]

    def verdict(self, evaluations: Evaluations) -> Sequence[str]:
        """What of the space fits the ceiling, and what the budget pays for, in plain sentences."""
        return verdict_lines(
            self.space.knobs_at(self.effort), self._sample, list(evaluations.values()), self.constraints,
            cost_of=self._cost, affordable=lambda c: self._affordable(c, evaluations, self.budget_s),
        )  # fmt: skip

    # -- what next ---------------------------------------------------------------------------------------------------

    def propose(
        self, evaluations: Evaluations, running: Collection[Job], remaining_s: float | None
    ) -> Step:
        """A job while a worker is free, else a candidate to measure ahead, else wait; Done when time or work is over."""
        left_s = self._search_left_s(evaluations, remaining_s)
        if left_s is not None and left_s <= 0:
            return Done()
        if len(running) >= self.workers:
            return Wait()
        exploring = left_s is None or self.budget_s is None or left_s > self.budget_s * (1 - EXPLORE_SHARE - FINISH_SHARE / 2)
        job = self._climb(evaluations, running, left_s, share=CLIMB_SHARE)
        if job is None and exploring:
            job = self._start(evaluations, running, left_s)
            if job is None and (candidate := self._new_candidate(evaluations, left_s)):
                return Screen(candidate)
        job = job or self._climb(evaluations, running, left_s, share=1.0)
        job = job or self._start(evaluations, running, left_s)
        return job or (Wait() if running else Done())

    def _search_left_s(self, evaluations: Evaluations, remaining_s: float | None) -> float | None:
        """Seconds of searching that are left: the finish of the present finalists is set aside."""
        if remaining_s is None or self.budget_s is None:
            return None
        jobs = self.finalists(evaluations, None)[:MOST_FINALISTS]
        reserve_s = REPORT_S + self._finish_s(jobs, evaluations)
        return remaining_s - min(reserve_s, FINISH_SHARE * self.budget_s)

    def _start(self, evaluations: Evaluations, running: Collection[Job], left_s: float | None) -> Job | None:
        """The cheapest measured candidate that nobody trains yet and that the time left can take to a useful rung."""
        busy = {job.candidate.key for job in running}
        waiting = [e for e in evaluations.values() if e.state == "measured" and e.candidate.key not in busy]
        waiting = [e for e in waiting if self._affordable(e.candidate, evaluations, left_s)]
        if not waiting:
            return None
        cheapest = min(waiting, key=lambda e: self._epoch_s(e.candidate, evaluations))
        return Job(cheapest.candidate, 0, self.recipe.rungs[0])

    def _climb(
        self, evaluations: Evaluations, running: Collection[Job], left_s: float | None, *, share: float
    ) -> Job | None:
        busy = {job.candidate.key for job in running}
        for rung in reversed(self.recipe.rungs[:-1]):
            above = self.recipe.next_rung(rung)
            reached = [e for e in evaluations.values() if _score_at(e, rung)]
            climbed = sum(1 for e in reached if _epoch(e) > rung or e.candidate.key in busy)
            if above is None or climbed >= share * len(reached):
                continue
            for e in _layers(reached, rung):
                waits = e.state == "scored" and _epoch(e) == rung and e.candidate.key not in busy
                seconds = (above - rung) * self._epoch_s(e.candidate, evaluations)
                if waits and (left_s is None or seconds < left_s):
                    return self._continue(e, above)
        return None

    def _continue(self, evaluation: Evaluation, to_epoch: int, *, decay: bool = False) -> Job:
        epoch = _epoch(evaluation)
        return Job(evaluation.candidate, epoch, to_epoch, self.checkpoint_of(evaluation.candidate, epoch), decay)

    def checkpoint_of(self, candidate: Candidate, epoch: int) -> str:
        return f"{self.checkpoint_dir}/{candidate.key}-{epoch}.pt"

    checkpoint_dir: str = "checkpoints"

    def _new_candidate(self, evaluations: Evaluations, left_s: float | None) -> Candidate | None:
        if self.trials is not None and len(evaluations) >= self.trials:
            return None
        model = LatencyModel.fit(evaluations.values())

        def allowed(candidate: Candidate) -> bool:
            if candidate.key in evaluations or not self._affordable(candidate, evaluations, left_s):
                return False
            if model is None:
                return True
            fits = model.probability_under(
                self.constraints.max_latency_ms, self._cost(candidate), candidate.input_hw
            )
            return fits > 0.3

        return self.proposer.propose(self._history(evaluations), allowed, len(evaluations))

    def _history(self, evaluations: Evaluations) -> list[Observation]:
        curves = Curves.of(self.recipe, list(evaluations.values()))
        seen = []
        for e in evaluations.values():
            score = _undecayed(e)
            if e.measurement:
                iou = curves.expected(score) if score else self.constraints.min_iou
                seen.append(Observation(e.candidate, e.measurement.p50_ms, iou, score is None))
        return seen

    # -- what no longer matters, and what is worth finishing ---------------------------------------------------------

    def stops(self, evaluations: Evaluations, running: Collection[Job]) -> Sequence[tuple[Candidate, str]]:
        """Candidates whose optimistic IoU at full length is under the floor, or under what is faster already."""
        everything = list(evaluations.values())
        curves = Curves.of(self.recipe, everything)
        busy = {job.candidate.key for job in running}
        scored = [(e, s) for e in everything if (s := _undecayed(e)) and e.measurement]
        hopes = {e.candidate.key: curves.optimistic(s) for e, s in scored}
        keep = sorted(hopes, key=lambda key: -hopes[key])[:3]
        found = []
        for e, score in scored:
            key = e.candidate.key
            if e.state != "scored" or key in busy or key in keep or _decayed(e):
                continue
            if hopes[key] < self.constraints.min_iou:
                found.append((e.candidate, f"IoU {score.iou:.3f} after {score.epoch} epochs: at best {hopes[key]:.3f}, under the floor"))
            elif better := _faster_and_better(e, hopes[key], scored):
                found.append((e.candidate, f"at best IoU {hopes[key]:.3f}, which {better} has already and is faster"))
        return found

    def finalists(self, evaluations: Evaluations, remaining_s: float | None) -> Sequence[Job]:
        """The decay jobs of those that could still enter the front, most promising layer first."""
        everything = list(evaluations.values())
        confirmed = [(e.measurement.p50_ms, e.iou) for e in everything if e.state == "confirmed" and e.measurement and e.iou]
        waiting = [e for e in everything if e.state == "scored" and e.measurement and _undecayed(e)]
        hopes = {e.candidate.key: _after_decay(e, DECAY_HOPE) for e in waiting}
        able = [
            e for e in waiting
            if hopes[e.candidate.key] >= self.constraints.min_iou
            and not any(ms <= _p50(e) and iou >= hopes[e.candidate.key] for ms, iou in confirmed)
        ]  # fmt: skip
        if not able and not any(e.state in ("confirmed", "struck") for e in everything):
            able = sorted(waiting, key=lambda e: -hopes[e.candidate.key])[:1]  # the nearest miss is worth knowing
        if not able:
            return []
        likely = [(_p50(e), _after_decay(e, DECAY_EXPECT)) for e in able]
        jobs = [self._finish(able[i]) for i in front(likely)]
        if remaining_s is None:
            return jobs
        return self._in_time(jobs, evaluations, remaining_s, must=not confirmed)

    def _finish(self, evaluation: Evaluation) -> Job:
        epoch = _epoch(evaluation)
        return self._continue(evaluation, epoch + self.recipe.decay_epochs(epoch), decay=True)

    def _in_time(
        self, jobs: Sequence[Job], evaluations: Evaluations, remaining_s: float, *, must: bool
    ) -> list[Job]:
        taken: list[Job] = []
        likeliest = sorted(jobs, key=lambda j: -_after_decay(evaluations[j.candidate.key], DECAY_EXPECT))
        spread = [jobs[0], *likeliest] if jobs else []
        for job in dict.fromkeys(spread):
            if self._finish_s([*taken, job], evaluations) + REPORT_S / 2 < remaining_s:
                taken.append(job)
        nothing_yet = must and not any(e.state == "struck" for e in evaluations.values())
        return taken or (likeliest[:1] if nothing_yet else [])

    def _finish_s(self, jobs: Sequence[Job], evaluations: Evaluations) -> float:
        """Seconds to decay, export, time and score these: trainings side by side, timings one by one."""
        train_s = [
            (j.to_epoch - j.from_epoch) * self._epoch_s(j.candidate, evaluations)
            for j in jobs if not _decayed(evaluations[j.candidate.key])
        ]  # fmt: skip
        timing_s = sum(min(60.0, 1.3 * _p50(evaluations[j.candidate.key])) for j in jobs)
        together_s = max(sum(train_s) / self.workers, max(train_s, default=0.0))
        return 1.1 * together_s + timing_s + CONFIRM_S * len(jobs)

    # -- costs -------------------------------------------------------------------------------------------------------

    def _affordable(self, candidate: Candidate, evaluations: Evaluations, left_s: float | None) -> bool:
        """Whether the time left takes it to a rung from which a finish makes sense (27 epochs by default)."""
        if left_s is None:
            return True
        useful = self.recipe.rungs[min(2, len(self.recipe.rungs) - 1)]
        epochs = useful + self.recipe.decay_epochs(useful)
        return epochs * self._epoch_s(candidate, evaluations) < left_s

    def _epoch_s(self, candidate: Candidate, evaluations: Evaluations) -> float:
        return epoch_s(self._cost(candidate), self.pictures, evaluations.values())

    def _cost(self, candidate: Candidate) -> Cost:
        """A candidate's cost; both MACs and traffic scale with the area, so one resolution is counted a network."""
        rest = tuple((k, v) for k, v in candidate.choices if k != "resolution")
        if rest not in self._costs:
            self._costs[rest] = cost(build_candidate(self.space, candidate, self.outputs), (256, 256))
        base, area = self._costs[rest], candidate.input_hw[0] * candidate.input_hw[1] / 256**2
        return Cost(base.params, round(base.macs * area), round(base.activation_bytes * area))

    @cached_property
    def _sample(self) -> list[Candidate]:
        return sample(self.space, self.effort, 300, self.seed)

    @property
    def _smallest(self) -> Candidate:
        ordered = [k for k in self._knobs if k.ordered or k.name == "resolution"]
        return self.space.candidate(**{k.name: ordered_choices(k)[0] for k in ordered})

    @property
    def _knobs(self) -> tuple[Knob, ...]:
        return self.space.knobs_at(self.effort)

    def _position(self, candidate: Candidate) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        places = [
            ordered_choices(k).index(candidate[k.name]) / max(1, len(k.choices) - 1) for k in self._knobs
        ]  # fmt: skip
        return np.array(places)


DECAY_HOPE = {3: 0.3, 9: 0.45, 27: 0.6}
DECAY_EXPECT = {3: 0.5, 9: 0.65, 27: 0.8}


def _after_decay(evaluation: Evaluation, shares: Mapping[int, float]) -> float:
    """IoU after the decay from where it stands; early rungs still gain most."""
    score = evaluation.score("val")
    if score is None or score.decayed:
        return score.iou if score else 0.0
    share = next((s for epoch, s in shares.items() if score.epoch <= epoch), max(shares.values()) + 0.1)
    return 1 - (1 - score.iou) * share


def _undecayed(evaluation: Evaluation) -> Score | None:
    return evaluation.score("val", source="torch", decayed=False)


def _decayed(evaluation: Evaluation) -> bool:
    return evaluation.score("val", decayed=True) is not None


def _epoch(evaluation: Evaluation) -> int:
    score = _undecayed(evaluation)
    return score.epoch if score else 0


def _score_at(evaluation: Evaluation, epoch: int) -> Score | None:
    return next((s for s in evaluation.scores if s.epoch == epoch and not s.decayed and s.source == "torch"), None)


def _p50(evaluation: Evaluation) -> float:
    return evaluation.measurement.p50_ms if evaluation.measurement else float("inf")


def _layers(evaluations: Sequence[Evaluation], rung: int) -> list[Evaluation]:
    """Non-dominated layers over (latency, IoU at this rung), each from the highest IoU down."""
    rest, ordered = list(evaluations), []
    while rest:
        points = [(_p50(e), s.iou) for e in rest if (s := _score_at(e, rung))]
        best = [rest[i] for i in front(points)]
        ordered += sorted(best, key=lambda e: -(s.iou if (s := _score_at(e, rung)) else 0.0))
        rest = [e for e in rest if e not in best]
    return ordered


def _faster_and_better(
    evaluation: Evaluation, hope: float, others: Sequence[tuple[Evaluation, Score]]
) -> str | None:
    for other, score in others:
        if other is not evaluation and _p50(other) < _p50(evaluation) and score.iou >= hope:
            return other.candidate.key
    return None
