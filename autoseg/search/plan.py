"""The plan: what is ahead, what the budget may bring, and what budget the data deserve."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

import numpy as np

from autoseg.core.records import Candidate, Evaluation, Job
from autoseg.core.units import clock, duration_text
from autoseg.search.finalists import FINISH_SHARE, MAX_FINALISTS, finish_s
from autoseg.search.fit import MAY_FIT, Fit, counted, fit_by_candidate
from autoseg.search.gp import Array
from autoseg.search.latency import MIN_ROWS
from autoseg.search.rehearsal import Player, Rehearsal, rehearse
from autoseg.search.state import SearchState
from autoseg.search.status import p50_ms
from autoseg.search.training_time import useful_rung

T = TypeVar("T")

# What data deserve: so many candidates at the first rung, and so many trained in full.
MAX_FIRST_RUNGS, IN_FULL = 40, 4
START_S = 10.0  # from Enter to the first measurement, roughly
NICE_MINUTES = (1, 2, 3, 5, 8, 10, 15, 20, 30, 45, 60, 90)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The plan in words, and its figures.

    `fits`, `uncertain`, `too_slow` and `unknown` count candidates, measured ones included. The
    figures of the rehearsal are None where there is no budget, or none of it is left; `ends_s`
    counts from the beginning of the run.
    """

    lines: tuple[str, ...]
    fits: int
    uncertain: int
    too_slow: int
    unknown: int
    first_rungs: int | None = None
    finalists: int | None = None
    ends_s: float | None = None
    deserves_s: float | None = None


def plan(
    scheduler: Player, state: SearchState, left_s: float | None, spent_s: float, resumed: bool
) -> Plan:
    """The plan of a search with `left_s` seconds left after `spent_s`, if there is a budget."""
    fits = fit_by_candidate(state)
    able = [candidate for candidate, fit in fits.items() if fit in MAY_FIT]
    count = list(fits.values()).count
    figures = {
        "fits": count("fits"), "uncertain": count("uncertain"), "too_slow": count("too slow"),
        "unknown": count("unknown"),
    }  # fmt: skip
    lines = [_candidates(state, fits), *_refused(state)]
    if resumed and left_s is not None:
        lines = [budget_line(left_s, spent_s), *lines]
    if not able:
        lines.append("nothing is expected to fit, so nothing will be trained")
        return Plan(lines=tuple(lines), **figures)
    ahead = _Ahead(state, able)
    lines += ahead.trainings()
    if left_s is None:
        return Plan(lines=(*lines, ahead.without_budget()), **figures)
    deserves_s = ahead.deserved_s()
    if left_s <= 0:
        spent = f"the budget of {clock(left_s + spent_s)} is spent"
        lines.append(f"{spent}: nothing is searched without a longer --budget, or --more")
        return Plan(lines=tuple(lines), deserves_s=deserves_s, **figures)
    found = rehearse(scheduler, state.evaluations, left_s)
    lines += [ahead.kept(left_s), ahead.expected(found, left_s, spent_s)]
    lines.append(ahead.deserved(deserves_s, left_s + spent_s))
    return Plan(
        lines=tuple(lines),
        first_rungs=found.first_rungs,
        finalists=found.finalists,
        ends_s=round(spent_s + found.ends_s, 1),
        deserves_s=deserves_s,
        **figures,
    )


def budget_line(left_s: float, spent_s: float) -> str:
    """What the budget of a continued run means."""
    return (
        f"the budget of {clock(left_s + spent_s)} is the total over all sessions; "
        f"{clock(spent_s)} are spent, {clock(max(0.0, left_s))} are left"
    )


def _candidates(state: SearchState, fits: Mapping[Candidate, Fit]) -> str:
    problem, candidates = state.problem, state.candidates
    count, known = problem.space.count(problem.effort), len(candidates.candidates)
    text = f"{count} candidates at {problem.effort} effort"
    if known + len(candidates.refused) < count:
        text += f", a sample of {known} is searched"
    timed, others = (counted(fits, state, measured=kind) for kind in (True, False))
    parts: Sequence[tuple[Fit, str]] = (
        ("fits", "fit"), ("uncertain", "uncertain"), ("too slow", "too slow")
    )  # fmt: skip
    each = ", ".join(f"{timed[kind]} {word}" for kind, word in parts if timed[kind])
    measured = sum(bool(e.measurement) for e in state.evaluations.values())
    text += f": {measured} measured" + (f" ({each})" if each else "")
    rest = others.total()
    if others["unknown"]:
        return f"{text}; whether the other {rest} fit is unknown until {MIN_ROWS} are measured"
    if rest:
        text += (
            f"; of the other {rest}, {others['fits']} are expected to fit, "
            f"{others['uncertain']} uncertain, {others['too slow']} expected to be too slow"
        )
    return text


def _refused(state: SearchState) -> list[str]:
    refused = state.candidates.refused
    if not refused:
        return []
    first, why = refused[0]
    return [f"{len(refused)} are left out: they cannot be built, such as {first} ({why})"]


