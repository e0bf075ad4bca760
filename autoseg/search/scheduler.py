"""The scheduler: chooses what to do next from the evaluations alone, so the ledger suffices.

Latency is known before anything is trained, so only the IoU is unsure. Each choice (start a
candidate, or take a started one to one of the rungs above it) is worth the hypervolume that it is
expected to add to what finishing now would give, for each second of training until there; the
best is taken one rung further, and all are weighed again. So continuing competes with starting,
and what cannot enter the front within the constraints is never continued.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property

import numpy as np
import numpy.typing as npt

from autoseg.core.records import Candidate, Constraints, Evaluation, Job
from autoseg.networks.space import SearchSpace
from autoseg.search.candidate_set import Ground, smallest
from autoseg.search.finalists import FINISH_SHARE, REPORT_S, finalists
from autoseg.search.gp import Array
from autoseg.search.latency import measured_model
from autoseg.search.outlook import outlook
from autoseg.search.plan import Plan
from autoseg.search.protocol import Done, Evaluations, Outlook, Screen, Step, Wait
from autoseg.search.state import View, observed
from autoseg.search.status import decayed, epoch_of, p50, undecayed
from autoseg.search.stopping import stops
from autoseg.search.surrogate import Rows, Seen, Surrogate
from autoseg.search.training_time import Pricing
from autoseg.search.verdict import verdict_lines
from autoseg.train.recipe import Recipe

SURVEY = 28  # untrained networks that are measured before anything is trained
UNFIT = ("too_slow", "failed", "stopped")
PRUDENCE = 1.3  # a job that the end of the search cuts off is time lost
LIKELY = 0.01  # P(under the ceiling) from which a candidate is worth measuring
SCREEN_S = 2.0  # exporting and timing, which also holds up the trainings beside it, at least
SCREEN_RUNS = 40
JOB_S = 1.0  # scoring and checkpoint, beside the epochs
NOTHING = 1e-6  # hypervolume (ln ms x IoU) that is expected of the best choice at least


@dataclass(frozen=True)
class Choices:
    """All that could be done next: rows of the ground, the rung aimed at, gain and price."""

    rows: Rows
    rungs: Rows
    gains: Array
    seconds: Array


@dataclass(frozen=True)
class _Able:
    """Candidates that may be worked on: ln ms and how unsure it is (0 where measured), the chance
    that it meets the ceiling, seconds of measuring first, and the epochs behind it."""

    rows: Rows
    log_ms: Array
    log_sd: Array
    chance: Array
    waits_s: Array
    epochs: Rows

    def of(self, chosen: npt.NDArray[np.bool_]) -> _Able:
        """Some of them."""
        return _Able(*(getattr(self, f.name)[chosen] for f in fields(self)))


@dataclass
class HypervolumeScheduler:
    """Chooses by expected hypervolume per second among what can meet the ceiling."""

    space: SearchSpace
    effort: str
    constraints: Constraints
    recipe: Recipe
    pricing: Pricing
    seed: int
    budget_s: float | None = None
    trials: int | None = None
    _fitted: tuple[list[Seen], Surrogate] | None = field(default=None, repr=False)
    _predicted: tuple[dict[str, float], tuple[Array, Array]] | None = field(
        default=None, repr=False
    )

    # -- before any training

    def survey(self) -> Sequence[Candidate]:
        """The baseline, the smallest, and what fills the space between them (greedy maximin)."""
        ends = dict.fromkeys([self.space.baseline, smallest(self.space, self.effort)])
        chosen = [self.ground.rows[c.key] for c in ends if c.key in self.ground.rows]
        features = self.ground.features
        most = min(SURVEY, max(1, (self.trials or 2 * SURVEY) // 2), len(features))
        nearest = np.full(len(features), np.inf)
        for number in range(most):
            if number >= len(chosen):
                chosen.append(int(np.argmax(nearest)))
            apart = np.linalg.norm(features - features[chosen[number]], axis=1)
            nearest = np.minimum(nearest, apart)
            nearest[chosen[: number + 1]] = -1.0
        return [self.ground.candidates[row] for row in chosen[:most]]

    def verdict(self, evaluations: Evaluations) -> Sequence[str]:
        """What of the space fits the ceiling, and what the budget pays for, in plain sentences."""
        return verdict_lines(
            self.space.knobs_at(self.effort),
            self.ground.candidates,
            self._fitting(evaluations),
            list(evaluations.values()),
            self.constraints,
            affordable=lambda c: self.pricing.affordable(c, evaluations, self.budget_s),
        )

    def plan(
        self, evaluations: Evaluations, left_s: float | None, spent_s: float
    ) -> Sequence[str]:
        """What is ahead: candidates, what a training takes, and what the budget pays for."""
        count = self.space.count(self.effort)
        plan = Plan(self.ground, self.effort, count, self.recipe, self.pricing, self.trials)
        return plan.lines(evaluations, self._fitting(evaluations), left_s, spent_s)

    def _fitting(self, evaluations: Evaluations) -> list[Candidate]:
        """Those that are measured to fit, and of the others those that are expected to."""
        view = self.view(evaluations, ())
        expected = self._latencies(view)[0] <= math.log(view.ceiling_ms)

        def fits(candidate: Candidate, expected: bool) -> bool:
            known = evaluations.get(candidate.key)
            return expected if known is None else known.state not in UNFIT

        pairs = zip(self.ground.candidates, map(bool, expected), strict=True)
        return [candidate for candidate, likely in pairs if fits(candidate, likely)]

    # -- what next

    def propose(
        self, evaluations: Evaluations, running: Collection[Job], remaining_s: float | None
    ) -> Step:
        """A job while a worker is free, a candidate to measure, or wait; Done at the end."""
        view = self.view(evaluations, running)
        left_s = self._search_left_s(view, remaining_s)
        if left_s is not None and left_s <= 0:
            return Done()
        if len(running) >= self.pricing.workers:
            return Wait()
        choices = self.choices(view, left_s)
        if not len(choices.rows):
            return Wait() if running else Done()
        return self._step(view, int(choices.rows[np.argmax(self.worth(choices))]))

    def worth(self, choices: Choices) -> Array:
        """What decides: expected gain for each second."""
        return choices.gains / choices.seconds

    def choices(self, view: View, left_s: float | None) -> Choices:
        """Every candidate that may be started or continued, with every rung that it may reach."""
        able = self._able(view)
        longest = np.full(len(able.rows), self.recipe.rungs[-1])
        able = able.of(self._gains(view, able, longest) > NOTHING)
        # Without a budget nothing may depend on time; before any score, prices are guesses.
        known = view.evaluations if left_s is not None else {}
        scored = any(undecayed(e) for e in view.evaluations.values())
        epoch_s = self.pricing.epochs_s([self.ground.costs[row] for row in able.rows], known)
        parts = []
        for rung in self.recipe.rungs:
            jobs = np.sum([(able.epochs < r) & (r <= rung) for r in self.recipe.rungs], axis=0)
            price = (rung - able.epochs) * epoch_s + JOB_S * jobs + able.waits_s
            within = jobs > 0
            if left_s is not None and scored:
                whole = PRUDENCE * price + self.recipe.decay_epochs(rung) * epoch_s
                within &= whole < left_s
            here = able.of(within)
            rungs = np.full(len(here.rows), rung)
            parts.append((here.rows, rungs, self._gains(view, here, rungs), price[within]))
        joined = [np.concatenate(column) for column in zip(*parts, strict=True)]
        worthy = joined[2] > NOTHING
        return Choices(*(column[worthy] for column in joined))

    def _gains(self, view: View, able: _Able, rungs: Rows) -> Array:
        mean, sd = view.surrogate.predict(able.rows, rungs)
        return view.gain(able.log_ms, able.log_sd, mean, sd) * able.chance

    def _able(self, view: View) -> _Able:
        """What may be worked on."""
        log_ms, log_sd = self._latencies(view)
        count = len(self.ground.candidates)
        likely = _under(math.log(view.ceiling_ms), log_ms, log_sd)
        waits_s = np.maximum(SCREEN_S, 1.0 + SCREEN_RUNS * np.exp(log_ms) / 1e3)
        full = self.trials is not None and len(view.evaluations) >= self.trials
        able = (likely > LIKELY) & (not full)
        # What is gained by an unsure latency is its expectation; a chance is left to be counted
        # only where the gain is none: see `View.gain`.
        chance, epochs = likely if view.steps.empty else np.ones(count), np.zeros(count, np.intp)
        busy = {job.candidate.key for job in view.running}
        for e in view.evaluations.values():
            row = view.row(e)
            if row is None:
                continue
            able[row] = e.state in ("measured", "scored") and not (
                e.candidate.key in busy or decayed(e) or e.measurement is None
            )
            epochs[row] = epoch_of(e)
            if e.measurement:
                waits_s[row], log_ms[row], log_sd[row] = 0.0, math.log(p50(e)), 0.0
                chance[row] = view.p_latency_met(e)
        everyone = _Able(np.arange(count), log_ms, log_sd, chance, waits_s, epochs)
        return everyone.of(able)

    def _latencies(self, view: View) -> tuple[Array, Array]:
        """Mean and standard deviation of ln ms of every candidate, as if it was not measured."""
        known = {e.candidate.key: p50(e) for e in view.evaluations.values() if e.measurement}
        if self._predicted is None or self._predicted[0] != known:
            self._predicted = known, self._predict(view)
        mean, sd = self._predicted[1]
        return mean.copy(), sd.copy()

    def _predict(self, view: View) -> tuple[Array, Array]:
        model = measured_model(view.evaluations.values())
        if model is None:  # too few are measured: the rest may well fit
            count = len(self.ground.candidates)
            return np.full(count, math.log(view.ceiling_ms) - 0.1), np.ones(count)
        return model.predict(self.ground.costs, self.ground.sizes)

    def _step(self, view: View, row: int) -> Step:
        candidate = self.ground.candidates[row]
        evaluation = view.evaluations.get(candidate.key)
        if evaluation is None:
            return Screen(candidate)
        return self.next_job(evaluation) or Done()  # a choice always has a rung ahead

    def next_job(self, evaluation: Evaluation) -> Job | None:
        """Its training to the next rung; None at the top, and for what has taken its decay."""
        rung = self.recipe.next_rung(epoch_of(evaluation))
        return self._continue(evaluation, rung) if rung and not decayed(evaluation) else None

    def _continue(self, evaluation: Evaluation, to_epoch: int, *, decay: bool = False) -> Job:
        return Job(evaluation.candidate, epoch_of(evaluation), to_epoch, decay)

    def left_s(
        self, evaluations: Evaluations, running: Collection[Job], remaining_s: float | None
    ) -> float | None:
        """Seconds of searching that are left, or None without a budget."""
        return self._search_left_s(self.view(evaluations, running), remaining_s)

    def _search_left_s(self, view: View, remaining_s: float | None) -> float | None:
        """Seconds of searching that are left: the finish of the present finalists is set aside."""
        if remaining_s is None:
            return None
        jobs = finalists(view, self.pricing, self._finish, None)
        reserve_s = self.finish_s(view.evaluations, jobs)
        return remaining_s - min(reserve_s, FINISH_SHARE * (self.budget_s or math.inf))

    # -- what no longer matters, what is worth finishing, and what is to be expected

    def stops(
        self, evaluations: Evaluations, running: Collection[Job]
    ) -> Sequence[tuple[Candidate, str]]:
        """Those whose hope at full length is under the floor, or under what is faster already."""
        return stops(self.view(evaluations, running))

    def finalists(self, evaluations: Evaluations, remaining_s: float | None) -> Sequence[Job]:
        """The decay jobs of those that could still enter the front, best first, in the time."""
        return finalists(self.view(evaluations, ()), self.pricing, self._finish, remaining_s)

    def finish_s(self, evaluations: Evaluations, jobs: Sequence[Job]) -> float:
        """Seconds until these are confirmed and all files are written."""
        return self.pricing.finish_s(jobs, evaluations) + REPORT_S

    def _finish(self, evaluation: Evaluation) -> Job:
        epoch = epoch_of(evaluation)
        return self._continue(evaluation, epoch + self.recipe.decay_epochs(epoch), decay=True)

    def outlook(
        self, evaluations: Evaluations, running: Collection[Job], horizon_s: float
    ) -> Outlook | None:
        """What is reached, and what going on is expected to add; None before any training."""
        view = self.view(evaluations, ())
        if not view.alive:
            return None
        choices = self.choices(view, horizon_s)
        order = np.argsort(-self.worth(choices), kind="stable")
        # Of each candidate the best aim alone.
        order = order[np.sort(np.unique(choices.rows[order], return_index=True)[1])]
        paid = np.cumsum(choices.seconds[order]) <= horizon_s * self.pricing.workers
        chosen = order[paid]
        log_ms = self._latencies(view)[0]
        for e in view.evaluations.values():
            if (row := view.row(e)) is not None and e.measurement:
                log_ms[row] = math.log(p50(e))
        return outlook(
            view, choices.rows[chosen], choices.rungs[chosen], log_ms, horizon_s, self.seed
        )

    # -- the ground

    @cached_property
    def ground(self) -> Ground:
        """The candidates that are chosen among."""
        return Ground.of(self.space, self.effort, self.pricing, self.seed)

    def view(self, evaluations: Evaluations, running: Collection[Job]) -> View:
        """What these evaluations say; the surrogate is fitted again only where scores are new."""
        self._grow(evaluations)
        seen = observed(self.ground, evaluations)
        if self._fitted is None or self._fitted[0] != seen:
            features, trends = self.ground.features, self.ground.trends
            self._fitted = seen, Surrogate.fit(features, trends, self.recipe, seen)
        surrogate = self._fitted[1]
        return View(self.ground, self.recipe, self.constraints, evaluations, running, surrogate)

    def _grow(self, evaluations: Evaluations) -> None:
        """Take in what a sampler has proposed beyond the sample of a large space."""
        there = {*self.ground.rows, *(c.key for c, _ in self.ground.refused)}
        more = [e.candidate for key, e in evaluations.items() if key not in there]
        if more:
            self.ground = self.ground.including(more, self.pricing)
            self._fitted = self._predicted = None


def _under(limit: float, mean: Array, sd: Array) -> Array:
    from scipy.special import ndtr

    chance: Array = ndtr((limit - mean) / sd)
    return chance
