"""The policy by expected hypervolume: the best gain for each second of training.

Latency is known before anything is trained, so only the IoU is uncertain. Each option (start a
candidate, or take a started one to one of the rungs above it) is worth the hypervolume that it is
expected to add to what finishing now would give, for each second of training until there. The
best is taken one rung further, and all are weighed again. So continuing competes with starting,
and a candidate that cannot enter the front within the constraints is never continued.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from autoseg.core.records import Candidate, Evaluation, Job
from autoseg.search.acquisition import p_at_most
from autoseg.search.gp import Array
from autoseg.search.protocol import Screen
from autoseg.search.state import SearchState
from autoseg.search.status import decayed, epoch_of, next_job, p50_ms, undecayed
from autoseg.search.stopping import stops
from autoseg.search.surrogate import Flags, Rows

MIN_P_LATENCY = 0.01  # P(under the ceiling) from which a candidate is worth measuring
MIN_GAIN = 1e-6  # hypervolume (ln ms x IoU) that an option must be expected to add
MIN_SCREEN_S = 2.0  # exporting and timing, which also holds up the trainings beside it
SCREEN_RUNS = 40
JOB_S = 1.0  # scoring and checkpoint of one job, beside its epochs
TIME_SAFETY = 1.3  # on predicted seconds: a job that the end of the search cuts off is time lost


class Options(NamedTuple):
    """All that could be done next: row and rung aimed at, expected hypervolume, seconds; `[n]`."""

    rows: Rows
    rungs: Rows
    gains: Array
    seconds: Array

    def where(self, chosen: Flags) -> Options:
        return Options._make(column[chosen] for column in self)


class Eligible(NamedTuple):
    """Candidates that may be measured or trained, by row; all ``[n]``.

    `log_sd` is the standard deviation of ln ms, 0 where it was measured; `screen_s` are the
    seconds of measuring first, 0 where it was; `epochs` are those trained already.
    """

    rows: Rows
    log_ms: Array
    log_sd: Array
    p_latency: Array
    screen_s: Array
    epochs: Rows

    def where(self, chosen: Flags | Rows) -> Eligible:
        return Eligible._make(column[chosen] for column in self)


class ExpectedHypervolume:
    """Takes the option with the highest expected hypervolume per second."""

    def next_step(self, state: SearchState, left_s: float | None) -> Screen | Job | None:
        """One rung towards the best option, or its measurement if it has none yet."""
        options = self.options(state, left_s)
        if not len(options.rows):
            return None
        return self.step_to(state, int(options.rows[np.argmax(self.worth(options))]))

    def stops(self, state: SearchState) -> Sequence[tuple[Candidate, str]]:
        return stops(state)

    def prefers_training(self, state: SearchState, left_s: float | None) -> bool:
        return isinstance(self.next_step(state, left_s), Job)

    def options(self, state: SearchState, left_s: float | None) -> Options:
        """Every candidate that may be started or continued, with every rung that it may reach."""
        able = eligible(state)
        longest = np.full(len(able.rows), state.recipe.rungs[-1])
        able = able.where(_gains(state, able, longest) > MIN_GAIN)
        # Without a budget nothing may depend on time.
        known = state.evaluations if left_s is not None else {}
        costs = [state.candidates.costs[row] for row in able.rows]
        epoch_s = state.problem.training_time.epochs_s(costs, known)
        parts = [_to_rung(state, able, epoch_s, rung, left_s) for rung in state.recipe.rungs]
        options = Options._make(map(np.concatenate, zip(*parts, strict=True)))
        return options.where(options.gains > MIN_GAIN)

    def worth(self, options: Options) -> Array:
        """What decides between options: expected gain for each second."""
        return options.gains / options.seconds

    def step_to(self, state: SearchState, row: int) -> Screen | Job | None:
        """Measure a candidate without evaluation, else train it to its next rung."""
        candidate = state.candidates.candidates[row]
        evaluation = state.evaluations.get(candidate.key)
        return next_job(evaluation, state.recipe) if evaluation else Screen(candidate)


def _to_rung(
    state: SearchState, able: Eligible, epoch_s: Array, rung: int, left_s: float | None
) -> Options:
    """Those that may be taken to this rung, if there is time to decay from there as well."""
    rungs = state.recipe.rungs
    jobs = np.sum([(able.epochs < r) & (r <= rung) for r in rungs], axis=0)
    seconds = (rung - able.epochs) * epoch_s + JOB_S * jobs + able.screen_s
    within = jobs > 0
    # Before any score, the seconds are guesses and forbid nothing.
    if left_s is not None and any(undecayed(e) for e in state.evaluations.values()):
        whole_s = TIME_SAFETY * seconds + state.recipe.decay_epochs(rung) * epoch_s
        within &= whole_s < left_s
    here = able.where(within)
    aims = np.full(len(here.rows), rung)
    return Options(here.rows, aims, _gains(state, here, aims), seconds[within])


def _gains(state: SearchState, able: Eligible, rungs: Rows) -> Array:
    mean, sd = state.surrogate.predict(able.rows, rungs)
    return state.expected_gain(able.log_ms, able.log_sd, mean, sd) * able.p_latency


def eligible(state: SearchState) -> Eligible:
    """The candidates that may be measured or trained next, by row."""
    pairs = zip(_predicted(state), _known(state), strict=True)
    both = Eligible._make(map(np.concatenate, pairs))
    return both.where(np.argsort(both.rows))


def _predicted(state: SearchState) -> Eligible:
    """Candidates without an evaluation, with predicted latency, if any may be measured."""
    log_ms, log_sd = state.predicted_log_ms
    count = len(state.candidates.candidates)
    p_latency = p_at_most(math.log(state.p50_ceiling_ms), log_ms, log_sd)
    screen_s = np.maximum(MIN_SCREEN_S, 1.0 + SCREEN_RUNS * np.exp(log_ms) / 1e3)
    # `expected_gain` already integrates over the predicted latency. Only while nothing is feasible
    # is the gain a bare P(IoU met), so multiply by P(latency met).
    factor = p_latency if state.front.empty else np.ones(count)
    every = Eligible(np.arange(count), log_ms, log_sd, factor, screen_s, np.zeros(count, np.intp))
    worth_screening = (p_latency > MIN_P_LATENCY) & state.may_measure
    rows = [state.row(e) for e in state.evaluations.values()]
    worth_screening[[row for row in rows if row is not None]] = False
    return every.where(worth_screening)


def _known(state: SearchState) -> Eligible:
    """Candidates that are measured, not settled, and not in training now."""
    found = [
        (row, e)
        for e in state.evaluations.values()
        if (row := state.row(e)) is not None and e.candidate.key not in state.busy and _is_open(e)
    ]
    none = np.zeros(len(found))
    return Eligible(
        np.array([row for row, _ in found], np.intp),
        np.array([math.log(p50_ms(e)) for _, e in found]),
        none,
        np.array([state.p_latency_met(e) for _, e in found]),
        none,
        np.array([epoch_of(e) for _, e in found], np.intp),
    )


def _is_open(evaluation: Evaluation) -> bool:
    measured = evaluation.measurement is not None
    return evaluation.state in ("measured", "scored") and measured and not decayed(evaluation)
