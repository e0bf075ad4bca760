"""The engine: it says what to do next from the evaluations alone, so the ledger is all it needs.

Rungs climb as in multi-objective ASHA (Schmucker et al. 2021, arXiv 2106.12639): whoever is in the
better half of those that reached a rung, by non-dominated layers over (latency, IoU), may climb;
continuing competes with starting.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from autoseg.front import Point, front
from autoseg.recipe import Recipe
from autoseg.records import Candidate, Constraints, Evaluation, Job
from autoseg.seams import Done, Evaluations, Outlook, Screen, Step, Wait
from autoseg.search.forecast import Curves, error_model, latency_model
from autoseg.search.pricing import Pricing
from autoseg.search.proposer import Observation, Proposer, ordered_choices, sample
from autoseg.search.standing import (
    DECAY_EXPECT,
    DECAY_HOPE,
    after_decay,
    by_gain,
    decayed,
    epoch_of,
    faster_and_better,
    iou_at,
    layers,
    p50,
    undecayed,
)
from autoseg.search.verdict import verdict_lines
from autoseg.space import SearchSpace

SURVEY = 28  # untrained networks that are measured before anything is trained
SAMPLE = 300  # candidates that the verdict speaks of where there are more
CLIMB_SHARE = 0.4  # of those on a rung, how many may climb before more have arrived
EXPLORE_SHARE = 0.5  # of the budget; after it the best are taken higher before anything is started
FINISH_SHARE = 0.45  # of the budget, the most that confirming may reserve
PRUDENCE = 1.3  # a job that the end of the search cuts off is time lost
REPORT_S = 8.0  # front, plot and bundles
MOST_FINALISTS = 8  # at a time, and that time is set aside for
LIKELY = 0.3  # P(under the ceiling) from which a candidate is worth measuring
HOPEFUL = 1.5  # standard deviations by which a forecast error may be too high
POLISHED = 6  # of the likely front, taken higher together
KEPT = 3  # the most hopeful are never stopped: where nothing meets the floor, they are the nearest


@dataclass
class AshaEngine:
    """Chooses among the candidates that can meet the ceiling, cheap ones first."""

    space: SearchSpace
    effort: str
    constraints: Constraints
    recipe: Recipe
    proposer: Proposer
    pricing: Pricing
    seed: int
    budget_s: float | None = None
    trials: int | None = None
    checkpoint_dir: str = "checkpoints"

    # -- before any training

    def survey(self) -> Sequence[Candidate]:
        """The baseline, the smallest, and what fills the space between them (greedy maximin)."""
        chosen = list(dict.fromkeys([self.space.baseline, self._smallest]))
        others = [c for c in self._sample if c not in chosen]
        most = min(SURVEY, self.trials or SURVEY, self.space.count(self.effort))
        knobs = len(self.space.knobs_at(self.effort))
        points = np.array([self._position(c) for c in others]).reshape(len(others), knobs)
        nearest = np.full(len(others), np.inf)
        for c in chosen:
            nearest = np.minimum(nearest, np.linalg.norm(points - self._position(c), axis=1))
        while len(chosen) < most and len(others):
            index = int(np.argmax(nearest))
            chosen.append(others[index])
            apart = np.linalg.norm(points - points[index], axis=1)
            nearest = np.minimum(nearest, apart)
            nearest[index] = -1
        return chosen[:most]

    def verdict(self, evaluations: Evaluations) -> Sequence[str]:
        """What of the space fits the ceiling, and what the budget pays for, in plain sentences."""
        return verdict_lines(
            self.space.knobs_at(self.effort),
            [c for c in self._sample if self.pricing.buildable(c)],
            list(evaluations.values()),
            self.constraints,
            cost_of=self.pricing.cost,
            affordable=lambda c: self.pricing.affordable(c, evaluations, self.budget_s),
        )

    # -- what next

    def propose(
        self, evaluations: Evaluations, running: Collection[Job], remaining_s: float | None
    ) -> Step:
        """A job while a worker is free, a candidate to measure, or wait; Done at the end."""
        left_s = self._search_left_s(evaluations, remaining_s)
        if left_s is not None and left_s <= 0:
            return Done()
        if len(running) >= self.pricing.workers:
            return Wait()
        job = None
        if remaining_s is None or self._exploring(remaining_s):
            job = self._climb(evaluations, running, left_s)
            job = job or self._start(evaluations, running, left_s)
            if job is None and (candidate := self._new_candidate(evaluations, left_s)):
                return Screen(candidate)
        job = job or self._polish(evaluations, running, left_s)
        job = job or self._start(evaluations, running, left_s)
        return job or (Wait() if running else Done())

    def _exploring(self, remaining_s: float) -> bool:
        return remaining_s > (1 - EXPLORE_SHARE) * (self.budget_s or math.inf)

    def _search_left_s(self, evaluations: Evaluations, remaining_s: float | None) -> float | None:
        """Seconds of searching that are left: the finish of the present finalists is set aside."""
        if remaining_s is None:
            return None
        jobs = self.finalists(evaluations, None)
        reserve_s = REPORT_S + self.pricing.finish_s(jobs, evaluations)
        return remaining_s - min(reserve_s, FINISH_SHARE * (self.budget_s or math.inf))

    def _start(
        self, evaluations: Evaluations, running: Collection[Job], left_s: float | None
    ) -> Job | None:
        """The cheapest measured one that may meet the floor and that the time left can finish."""
        busy = {job.candidate.key for job in running}
        waiting = [
            e
            for e in evaluations.values()
            if e.state == "measured" and e.candidate.key not in busy
        ]
        if busy or any(undecayed(e) for e in evaluations.values()):
            # Before anything was trained, its price is a guess that must not forbid a start.
            waiting = [
                e for e in waiting if self.pricing.affordable(e.candidate, evaluations, left_s)
            ]
        cheapest = min(
            self._promising(waiting, evaluations),
            key=lambda e: self.pricing.epoch_s(e.candidate, evaluations),
            default=None,
        )
        return Job(cheapest.candidate, 0, self.recipe.rungs[0]) if cheapest else None

    def _promising(
        self, waiting: Sequence[Evaluation], evaluations: Evaluations
    ) -> Sequence[Evaluation]:
        """Those that may meet the floor and beat what is trained; among them the likely front."""
        everything = list(evaluations.values())
        curves = Curves.of(self.recipe, everything)
        model = error_model(everything, curves)
        if model is None:
            return waiting

        def iou(e: Evaluation, sigmas: float) -> float:
            counted = e.cost or self.pricing.cost(e.candidate)
            return 1 - model.predict(counted, e.candidate.input_hw, sigmas=sigmas)

        trained = [(p50(e), curves.expected(s)) for e in everything if (s := undecayed(e))]
        able = [
            e
            for e in waiting
            if iou(e, -HOPEFUL) >= self.constraints.min_iou
            and not any(ms <= p50(e) and known >= iou(e, -0.5) for ms, known in trained)
        ]
        return [able[i] for i in front([(p50(e), iou(e, 0.0)) for e in able])]

    def _climb(
        self, evaluations: Evaluations, running: Collection[Job], left_s: float | None
    ) -> Job | None:
        """The best that waits on the highest rung from which another may climb."""
        busy = {job.candidate.key for job in running}
        for rung in reversed(self.recipe.rungs):
            reached = [e for e in evaluations.values() if iou_at(e, rung) is not None]
            climbed = sum(epoch_of(e) > rung or e.candidate.key in busy for e in reached)
            if climbed + 1 > CLIMB_SHARE * len(reached):
                continue
            waiting = [e for e in layers(reached, rung) if epoch_of(e) == rung]
            if job := self._first_job(waiting, evaluations, busy, left_s):
                return job
        return None

    def _polish(
        self, evaluations: Evaluations, running: Collection[Job], left_s: float | None
    ) -> Job | None:
        """The likely front, least trained first: wide before high; then the rest."""
        busy = {job.candidate.key for job in running}
        everything, floor = list(evaluations.values()), self.constraints.min_iou
        curves = Curves.of(self.recipe, everything)
        alive = [(e, s) for e in everything if e.state == "scored" and (s := undecayed(e))]
        able = [(e, iou) for e, s in alive if (iou := curves.headroom(s)) >= floor]
        likely = [able[i] for i in front([(p50(e), iou) for e, iou in able])]
        at = {e: (p50(e), iou) for e, iou in likely}
        ahead = by_gain(at, [], self.constraints, most=POLISHED)
        rest = sorted((e for e, _ in alive if e not in ahead), key=lambda e: -(e.iou or 0.0))
        ahead = sorted(ahead, key=lambda e: (epoch_of(e), p50(e)))
        return self._first_job([*ahead, *rest], evaluations, busy, left_s)

    def _first_job(
        self,
        waiting: Sequence[Evaluation],
        evaluations: Evaluations,
        busy: Collection[str],
        left_s: float | None,
    ) -> Job | None:
        """The next rung of the first that is idle, not at the top, and affordable."""
        for e in waiting:
            rung, above = epoch_of(e), self.recipe.next_rung(epoch_of(e))
            if e.state != "scored" or e.candidate.key in busy or above is None or decayed(e):
                continue
            needs_s = (above - rung) * self.pricing.epoch_s(e.candidate, evaluations)
            if left_s is None or PRUDENCE * needs_s < left_s:
                return self._continue(e, above)
        return None

    def _continue(self, evaluation: Evaluation, to_epoch: int, *, decay: bool = False) -> Job:
        candidate, epoch = evaluation.candidate, epoch_of(evaluation)
        checkpoint = f"{self.checkpoint_dir}/{candidate.key}-{epoch}.pt"
        return Job(candidate, epoch, to_epoch, checkpoint, decay)

    def _new_candidate(self, evaluations: Evaluations, left_s: float | None) -> Candidate | None:
        if self.trials is not None and len(evaluations) >= self.trials:
            return None
        model = latency_model(evaluations.values())
        ceiling_ms = self.constraints.max_latency_ms

        def allowed(candidate: Candidate) -> bool:
            if candidate.key in evaluations or not self.pricing.buildable(candidate):
                return False
            if not self.pricing.affordable(candidate, evaluations, left_s):
                return False
            cost = self.pricing.cost(candidate)
            return (
                not model or model.probability_under(ceiling_ms, cost, candidate.input_hw) > LIKELY
            )

        return self.proposer.propose(self._history(evaluations), allowed, len(evaluations))

    def _history(self, evaluations: Evaluations) -> list[Observation]:
        curves = Curves.of(self.recipe, list(evaluations.values()))
        seen = []
        for e in evaluations.values():
            score = undecayed(e)
            if e.measurement:
                iou = curves.expected(score) if score else self.constraints.min_iou
                seen.append(Observation(e.candidate, p50(e), iou, imputed=score is None))
        return seen

    # -- what no longer matters, and what is worth finishing

    def stops(
        self, evaluations: Evaluations, running: Collection[Job]
    ) -> Sequence[tuple[Candidate, str]]:
        """Those whose hope at full length is under the floor, or under what is faster already."""
        everything = list(evaluations.values())
        curves = Curves.of(self.recipe, everything)
        hopes = {e.candidate.key: curves.optimistic(s) for e in everything if (s := undecayed(e))}
        spared = {job.candidate.key for job in running}
        alive = [key for key in hopes if evaluations[key].state in ("scored", "confirmed")]
        spared |= set(sorted(alive, key=lambda key: -hopes[key])[:KEPT])
        found = []
        for e in everything:
            key, score = e.candidate.key, undecayed(e)
            if e.state != "scored" or key in spared or decayed(e) or score is None:
                continue
            at = f"IoU {score.iou:.3f} after {score.epoch} epochs, at best {hopes[key]:.3f}"
            if hopes[key] < self.constraints.min_iou:
                found.append((e.candidate, f"{at}: under the floor"))
            elif better := faster_and_better(e, hopes[key], everything):
                found.append((e.candidate, f"{at}: {better} has that already and is faster"))
        return found

    def finalists(self, evaluations: Evaluations, remaining_s: float | None) -> Sequence[Job]:
        """The decay jobs of those that could still enter the front, best first, in the time."""
        everything = list(evaluations.values())
        confirmed = [e for e in everything if e.state == "confirmed"]
        waiting = [e for e in everything if e.state == "scored" and undecayed(e)]
        # A run that was killed after a decay has paid for it: the timing must follow.
        paid = [e for e in waiting if decayed(e)]
        able = [e for e in waiting if e not in paid and self._could_enter(e, confirmed)]
        settled = any(e.state in ("confirmed", "struck") for e in everything)
        if not able and not paid and not settled:
            # Nothing can meet the floor: the nearest miss is worth knowing.
            able = sorted(waiting, key=lambda e: -after_decay(e, DECAY_HOPE))[:1]
        likely = front([_decayed_point(e) for e in able])
        reached = [(p50(e), e.iou or 0.0) for e in confirmed]
        at = {able[i]: _decayed_point(able[i]) for i in likely}
        ordered = by_gain(at, reached, self.constraints, most=MOST_FINALISTS)
        jobs = [self._finish(e) for e in [*paid, *ordered]]
        if remaining_s is None:
            return jobs
        failed = any(e.state == "failed" and undecayed(e) for e in everything)
        must = not settled and (remaining_s > 0 or not failed)
        return self._in_time(jobs, evaluations, remaining_s, must=must)

    def _could_enter(self, evaluation: Evaluation, confirmed: Sequence[Evaluation]) -> bool:
        hope = after_decay(evaluation, DECAY_HOPE)
        beaten = any(p50(c) <= p50(evaluation) and (c.iou or 0.0) >= hope for c in confirmed)
        return hope >= self.constraints.min_iou and not beaten

    def _finish(self, evaluation: Evaluation) -> Job:
        epoch = epoch_of(evaluation)
        return self._continue(evaluation, epoch + self.recipe.decay_epochs(epoch), decay=True)

    def _in_time(
        self, jobs: Sequence[Job], evaluations: Evaluations, remaining_s: float, *, must: bool
    ) -> Sequence[Job]:
        """As many as the budget pays for; one beyond it if there is none yet."""
        taken: list[Job] = []
        for job in jobs:
            if self.pricing.finish_s([*taken, job], evaluations) + REPORT_S < remaining_s:
                taken.append(job)
        return taken or (jobs[:1] if must else [])

    def outlook(
        self, evaluations: Evaluations, running: Collection[Job], horizon_s: float
    ) -> Outlook | None:
        """Not known by this engine."""
        return None

    # -- the ground

    @cached_property
    def _sample(self) -> list[Candidate]:
        return sample(self.space, self.effort, SAMPLE, self.seed)

    @property
    def _smallest(self) -> Candidate:
        knobs = self.space.knobs_at(self.effort)
        ordered = [k for k in knobs if k.ordered or k.name == "resolution"]
        return self.space.candidate(**{k.name: ordered_choices(k)[0] for k in ordered})

    def _position(self, candidate: Candidate) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        knobs = self.space.knobs_at(self.effort)
        return np.array(
            [
                ordered_choices(k).index(candidate[k.name]) / max(1, len(k.choices) - 1)
                for k in knobs
            ]
        )


def _decayed_point(evaluation: Evaluation) -> Point:
    return p50(evaluation), after_decay(evaluation, DECAY_EXPECT)
