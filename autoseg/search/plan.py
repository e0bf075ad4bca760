"""Verdict and plan before any training: what fits, the seconds it takes, use of the budget."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from autoseg.core.records import Candidate, Evaluation, Job
from autoseg.core.units import clock
from autoseg.search.finalists import FINISH_SHARE, MAX_FINALISTS, finish_s
from autoseg.search.frame_share import frame_lines
from autoseg.search.gp import Array
from autoseg.search.latency import measured_model
from autoseg.search.state import SearchState
from autoseg.search.status import p50_ms
from autoseg.search.training_time import useful_rung

UNFIT = ("too_slow", "failed", "stopped")


def fitting(state: SearchState) -> list[Candidate]:
    """Those that are measured to fit, and of the others those that are expected to."""
    expected = state.predicted_log_ms[0] <= math.log(state.p50_ceiling_ms)

    found = []
    for candidate, likely in zip(state.candidates.candidates, expected, strict=True):
        known = state.evaluations.get(candidate.key)
        fits = likely if known is None else known.state not in UNFIT
        if fits:
            found.append(candidate)
    return found


def verdict_lines(state: SearchState) -> list[str]:
    """What was measured, what fits at each resolution, and what the budget can train."""
    measured = [e for e in state.evaluations.values() if e.measurement]
    if not measured:
        return ["no candidate could be measured"]
    fastest, limit_ms = min(measured, key=p50_ms), state.problem.constraints.max_latency_ms
    lines = [
        f"measured {len(measured)} untrained networks: "
        f"{sum(e.state != 'too_slow' for e in measured)} fit {limit_ms:g} ms; "
        f"the fastest needs {p50_ms(fastest):.3g} ms ({fastest.candidate})"
    ]
    lines += frame_lines(measured, state.problem.constraints)
    model = measured_model(measured)
    if model is None:
        return lines
    fits = fitting(state)
    lines += [f"latency predictor: {model.leave_one_out()}", _by_resolution(state, fits)]
    return [*lines, *_budget(state, fits)]


def _budget(state: SearchState, fits: Sequence[Candidate]) -> list[str]:
    training_time, budget_s = state.problem.training_time, state.problem.budget_s
    paid = sum(training_time.affordable(c, state.evaluations, budget_s) for c in fits)
    if paid == len(fits):
        return []
    text = f"the budget can train {paid} of the {len(fits)} that fit far enough"
    return [f"{text}; a longer --budget can train more"]


def _by_resolution(state: SearchState, fits: Sequence[Candidate]) -> str:
    """How many of the candidates fit at each resolution, the largest first."""
    everything = state.candidates.candidates
    knobs = state.problem.space.knobs_at(state.problem.effort)
    resolution = next((k for k in knobs if k.name == "resolution"), None)
    others = [k for k in knobs if k.name != "resolution" and k.ordered]
    if resolution is None:
        return f"{len(fits)} of {len(everything)} candidates are expected to fit"
    parts = []
    for size in reversed(resolution.ordered_choices):
        here = [c for c in everything if c["resolution"] == size]
        good = [c for c in fits if c["resolution"] == size]
        if not good:
            text = "none"
        elif len(good) == len(here):
            text = "all"
        else:
            text = f"{len(good)} of {len(here)}"
            if others:
                text += f" ({others[0].name} up to {max(others[0].choice_in(c) for c in good)})"
        parts.append(f"{size}: {text}")
    return "expected to fit by resolution: " + "; ".join(parts)


@dataclass(frozen=True)
class Plan:
    """Describes what is ahead; `fitting` are those expected to be fast enough."""

    state: SearchState
    fitting: Sequence[Candidate]

    def lines(self, left_s: float | None, spent_s: float) -> list[str]:
        """Before a search; `left_s` is what the budget leaves after `spent_s`, if there is one."""
        lines = [self._candidates(), *self._refused()]
        if not self.fitting:
            return [*lines, "nothing is expected to fit, so nothing will be trained"]
        training_time, evaluations = self.state.problem.training_time, self.state.evaluations
        costs = [training_time.cost(c) for c in self.fitting]
        epoch_s = training_time.epochs_s(costs, evaluations)
        lines += self._trainings(epoch_s)
        if left_s is None:
            return [*lines, self._without_budget(epoch_s)]
        if left_s <= 0:
            spent = f"the budget of {clock(left_s + spent_s)} is spent"
            return [*lines, f"{spent}: nothing is searched without a longer --budget"]
        new = [not _is_begun(evaluations.get(c.key)) for c in self.fitting]
        return [*lines, *self._budget(np.sort(epoch_s[new]), left_s, spent_s)]

    def _candidates(self) -> str:
        problem, candidates = self.state.problem, self.state.candidates
        evaluations = self.state.evaluations
        count, known = problem.space.count(problem.effort), len(candidates.candidates)
        measured = [e for e in evaluations.values() if e.measurement]
        slow = sum(e.state == "too_slow" for e in measured)
        predicted = sum(c.key not in evaluations for c in candidates.candidates)
        fit = sum(c.key not in evaluations for c in self.fitting)
        text = f"{count} candidates at {problem.effort} effort"
        if known + len(candidates.refused) < count:
            text += f", a sample of {known} is searched"
        text += f": {len(measured)} measured ({slow} too slow)"
        if predicted:
            text += f", {fit} more expected to fit, {predicted - fit} expected to be too slow"
        return text

    def _refused(self) -> list[str]:
        refused = self.state.candidates.refused
        if not refused:
            return []
        first, why = refused[0]
        return [f"{len(refused)} are left out: they cannot be built, such as {first} ({why})"]

    @property
    def _full_epochs(self) -> int:
        recipe = self.state.recipe
        return recipe.rungs[-1] + recipe.decay_epochs(recipe.rungs[-1])

    def _trainings(self, epoch_s: Array) -> list[str]:
        """Seconds of an epoch and of a training in full, of those that fit."""
        ends = {
            "smallest": epoch_s.min(), "median": np.median(epoch_s), "largest": epoch_s.max()
        }  # fmt: skip
        epoch = ", ".join(f"{_time(s)} ({name})" for name, s in ends.items())
        full = ", ".join(f"{_time(self._full_epochs * s)} ({name})" for name, s in ends.items())
        return [f"time per epoch: {epoch}", f"all {self._full_epochs} epochs: {full}"]

    def _without_budget(self, epoch_s: Array) -> str:
        problem, workers = self.state.problem, self.state.problem.training_time.workers
        most = min(len(epoch_s), problem.trials or len(epoch_s))
        whole_s = self._full_epochs * float(np.mean(epoch_s)) * most / workers
        return (
            "without --budget the search ends when nothing is worth training, after "
            f"{_time(whole_s)} at most: {most} trained in full on {workers} worker(s); "
            "most are stopped long before"
        )

    def _budget(self, epoch_s: Array, left_s: float, spent_s: float) -> list[str]:
        """What the time left pays for; `epoch_s`, ascending, is of those that are not begun."""
        kept_s = min(self._finish_s(), FINISH_SHARE * left_s)
        search_s = max(0.0, left_s - kept_s)
        lines = [
            f"of the {clock(left_s)} left, up to {clock(kept_s)} are kept for finishing: decay, "
            f"export, timing and files; the search has {clock(search_s)}"
        ]
        if not len(epoch_s):
            return [*lines, "all that fit are begun already, and may be trained further"]
        if self.state.recipe.rungs[0] * epoch_s[0] > search_s:
            return [*lines, self._too_short(epoch_s[0], spent_s)]
        return [*lines, self._paid_for(epoch_s, search_s)]

    @property
    def _any_begun(self) -> bool:
        return any(map(_is_begun, self.state.evaluations.values()))

    def _too_short(self, epoch_s: float, spent_s: float) -> str:
        """Names the budget that takes the smallest, at `epoch_s` an epoch, to its first rung."""
        recipe = self.state.recipe
        first = recipe.rungs[0]
        needs_s = (first + recipe.decay_epochs(first)) * epoch_s / (1 - FINISH_SHARE)
        minutes = math.ceil((spent_s + 1.2 * needs_s) / 60)
        return (
            f"not even the smallest {'not begun ' if self._any_begun else ''}is expected to reach "
            f"its first rung ({first} epochs) in that time: use --budget {minutes}m or more"
        )

    def _paid_for(self, epoch_s: Array, search_s: float) -> str:
        workers, first = self.state.problem.training_time.workers, self.state.recipe.rungs[0]
        total_s, median_s = search_s * workers, float(np.median(epoch_s))
        firsts = min(len(epoch_s), int(np.searchsorted(np.cumsum(first * epoch_s), total_s)))
        fit = "that fit and are not begun" if self._any_begun else "that fit"
        whole = firsts == len(epoch_s)
        many = f"all {firsts} {fit}" if whole else f"{firsts} of the {len(epoch_s)} {fit}"
        return (
            f"{workers} worker(s) can train {many} to their first rung ({first} epochs), small "
            f"ones first, or {total_s / (self._full_epochs * median_s):.0f} of median size in full"
        )

    def _finish_s(self) -> float:
        """Seconds for as many finalists as may be taken at a time, over all that fit."""
        able = (e for e in self.state.evaluations.values() if e.state in ("measured", "scored"))
        fit = sorted(able, key=p50_ms)
        places = np.linspace(0, len(fit) - 1, min(MAX_FINALISTS, len(fit))).round().astype(int)
        return finish_s(self.state, [self._decay(fit[place]) for place in places])

    def _decay(self, evaluation: Evaluation) -> Job:
        rung = useful_rung(self.state.recipe)
        end = rung + self.state.recipe.decay_epochs(rung)
        return Job(evaluation.candidate, rung, end, decay=True)


def _is_begun(evaluation: Evaluation | None) -> bool:
    return evaluation is not None and evaluation.score("val") is not None


def _time(seconds: float) -> str:
    return clock(seconds) if seconds >= 60 else f"{seconds:.2g} s"