@dataclass(frozen=True)
class _Ahead:
    """The candidates that fit or may fit, and what training them takes."""

    state: SearchState
    able: Sequence[Candidate]

    @cached_property
    def epoch_s(self) -> Array:
        """Seconds of an epoch of each, ascending."""
        times = self.state.problem.training_time
        costs = [times.cost(c) for c in self.able]
        return np.sort(times.epochs_s(costs, self.state.evaluations))

    @property
    def full_epochs(self) -> int:
        recipe = self.state.recipe
        return recipe.rungs[-1] + recipe.decay_epochs(recipe.rungs[-1])

    @property
    def workers(self) -> int:
        return self.state.problem.training_time.workers

    def trainings(self) -> list[str]:
        """Seconds of an epoch and of a training in full."""
        epoch_s = self.epoch_s
        ends = {"smallest": epoch_s[0], "median": np.median(epoch_s), "largest": epoch_s[-1]}
        epoch = ", ".join(f"{_time(s)} ({name})" for name, s in ends.items())
        full = ", ".join(f"{_time(self.full_epochs * s)} ({name})" for name, s in ends.items())
        return [f"time per epoch: {epoch}", f"all {self.full_epochs} epochs: {full}"]

    def without_budget(self) -> str:
        most = min(len(self.able), self.state.problem.trials or len(self.able))
        whole_s = self.full_epochs * float(np.mean(self.epoch_s)) * most / self.workers
        return (
            "without --budget the search ends when nothing is worth training, after "
            f"{_time(whole_s)} at most: {most} trained in full on {self.workers} worker(s); "
            "most are stopped long before"
        )

    def kept(self, left_s: float) -> str:
        """The time that is kept for finishing, for as many finalists as may be taken at a time."""
        jobs = [self._decay(e) for e in _spread(self._measured, MAX_FINALISTS)]
        kept_s = min(finish_s(self.state, jobs), FINISH_SHARE * left_s)
        return (
            f"of the {clock(left_s)} left, up to {clock(kept_s)} are kept for finishing: decay, "
            f"export, timing and files; the search has at least {clock(left_s - kept_s)}"
        )

    def expected(self, found: Rehearsal, left_s: float, spent_s: float) -> str:
        """What the rehearsal has reached."""
        first, ends = self.state.recipe.rungs[0], clock(spent_s + found.ends_s)
        if not found.first_rungs and not any(e.scores for e in self.state.evaluations.values()):
            return (
                "in that time, not even one candidate is expected to reach its first rung "
                f"({first} epochs)"
            )
        new = "more " if any(e.scores for e in self.state.evaluations.values()) else ""
        most = "about" if found.whole else "more than"
        measured = f", after measuring about {found.measured} more" if found.measured else ""
        late = ", beyond the budget: one model is finished in any case"
        return (
            f"rehearsed on the forecasts so far, the search takes {most} {found.first_rungs} {new}"
            f"candidate(s) to the first rung ({first} epochs), the furthest to {found.longest} "
            f"epochs{measured}; about {found.finalists} model(s) are finished, and the run ends "
            f"after about {ends}{late if found.ends_s > left_s else ''}"
        )

    def deserved_s(self) -> float:
        """Seconds of a budget that takes many to the first rung and the best few to the end."""
        times, first = self.state.problem.training_time, self.state.recipe.rungs[0]
        known = self.state.evaluations.values()
        many = _spread(self.epoch_s.tolist(), MAX_FIRST_RUNGS)
        few = [self.full_epochs * s for s in _spread(self.epoch_s.tolist(), IN_FULL)]
        beside_s = times.overheads.job_s(known) + times.overheads.screen_s(known)
        firsts_s = (first * sum(many) + beside_s * len(many)) / self.workers
        full_s = max(sum(few) / self.workers, max(few))
        finalists = [self._decay(e) for e in _spread(self._measured, len(few))]
        return _nice(START_S + firsts_s + full_s + finish_s(self.state, finalists))

    def deserved(self, deserves_s: float, budget_s: float) -> str:
        first, firsts = self.state.recipe.rungs[0], min(MAX_FIRST_RUNGS, len(self.able))
        wanted = duration_text(deserves_s)
        enough = "this budget is enough for that"
        return (
            f"these data deserve about {wanted}: {firsts} candidates to the first rung ({first} "
            f"epochs) and the best {min(IN_FULL, firsts)} in full; "
            f"{enough if budget_s >= deserves_s else f'--budget {wanted}'}"
        )

    @property
    def _measured(self) -> list[Evaluation]:
        """Those that are measured and not too slow, fastest first."""
        states = ("measured", "scored", "confirmed")
        return sorted(
            (e for e in self.state.evaluations.values() if e.state in states), key=p50_ms
        )

    def _decay(self, evaluation: Evaluation) -> Job:
        rung = useful_rung(self.state.recipe)
        end = rung + self.state.recipe.decay_epochs(rung)
        return Job(evaluation.candidate, rung, end, decay=True)


def _spread(items: Sequence[T], count: int) -> list[T]:
    """At most so many of them, evenly spaced from the first to the last."""
    places = np.linspace(0, len(items) - 1, min(count, len(items))).round().astype(int)
    return [items[place] for place in places]


def _nice(seconds: float) -> float:
    """The next larger round number of minutes or hours."""
    minutes = seconds / 60
    round_ = next((m for m in NICE_MINUTES if m >= minutes), None)
    return 60.0 * round_ if round_ else 3600.0 * math.ceil(minutes / 60)


def _time(seconds: float) -> str:
    return clock(seconds) if seconds >= 60 else f"{seconds:.2g} s"
